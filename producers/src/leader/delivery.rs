//! Sends a fence or a step to Kafka.

use futures::future::BoxFuture;
use kafka::{Delivered, KafkaError, Publisher};
use odds::{Outgoing, StepRecords};

/// A future that ends when Kafka has acknowledged all records.
pub(super) type Delivery = BoxFuture<'static, Result<Sent, KafkaError>>;

pub(super) struct Sent {
    pub(super) images: usize,
    pub(super) removals: usize,
    pub(super) delivered: Delivered,
}

/// Sends the markers once every record is acknowledged.
pub(super) fn send(publisher: Publisher, step: StepRecords) -> Delivery {
    Box::pin(async move {
        let images = step.records.iter().filter(|record| Outgoing::is_image(record)).count();
        let removals = step.records.len() - images;
        let mut delivered = publisher.send(&step.records).await?;
        let markers = publisher.send(&step.markers).await?;
        delivered.records += markers.records;
        delivered.bytes += markers.bytes;
        delivered.latencies.extend(markers.latencies);
        Ok(Sent { images, removals, delivered })
    })
}
