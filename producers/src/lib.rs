//! Polls an odds API and publishes the changes to a region's topic. Includes a simulator of such APIs.
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
pub use polling::{Budget, Nearness, SportState, intervals, midnight_after, next_poll, stale_after};
pub use settings::{BookmakerChoice, PollSettings, ProducerSettings, SourceChoice, SourceSettings};
pub use source::{
    Answer, Api, ApiKey, IncompleteEvent, Level, OddsApiIo, OddsApiIoSettings, OddsQuery, RetryAfter, Source,
    SourceError, Sport, SportList, StartList, TheOddsApi, Unreadable, first_of_next_month,
};
