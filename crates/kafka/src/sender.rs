//! A producer whose thread sleeps while there is nothing to report.
//!
//! The thread of rdkafka's `FutureProducer` polls for a tenth of a second at a time, rounds the remaining time down to
//! whole milliseconds, and so spins through the last millisecond. That costs a hundredth of a core for each idle
//! producer. This producer polls for two seconds at a time.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, ToBytes},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig},
};
use tokio::{sync::oneshot, time::Instant};

use crate::{client_log::Plain, topics::partitions_of};

/// How long one poll waits. The thread may outlive the producer's last handle by this time.
const AT_A_TIME: Duration = Duration::from_secs(2);
/// The pause before a record is queued again after the queue was full.
const PAUSE: Duration = Duration::from_millis(50);

/// A producer that discards unsent records when its last clone is dropped.
#[derive(Clone)]
pub(crate) struct Sender(Arc<Owner>);

struct Owner(Arc<BaseProducer<Plain>>);

/// The position of a delivered record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

type Report = Box<oneshot::Sender<Result<Place, KafkaError>>>;

impl Sender {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, KafkaError> {
        let producer: Arc<BaseProducer<Plain>> = Arc::new(config.create_with_context(Plain)?);
        let watched = Arc::downgrade(&producer);
        std::thread::Builder::new()
            .name("kafka-reports".into())
            .spawn(move || report(&watched))
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Self(Arc::new(Owner(producer))))
    }

    /// Returns when Kafka has acknowledged the record. Waits up to `within` for room in a full queue.
    pub(crate) async fn send<K, P>(&self, record: BaseRecord<'_, K, P>, within: Duration) -> Result<Place, KafkaError>
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let (report, reported) = oneshot::channel();
        let BaseRecord { topic, partition, payload, key, timestamp, headers, .. } = record;
        let delivery_opaque = Box::new(report);
        let mut record = BaseRecord { topic, partition, payload, key, timestamp, headers, delivery_opaque };
        let begun = Instant::now();
        while let Err((error, unsent)) = self.producer().send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) || begun.elapsed() > within {
                return Err(error);
            }
            record = unsent;
            tokio::time::sleep(PAUSE).await;
        }
        // librdkafka reports on every record before the producer is destroyed.
        reported.await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Discards all unacknowledged records. Those in flight may still reach the broker.
    pub(crate) fn purge(&self) {
        self.0.purge();
    }

    /// Waits until all records are delivered, or fails after this time.
    pub(crate) fn flush(&self, within: Duration) -> Result<(), KafkaError> {
        self.producer().flush(within)
    }

    /// Returns the number of a topic's partitions; 0 if it doesn't exist. Blocks.
    pub(crate) fn partitions_of(&self, topic: &str, within: Duration) -> Result<usize, KafkaError> {
        self.producer().client().fetch_metadata(Some(topic), within).map(|metadata| partitions_of(&metadata, topic))
    }

    fn producer(&self) -> &BaseProducer<Plain> {
        &self.0.0
    }
}

impl Owner {
    fn purge(&self) {
        self.0.purge(PurgeConfig::default().queue().inflight());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.purge();
    }
}

fn report(producer: &Weak<BaseProducer<Plain>>) {
    while let Some(producer) = producer.upgrade() {
        producer.poll(AT_A_TIME);
    }
}

impl ProducerContext for Plain {
    type DeliveryOpaque = Report;

    fn delivery(&self, result: &DeliveryResult<'_>, report: Report) {
        let placed = match result {
            Ok(message) => Ok(Place { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(error.clone()),
        };
        // Fails only if the caller no longer waits.
        let _ = report.send(placed);
    }
}
