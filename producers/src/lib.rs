//! Polls an odds API and publishes what changed to a region's topic. With a simulator of such an
//! API.

mod answer;
mod metrics;
mod poll_plan;
mod polling;
mod producer;
mod settings;
pub mod simulator;
mod source;
mod spending;
mod spending_file;
mod the_odds_api;

pub use metrics::Metrics;
pub use poll_plan::{Budget, Nearness, SportState, intervals, midnight_after, next_poll, renewal_after, stale_after};
pub use producer::Producer;
pub use settings::{PollSettings, ProducerSettings, SourceChoice, SourceSettings};
pub use source::{
    Answer, IncompleteEvent, Level, OddsQuery, RetryAfter, Source, SourceError, Sport, SportList, StartList, Unreadable,
};
pub use the_odds_api::{ApiKey, TheOddsApi};
