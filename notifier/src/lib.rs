//! Sends messages to people.
//!
//! For each channel, a notifier reads the topics `transactions` and `alerts` in a consumer group of the channel's name.
//! Each record becomes a message in the outbox, and only then counts as read ([`intake`]). A worker of the channel sends
//! what is in the outbox ([`worker`]). So Kafka, the store and the providers may be down one at a time or all at once: a
//! message waits where it is, until its deadline.

mod intake;
mod metrics;
mod notifier;
mod outcome;
mod repeat;
mod replay;
mod settings;
mod worker;

pub use crate::notifier::{ChannelOf, Notifier};
pub use metrics::Metrics;
pub use repeat::produce_again;
pub use replay::ReplayCommand;
pub use settings::{MessageSettings, Needed, NotifierSettings};
