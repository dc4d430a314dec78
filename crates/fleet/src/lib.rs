//! What every program reports of itself on the topic `fleet`, and what is wrong with all of them together.
//!
//! Nothing depends on these reports: without them, everything else works.

mod credits;
mod problem;
mod programs;
mod report;
mod reporter;
mod values;
mod verdict;

pub use credits::CreditHistory;
pub use problem::{Kind, Problem, Severity};
pub use programs::{Lag, Program, ProgramState, Programs};
pub use report::{Clients, LoggedTrouble, Report, SlowClient};
pub use reporter::Reporter;
pub use values::{REPORTED, SportPolls, Sports, Values};
pub use verdict::{Cluster, Verdicts};

/// The ways in which messages are sent.
const CHANNELS: [&str; 2] = ["email", "sms"];
