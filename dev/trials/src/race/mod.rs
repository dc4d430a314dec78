//! The race: the gateway compared with other servers that do the same work, in the same run on the same machine.

mod author;
mod bare;
mod cost;
mod crowd;
mod frames;
mod historian;
mod replay;
mod report;
mod run;
mod server;
mod world;

pub use author::{Author, Times, Writing};
pub use bare::Bare;
pub use cost::{cpu_seconds, most_memory};
pub use crowd::{Crowd, Joined, Order, Report, Returned, Size, Target};
pub use frames::{FrameReader, TextFrame};
pub use historian::Historian;
pub use replay::{Frames, Recorder, Replaying};
pub use report::{Finding, Goal, Table};
pub use run::{Run, count, quantile, watch};
pub use server::{Ground, Kind, Limits, PemFiles, Security, Server, Ticks};
pub use world::{EVENTS_OF_A_SPORT, World, newest_step};

/// Returns the wall-clock time in microseconds, which all processes of a machine share.
#[expect(clippy::disallowed_methods, reason = "the service clock's milliseconds are too coarse for latencies")]
pub fn micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
