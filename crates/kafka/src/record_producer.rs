//! Writes records of any kind, each to a chosen partition.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use odds::Timestamp;
use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::BaseRecord,
};

use crate::{KafkaSettings, Role, sender::Sender};

/// How long a record may wait for Kafka.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// How long Kafka may take to list a topic's partitions.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long the number of a topic's partitions is taken as known.
const KNOWN_FOR: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The record's time.
    pub at: Timestamp,
}

/// Where an acknowledged record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub partition: i32,
    pub offset: i64,
}

/// A writer of records, which all in-sync replicas acknowledge.
pub struct RecordProducer {
    sender: Sender,
    partitions: Mutex<HashMap<String, (usize, Instant)>>,
}

impl RecordProducer {
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let timeout = SENT_WITHIN.as_millis().to_string();
        let defaults = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", "lz4"),
            ("linger.ms", "2"),
            ("message.timeout.ms", timeout.as_str()),
            ("allow.auto.create.topics", "false"),
        ];
        let sender = Sender::new(&settings.client(Role::Producer, &defaults))?;
        Ok(Self { sender, partitions: Mutex::default() })
    }

    /// Returns the number of a topic's partitions; 0 if it doesn't exist.
    pub async fn partitions(&self, topic: &str) -> Result<usize, KafkaError> {
        let known = self.partitions.lock().expect("nobody panics while holding it").get(topic).copied();
        if let Some((count, at)) = known
            && at.elapsed() < KNOWN_FOR
        {
            return Ok(count);
        }
        let (sender, name) = (self.sender.clone(), topic.to_owned());
        let listed = tokio::task::spawn_blocking(move || sender.partitions_of(&name, METADATA_TIMEOUT)).await;
        let listed = listed.unwrap_or_else(|error| Err(KafkaError::ClientCreation(error.to_string())));
        match (listed, known) {
            (Ok(0), _) => Ok(0),
            (Ok(count), _) => {
                let mut partitions = self.partitions.lock().expect("nobody panics while holding it");
                partitions.insert(topic.to_owned(), (count, Instant::now()));
                Ok(count)
            }
            // Partitions are only ever added.
            (Err(_), Some((count, _))) => Ok(count),
            (Err(error), None) => Err(error),
        }
    }

    /// Returns when Kafka has acknowledged the record. After an error, it may have been written or not.
    pub async fn send(&self, record: &NewRecord<'_>) -> Result<Placed, KafkaError> {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(*value) })
            });
        let mut new = BaseRecord::<[u8], [u8]>::to(record.topic)
            .partition(record.partition)
            .payload(record.value)
            .timestamp(record.at.as_millis());
        new.key = record.key;
        let place = self.sender.send(new.headers(headers), SENT_WITHIN).await?;
        Ok(Placed { partition: place.partition, offset: place.offset })
    }
}

/// The partition of a key, as Kafka's own clients choose it.
pub fn partition_of_key(key: &[u8], partitions: usize) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)) as i32
}

/// MurmurHash2 with the seed that Kafka uses.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("four bytes")).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_kafkas_clients() {
        // Vectors of Kafka's own tests of `Utils.murmur2`.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
        assert_eq!(partition_of_key(b"abc", 3), 0);
    }
}
