//! Measures how far reading is behind the end of the topic.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rdkafka::{consumer::Consumer, error::KafkaError};

use super::{
    METADATA_TIMEOUT, ReadError,
    consumers::{Context, Shared},
};
use crate::drop_in_background::DropInBackground;

/// A gauge of a region log's lag that doesn't delay reading.
pub struct LagGauge {
    pub(super) topic: &'static str,
    pub(super) consumer: Arc<DropInBackground<Context>>,
    pub(super) shared: Arc<Shared>,
}

impl LagGauge {
    /// Whether any broker answers. A partition may still have no leader.
    pub async fn reaches_kafka(&self) -> bool {
        let (topic, consumer) = (self.topic, self.consumer.clone());
        let asked = tokio::task::spawn_blocking(move || consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT).is_ok());
        asked.await.unwrap_or(false)
    }

    /// Returns the number of unread records, by partition.
    pub async fn read(&self) -> Result<Vec<i64>, ReadError> {
        let (topic, consumer, shared) = (self.topic, self.consumer.clone(), self.shared.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let lag = |(partition, position): (usize, &AtomicI64)| {
                let (_, end) = consumer.fetch_watermarks(topic, partition as i32, METADATA_TIMEOUT)?;
                Ok((end - position.load(Ordering::Relaxed)).max(0))
            };
            shared.positions().iter().enumerate().map(lag).collect::<Result<_, KafkaError>>()
        });
        asked.await.map_err(|_| ReadError::Ended(topic))?.map_err(|error| ReadError::Kafka { topic, error })
    }
}
