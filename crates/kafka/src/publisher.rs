//! Writes steps: idempotent, acknowledged by all replicas, each record to the partition it is for.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream::FuturesUnordered};
use odds::{Outgoing, Region};
use rdkafka::{error::KafkaError, producer::BaseRecord};
use tracing::debug;

use crate::{KafkaSettings, Role, sender::Sender, to_headers, topic_of};

/// How long a record is tried before it counts as lost.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// The largest record; an event that is larger is left out.
pub const MAX_RECORD_BYTES: usize = 900_000;

#[derive(Clone)]
pub struct Publisher {
    topic: &'static str,
    producer: Sender,
}

/// What became of the records of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    pub records: usize,
    pub bytes: usize,
    /// From hand-over to acknowledgement, one for each record.
    pub latencies: Vec<Duration>,
}

impl Publisher {
    pub fn new(settings: &KafkaSettings, region: Region) -> Result<Self, KafkaError> {
        let timeout = GIVE_UP_AFTER.as_millis().to_string();
        let defaults = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "lz4"),
            // A step's records are handed over at once; its marker waits for all of them.
            ("linger.ms", "1"),
            ("message.timeout.ms", timeout.as_str()),
            ("message.max.bytes", "1000000"),
            ("allow.auto.create.topics", "false"),
        ];
        let producer = Sender::new(&settings.client(Role::Producer, &defaults))?;
        Ok(Self { topic: topic_of(region), producer })
    }

    /// Sends records and waits until every one is acknowledged. The first that fails for good ends it.
    pub async fn send(&self, records: &[Outgoing]) -> Result<Delivered, KafkaError> {
        let mut delivered = Delivered::default();
        let mut waiting = FuturesUnordered::new();
        for record in records {
            let value = record.value.as_deref();
            delivered.bytes += value.map_or(0, str::len);
            let sent = Instant::now();
            let mut message = BaseRecord::<str, str>::to(self.topic)
                .partition(record.partition as i32)
                .key(&record.key)
                .headers(to_headers(record));
            message.payload = value;
            // A full queue is waited for, as long as a record is tried.
            let report = self.producer.send(message, GIVE_UP_AFTER);
            waiting.push(async move { (record, sent, report.await) });
        }
        while let Some((record, sent, report)) = waiting.next().await {
            let place = report?;
            let latency = sent.elapsed();
            let (partition, offset) = (place.partition, place.offset);
            debug!(topic = self.topic, partition, offset, key = record.key, ?latency, "delivered");
            delivered.records += 1;
            delivered.latencies.push(latency);
        }
        Ok(delivered)
    }

    /// Throws away what is not sent. What is on its way to a broker may still arrive.
    pub fn purge(&self) {
        self.producer.purge();
    }

    /// Waits until all is sent, or the time is over.
    pub fn flush(&self, within: Duration) -> Result<(), KafkaError> {
        self.producer.flush(within)
    }
}
