//! The topic `control`: what gateways and producers tell each other beside the odds.

use std::time::Duration;

use odds::Region;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    producer::BaseRecord,
};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::{CONTROL, KafkaSettings, Role, client_log, drop_in_background::DropInBackground, sender::Sender};

/// How long a message may wait for Kafka.
const SAID_WITHIN: Duration = Duration::from_secs(5);
/// After something went wrong.
const PAUSE: Duration = Duration::from_millis(500);

/// What is said on `control`. A reader of an earlier version skips what it doesn't know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ControlMessage {
    /// Some reader's board of this region doesn't fit: publish everything.
    #[serde(rename = "anew")]
    Republish { region: Region },
    /// Something of this user's account changed; at this revision or a later one it is in the store.
    User { user: String, revision: u64 },
}

#[derive(Clone)]
pub struct ControlWriter(Sender);

impl ControlWriter {
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let timeout = SAID_WITHIN.as_millis().to_string();
        let defaults = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", timeout.as_str()),
            ("allow.auto.create.topics", "false"),
        ];
        Ok(Self(Sender::new(&settings.client(Role::Producer, &defaults))?))
    }

    /// Returns when Kafka has it.
    pub async fn say(&self, message: &ControlMessage) -> Result<(), KafkaError> {
        let text = serde_json::to_string(message).expect("plain values");
        let record = BaseRecord::<str, str>::to(CONTROL).partition(0).payload(&text);
        self.0.send(record, SAID_WITHIN).await.map(drop)
    }
}

/// Hears what is said from now on. What is said while Kafka is away from it may be missed.
pub struct ControlReader(DropInBackground<client_log::Plain>);

impl ControlReader {
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let defaults = [
            // librdkafka wants a name also where there is no group to join.
            ("group.id", "toteboard-none"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "latest"),
            ("fetch.wait.max.ms", "100"),
            ("allow.auto.create.topics", "false"),
        ];
        let consumer: StreamConsumer<_> =
            settings.client(Role::Consumer, &defaults).create_with_context(client_log::Plain)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(CONTROL, 0, Offset::End)?;
        consumer.assign(&list)?;
        Ok(Self(DropInBackground::new(consumer)))
    }

    pub async fn next(&self) -> ControlMessage {
        loop {
            match self.0.recv().await {
                Ok(message) => match message.payload().map(serde_json::from_slice) {
                    Some(Ok(message)) => return message,
                    // Of a later version, or nobody's.
                    _ => debug!(offset = message.offset(), "a control message that is not understood is skipped"),
                },
                Err(error) => {
                    warn!(%error, "the control topic can't be read");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
