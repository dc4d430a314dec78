//! Polls an odds API and publishes the changes to a region's topic. Includes a simulator of such an API.
//!
//! [`Source`] is the API, `polling` decides what to request and when, and `leader` takes part in the election and
//! writes the topic.

mod leader;
mod metrics;
mod polling;
mod settings;
pub mod simulator;
mod source;

pub use leader::Producer;
pub use metrics::Metrics;
pub use polling::{Budget, Nearness, SportState, intervals, midnight_after, next_poll, renewal_after, stale_after};
pub use settings::{PollSettings, ProducerSettings};
pub use source::{
    Answer, ApiKey, IncompleteEvent, Level, OddsQuery, RetryAfter, Source, SourceChoice, SourceError, SourceSettings,
    Sport, SportList, StartList, TheOddsApi, Unreadable,
};
