//! A producer whose thread sleeps while there is nothing to report.
//!
//! The thread of rdkafka's own `FutureProducer` waits for a tenth of a second at a time, asks for what is
//! left of it in whole milliseconds, and so spins through the last one: a hundredth of a core for each
//! producer that has nothing to do. This one waits for seconds.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext, PurgeConfig},
};
use tokio::{sync::oneshot, time::Instant};

use crate::client_log::Plain;

/// How long the thread waits at a time; so long it may stay when all else is gone.
const AT_A_TIME: Duration = Duration::from_secs(2);
/// Until a full queue is tried again.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends no more than it was given: what is not sent when the last of it is dropped is thrown away.
#[derive(Clone)]
pub(crate) struct Sender(Arc<Owner>);

struct Owner(Arc<BaseProducer<Plain>>);

/// Where a record is.
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

    /// Returns when Kafka has it. A full queue is waited for, for so long.
    pub(crate) async fn send(&self, record: BaseRecord<'_, str, str>, within: Duration) -> Result<Place, KafkaError> {
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
        // A producer reports on every record before it ends.
        reported.await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Throws away what is not sent. What is on its way to a broker may still arrive.
    pub(crate) fn purge(&self) {
        self.0.purge();
    }

    /// Waits until all is sent, or the time is over.
    pub(crate) fn flush(&self, within: Duration) -> Result<(), KafkaError> {
        self.producer().flush(within)
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
        // Who does not wait any more needs no report.
        let _ = report.send(placed);
    }
}
