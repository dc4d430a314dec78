//! Reads what a topic has now, from its beginning to its end.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Message,
};

use crate::{KafkaSettings, Role, TopicRecord, client_log, topics::partitions_of};

/// How long Kafka may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const POLL_FOR: Duration = Duration::from_millis(500);

/// The records that a topic has when it is opened. Blocks its thread.
pub struct WholeTopic {
    consumer: BaseConsumer<client_log::Plain>,
    /// The end of each partition that is not read to its end.
    ends: BTreeMap<i32, i64>,
}

impl WholeTopic {
    /// Returns `None` if there is no such topic.
    pub fn open(settings: &KafkaSettings, topic: &str) -> Result<Option<Self>, KafkaError> {
        Self::open_newest(settings, topic, None)
    }

    /// Reads only the newest so many offsets of each partition, if that is given.
    pub(crate) fn open_newest(
        settings: &KafkaSettings,
        topic: &str,
        newest: Option<usize>,
    ) -> Result<Option<Self>, KafkaError> {
        let defaults = [
            // librdkafka requires a name although no group is joined.
            ("group.id", "toteboard-none"),
            ("enable.auto.commit", "false"),
            ("enable.partition.eof", "false"),
            ("allow.auto.create.topics", "false"),
        ];
        let consumer: BaseConsumer<_> =
            settings.client(Role::Consumer, &defaults).create_with_context(client_log::Plain)?;
        let partitions = partitions_of(&consumer.fetch_metadata(Some(topic), ANSWER_WITHIN)?, topic);
        if partitions == 0 {
            return Ok(None);
        }
        let mut ends = BTreeMap::new();
        let mut wanted = TopicPartitionList::new();
        for partition in 0..partitions as i32 {
            let (first, end) = consumer.fetch_watermarks(topic, partition, ANSWER_WITHIN)?;
            let first = newest.map_or(first, |newest| first.max(end - newest as i64));
            if first < end {
                ends.insert(partition, end);
                wanted.add_partition_offset(topic, partition, Offset::Offset(first))?;
            }
        }
        consumer.assign(&wanted)?;
        Ok(Some(Self { consumer, ends }))
    }

    /// The next record; `None` at the end.
    pub fn next_record(&mut self) -> Result<Option<TopicRecord>, KafkaError> {
        while !self.ends.is_empty() {
            let Some(message) = self.consumer.poll(POLL_FOR) else {
                // The last offsets may have no records: those of aborted transactions, and compacted ones.
                self.drop_finished()?;
                continue;
            };
            let message = message?;
            let Some(end) = self.ends.get(&message.partition()).copied() else { continue };
            if message.offset() + 1 >= end {
                self.ends.remove(&message.partition());
            }
            if message.offset() < end {
                return Ok(Some(TopicRecord::new(&message)));
            }
        }
        Ok(None)
    }

    fn drop_finished(&mut self) -> Result<(), KafkaError> {
        for element in self.consumer.position()?.elements() {
            let Offset::Offset(position) = element.offset() else { continue };
            if self.ends.get(&element.partition()).is_some_and(|end| position >= *end) {
                self.ends.remove(&element.partition());
            }
        }
        Ok(())
    }
}
