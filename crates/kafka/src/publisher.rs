//! Writes steps to a region's topic: idempotently, acknowledged by all in-sync replicas, each record to its own
//! partition.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream::FuturesUnordered};
use odds::{Outgoing, Region};
use rdkafka::{error::KafkaError, producer::BaseRecord};
use tracing::debug;

use crate::{KafkaSettings, Role, sender::Sender, to_headers, topic_of};

/// How long librdkafka retries a record before it reports it as lost.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);

/// The largest record. Larger events are left out.
pub const MAX_RECORD_BYTES: usize = 900_000;

#[derive(Clone)]
pub struct Publisher {
    topic: &'static str,
    producer: Sender,
}

/// The delivery statistics of a step's records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    pub records: usize,
    pub bytes: usize,
    /// The time from sending to acknowledgement, one for each record.
    pub latencies: Vec<Duration>,
}

impl Publisher {
    pub fn new(settings: &KafkaSettings, region: Region) -> Result<Self, KafkaError> {
        let timeout = GIVE_UP_AFTER.as_millis().to_string();
        let defaults = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "lz4"),
            // Short, because a step's records are sent together and its marker waits for all of them.
            ("linger.ms", "1"),
            ("message.timeout.ms", timeout.as_str()),
            ("message.max.bytes", "1000000"),
            ("allow.auto.create.topics", "false"),
        ];
        let producer = Sender::new(&settings.client(Role::Producer, &defaults))?;
        Ok(Self { topic: topic_of(region), producer })
    }

    /// Sends records and waits until all are acknowledged. Returns the first error that librdkafka doesn't retry.
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

    /// Discards all unacknowledged records. Those in flight may still reach the broker.
    pub fn purge(&self) {
        self.producer.purge();
    }

    /// Waits until all records are delivered, or fails after this time.
    pub fn flush(&self, within: Duration) -> Result<(), KafkaError> {
        self.producer.flush(within)
    }
}
