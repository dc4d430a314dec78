//! Produces dead letters again, after what was wrong with them was mended.

use clap::Args;
use kafka::{DeadLetterError, KafkaSettings, Replayed, replay_dead_letters};
use messages::MESSAGE_ID;
use odds::Timestamp;

/// Produces all records of a dead-letter topic again, on the topics that they came from. Each keeps its id, so that no
/// message that was sent is sent again.
#[derive(Clone, Debug, Args)]
pub struct ReplayCommand {
    /// The dead-letter topic, as transactions.dead.
    #[arg(long, value_name = "TOPIC")]
    pub from: String,
}

impl ReplayCommand {
    pub async fn execute(&self, kafka: &KafkaSettings, now: Timestamp) -> Result<Replayed, DeadLetterError> {
        replay_dead_letters(kafka, &self.from, None, MESSAGE_ID, now).await
    }
}
