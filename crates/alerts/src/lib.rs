//! Which rules fire at a step, without I/O.
//!
//! A [`Rule`] says what a user waits for. The [`Matcher`] takes verified steps and the time, and returns
//! [`Decision`]s: which rules fired, which wait again, and which have ended. What it decides depends only on the rules,
//! the steps and the time that it is given.

mod boards;
mod decision;
mod definition;
mod ids;
mod levels;
mod market_now;
mod matcher;
mod measure;
mod past;
mod regions;
mod rule;
mod sight;
mod test;
mod thresholds;
mod words;

pub use boards::{Boards, RegionView};
pub use decision::{Arming, Decision, End, Facts, Firing, Steps, Subject};
pub use definition::InvalidRule;
pub use ids::{FiringId, RuleId};
pub use matcher::{Installed, Matcher, Step};
pub use regions::Regions;
pub use rule::{Channel, Channels, Kind, Limit, OutcomeName, Rule, Scope};
pub use test::{Missing, Test, test};
