//! What every program reports of itself on the topic `fleet`, and what is wrong with all of them together.
//!
//! Nothing depends on these reports: without them, everything else works.

mod problem;
mod programs;
mod report;
mod reporter;
mod values;
mod verdict;

pub use problem::{Kind, Problem, Severity};
pub use programs::{ProgramState, Programs};
pub use report::{LoggedTrouble, Report};
pub use reporter::Reporter;
pub use values::{REPORTED, Values};
pub use verdict::Verdicts;

/// The ways in which messages are sent.
const CHANNELS: [&str; 2] = ["email", "sms"];
