//! The topic `control`: messages between gateways and producers.

use std::time::Duration;

use odds::Region;
use rdkafka::{error::KafkaError, producer::BaseRecord};
use serde::{Deserialize, Serialize};

use crate::{CONTROL, KafkaSettings, ReadFrom, Role, TopicFollower, sender::Sender};

/// How long a message may wait for Kafka.
const SENT_WITHIN: Duration = Duration::from_secs(5);
/// A message on `control`. Readers of an earlier version skip unknown kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ControlMessage {
    /// A reader's board of this region doesn't match its digest: the leading producer must publish everything again.
    #[serde(rename = "anew")]
    Republish { region: Region },
    /// This user's account changed. The store already has this revision or a later one.
    User { user: String, revision: u64 },
    /// This user's rules changed. The store already has the change.
    Rules { user: String },
    /// An operator disconnects the client with this socket, at whichever gateway it is.
    Disconnect { socket: String },
}

#[derive(Clone)]
pub struct ControlWriter(Sender);

impl ControlWriter {
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let timeout = SENT_WITHIN.as_millis().to_string();
        let defaults = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("message.timeout.ms", timeout.as_str()),
            ("allow.auto.create.topics", "false"),
        ];
        Ok(Self(Sender::new(&settings.client(Role::Producer, &defaults))?))
    }

    /// Returns when Kafka has acknowledged the message.
    pub async fn send(&self, message: &ControlMessage) -> Result<(), KafkaError> {
        let text = serde_json::to_string(message).expect("plain values can be serialized");
        let record = BaseRecord::<str, str>::to(CONTROL).partition(0).payload(&text);
        self.0.send(record, SENT_WITHIN).await.map(drop)
    }
}

/// Returns a follower of the messages written from now on. It may miss those written while Kafka can't be reached.
pub fn follow_control(settings: &KafkaSettings) -> Result<TopicFollower<ControlMessage>, KafkaError> {
    TopicFollower::new(settings, CONTROL, ReadFrom::End)
}
