//! Reads a whole small topic in every process. It uses no consumer group, so that each process gets every message.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{KafkaSettings, Role, client_log, drop_in_background::DropInBackground, topics::partitions_of};

/// How long Kafka may take to list a topic's partitions.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the partitions are listed, because some may be added.
const LIST_INTERVAL: Duration = Duration::from_secs(60);
/// The pause after an error.
const PAUSE: Duration = Duration::from_millis(500);

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the oldest message that the topic still has.
    Beginning,
    /// At the messages that are written from now on.
    End,
}

/// A reader of a topic whose values are the JSON of `T`. It skips messages that it can't parse, because a later version
/// may write other kinds. It misses messages that Kafka deletes before they are read, and, if it reads from the end,
/// those written before it first reaches Kafka.
pub struct TopicFollower<T> {
    topic: &'static str,
    consumer: Arc<DropInBackground<client_log::Plain>>,
    /// The number of partitions being read.
    partitions: usize,
    /// Where to start in partitions that are not read yet.
    offset: Offset,
    list_at: Instant,
    reads: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> TopicFollower<T> {
    pub fn new(settings: &KafkaSettings, topic: &'static str, from: ReadFrom) -> Result<Self, KafkaError> {
        // This also applies if the topic is deleted and created again.
        let (reset, offset) = match from {
            ReadFrom::Beginning => ("earliest", Offset::Beginning),
            ReadFrom::End => ("latest", Offset::End),
        };
        let defaults = [
            // librdkafka requires a name although no group is joined.
            ("group.id", "toteboard-none"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", reset),
            ("allow.auto.create.topics", "false"),
        ];
        let consumer: StreamConsumer<_> =
            settings.client(Role::Consumer, &defaults).create_with_context(client_log::Plain)?;
        // Every topic has a first partition, so reading starts there. The first call of `next` lists the others.
        let mut first = TopicPartitionList::new();
        first.add_partition_offset(topic, 0, offset)?;
        consumer.incremental_assign(&first)?;
        let consumer = Arc::new(DropInBackground::new(consumer));
        Ok(Self { topic, consumer, partitions: 1, offset, list_at: Instant::now(), reads: PhantomData })
    }

    /// The next message. Waits while Kafka can't be reached or the topic doesn't exist. Nothing is lost if the future
    /// is dropped.
    pub async fn next(&mut self) -> T {
        loop {
            let consumer = self.consumer.clone();
            tokio::select! {
                () = tokio::time::sleep_until(self.list_at) => self.add_partitions().await,
                message = consumer.recv() => match message {
                    Ok(message) => match message.payload().map(serde_json::from_slice) {
                        Some(Ok(value)) => return value,
                        _ => debug!(
                            topic = self.topic,
                            partition = message.partition(),
                            offset = message.offset(),
                            "skipping an unknown message"
                        ),
                    },
                    Err(error) => {
                        warn!(topic = self.topic, %error, "the topic can't be read: retrying");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Starts to read partitions that are not read yet. Partitions that were added later are read from their beginning.
    async fn add_partitions(&mut self) {
        let (topic, consumer) = (self.topic, self.consumer.clone());
        let listing = tokio::task::spawn_blocking(move || {
            consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT).map(|metadata| partitions_of(&metadata, topic))
        });
        match listing.await {
            Ok(Ok(count)) if count > 0 => {
                self.list_at = Instant::now() + LIST_INTERVAL;
                if let Err(error) = self.assign(count) {
                    warn!(topic, %error, "new partitions can't be read: retrying");
                }
            }
            // The failed reads log the reason.
            _ => self.list_at = Instant::now() + PAUSE,
        }
    }

    fn assign(&mut self, count: usize) -> Result<(), KafkaError> {
        if count > self.partitions {
            let mut added = TopicPartitionList::new();
            for partition in self.partitions..count {
                added.add_partition_offset(self.topic, partition as i32, self.offset)?;
            }
            self.consumer.incremental_assign(&added)?;
            info!(topic = self.topic, partitions = count, "reading all partitions of the topic");
            self.partitions = count;
        }
        // All messages are new in a partition that is added from now on.
        self.offset = Offset::Beginning;
        Ok(())
    }
}
