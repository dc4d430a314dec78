//! Messages to people: where they are kept, and how programs ask for them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use kafka::{KafkaError, KafkaSettings, RecordProducer};
use messages::Outbox;
use tokio::sync::Semaphore;

/// How many records may be on their way to Kafka.
const IN_FLIGHT: usize = 2_000;

pub(crate) struct Messages {
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) producer: RecordProducer,
    /// The topics that programs may produce to.
    pub(crate) topics: Vec<String>,
    pub(crate) in_flight: Semaphore,
    next_partition: AtomicUsize,
}

impl Messages {
    pub(crate) fn new(outbox: Arc<dyn Outbox>, kafka: &KafkaSettings, topics: Vec<String>) -> Result<Self, KafkaError> {
        Ok(Self {
            outbox,
            producer: RecordProducer::new(kafka)?,
            topics,
            in_flight: Semaphore::new(IN_FLIGHT),
            next_partition: AtomicUsize::new(0),
        })
    }

    /// Chooses partitions one after the other.
    pub(crate) fn next_partition(&self, count: usize) -> i32 {
        (self.next_partition.fetch_add(1, Ordering::Relaxed) % count.max(1)) as i32
    }
}
