//! Writes records that can't be handled to the dead-letter topics.

use std::time::Duration;

use odds::Timestamp;
use rdkafka::{error::KafkaError, message::Header, producer::BaseRecord};

use super::{
    TopicRecord,
    record::{DEAD_AT, DEAD_ORIGIN, DEAD_REASON},
};
use crate::{KafkaSettings, Role, sender::Sender};

/// How long a record may wait for Kafka.
const SENT_WITHIN: Duration = Duration::from_secs(30);
/// How much of a reason is kept.
const REASON_LENGTH: usize = 1_000;

/// The name of a topic's dead-letter topic.
pub fn dead_letters_of(topic: &str) -> String {
    format!("{topic}.dead")
}

#[derive(Clone)]
pub(super) struct DeadLetters(Sender);

impl DeadLetters {
    pub(super) fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let timeout = SENT_WITHIN.as_millis().to_string();
        let defaults = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", timeout.as_str()),
            ("allow.auto.create.topics", "false"),
        ];
        Ok(Self(Sender::new(&settings.client(Role::Producer, &defaults))?))
    }

    /// Writes the record as it is, with the reason, where it was, and the time in its headers. Returns when Kafka has
    /// acknowledged it.
    pub(super) async fn write(&self, record: &TopicRecord, reason: &str, now: Timestamp) -> Result<(), KafkaError> {
        let topic = dead_letters_of(&record.topic);
        let (reason, origin, at) =
            (reason.chars().take(REASON_LENGTH).collect::<String>(), record.to_string(), now.to_string());
        let headers = [(DEAD_REASON, &reason), (DEAD_ORIGIN, &origin), (DEAD_AT, &at)]
            .into_iter()
            .fold(record.kafka_headers(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut dead = BaseRecord::<[u8], [u8]>::to(&topic).headers(headers);
        (dead.key, dead.payload) = (record.key.as_deref(), record.value.as_deref());
        self.0.send(dead, SENT_WITHIN).await.map(drop)
    }
}
