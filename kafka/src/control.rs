//! The topic `control`: what gateways and producers tell each other beside the odds.

use std::time::Duration;

use odds::Region;
use rdkafka::{
    error::KafkaError,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use serde::{Deserialize, Serialize};

use crate::{CONTROL, KafkaSettings, Role, client_log};

/// How long a message may wait for Kafka.
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// What is said on `control`. A reader of an earlier version skips what it doesn't know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ControlMessage {
    /// Some reader's board of this region doesn't fit: publish everything.
    Anew { region: Region },
}

#[derive(Clone)]
pub struct ControlWriter(FutureProducer<client_log::Plain>);

impl ControlWriter {
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let timeout = SAID_WITHIN.as_millis().to_string();
        let defaults = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", timeout.as_str()),
            ("allow.auto.create.topics", "false"),
        ];
        Ok(Self(settings.client(Role::Producer, &defaults).create_with_context(client_log::Plain)?))
    }

    /// Returns when Kafka has it.
    pub async fn say(&self, message: &ControlMessage) -> Result<(), KafkaError> {
        let text = serde_json::to_string(message).expect("plain values");
        let record = FutureRecord::<str, str>::to(CONTROL).partition(0).payload(&text);
        let said = self.0.send(record, Timeout::After(SAID_WITHIN)).await;
        said.map(|_| ()).map_err(|(error, _)| error)
    }
}
