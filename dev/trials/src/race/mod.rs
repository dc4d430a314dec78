//! The gateway beside others who do the same work, in the same run and on the same machine.

mod author;
mod bare;
mod cost;
mod crowd;
mod frames;
mod replay;
mod report;
mod run;
mod server;

pub use author::{Author, Times, Writing, newest_step};
pub use bare::Bare;
pub(crate) use cost::cpu_seconds;
pub use crowd::{Crowd, Joined, Order, Report, Size, Target};
pub use frames::FrameReader;
pub use replay::{Frames, Recorder, Replaying};
pub use report::{Finding, Goal, Table};
pub use run::{Run, count, quantile, watch};
pub use server::{Ground, Kind, Limits, Server, Ticks};

/// The time, the same for all processes of a machine.
#[expect(clippy::disallowed_methods, reason = "milliseconds are too coarse to tell who is faster")]
pub fn micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
