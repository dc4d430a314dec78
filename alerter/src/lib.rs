//! Watches the boards for what users wait for.
//!
//! Users are divided into shards, which the consumer group `alerter` assigns to the alerters. For its shards, an alerter
//! decides which rules fire ([`alerts::Matcher`]), records it in the account store, and then publishes it on the topic
//! `alerts`. A former owner that goes on for a moment does no harm: the store accepts each decision once.

mod alerter;
mod continuity;
mod metrics;
mod publication;
mod regions;
mod rules;
mod settings;
mod steady_clock;
mod watch;

pub use crate::alerter::Alerter;
pub use metrics::Metrics;
pub use settings::AlerterSettings;
