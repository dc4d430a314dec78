//! Writes JSON values to a topic.

use std::{marker::PhantomData, time::Duration};

use rdkafka::{error::KafkaError, producer::BaseRecord};
use serde::Serialize;

use crate::{KafkaSettings, Role, sender::Sender};

/// How long a value may wait for Kafka.
const SENT_WITHIN: Duration = Duration::from_secs(30);

/// A writer of values to a topic, which all in-sync replicas acknowledge.
pub struct TopicWriter<T> {
    topic: &'static str,
    sender: Sender,
    writes: PhantomData<fn(&T)>,
}

impl<T: Serialize> TopicWriter<T> {
    pub fn new(settings: &KafkaSettings, topic: &'static str) -> Result<Self, KafkaError> {
        let timeout = SENT_WITHIN.as_millis().to_string();
        let defaults = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "lz4"),
            ("linger.ms", "1"),
            ("message.timeout.ms", timeout.as_str()),
            ("allow.auto.create.topics", "false"),
        ];
        let sender = Sender::new(&settings.client(Role::Producer, &defaults))?;
        Ok(Self { topic, sender, writes: PhantomData })
    }

    /// Returns when Kafka has acknowledged the value.
    pub async fn send(&self, partition: i32, key: &str, value: &T) -> Result<(), KafkaError> {
        let text = serde_json::to_string(value).expect("plain values can be serialized");
        let record = BaseRecord::<str, str>::to(self.topic).partition(partition).key(key).payload(&text);
        self.sender.send(record, SENT_WITHIN).await.map(drop)
    }
}
