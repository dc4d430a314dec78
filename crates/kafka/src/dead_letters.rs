//! Dead letters: what lies on a dead-letter topic, and how it gets back to where it came from.

use std::collections::VecDeque;

use odds::Timestamp;
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use crate::{KafkaSettings, NewRecord, RecordProducer, TopicRecord, WholeTopic};

/// How many records are read ahead.
const READ_AHEAD: usize = 100;
/// How much of a value is shown, in characters.
const SHOWN: usize = 300;

/// Why dead letters can't be read or produced again.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error("there is no topic {0}")]
    NoTopic(String),
    #[error("{topic}: {error}")]
    Kafka { topic: String, error: KafkaError },
    /// Those before it were produced.
    #[error("{record}, after {produced} records: {error}")]
    NotProduced { record: String, produced: usize, error: KafkaError },
    #[error("the thread that reads {0} ended unexpectedly")]
    Dead(String),
}

/// A dead letter, as far as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
    /// Where it was, as topic/partition/offset.
    pub origin: String,
    pub died_at: String,
    /// The beginning of its value.
    pub value: String,
}

impl From<&TopicRecord> for DeadLetter {
    fn from(record: &TopicRecord) -> Self {
        let header = |name| record.header(name).unwrap_or_default().to_owned();
        let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
        Self {
            partition: record.partition,
            offset: record.offset,
            reason: header(crate::topic_consumer::DEAD_REASON),
            origin: header(crate::topic_consumer::DEAD_ORIGIN),
            died_at: header(crate::topic_consumer::DEAD_AT),
            value: value.chars().take(SHOWN).collect(),
        }
    }
}

/// Returns the newest records of a dead-letter topic, the newest first.
pub async fn newest_dead_letters(
    kafka: &KafkaSettings,
    topic: &str,
    most: usize,
) -> Result<Vec<DeadLetter>, DeadLetterError> {
    let (mut records, reading) = read(kafka, topic, Some(most));
    let mut newest = VecDeque::with_capacity(most);
    while let Some(record) = records.recv().await {
        if newest.len() == most {
            newest.pop_front();
        }
        newest.push_back(DeadLetter::from(&record));
    }
    ended(topic, reading.await)?;
    Ok(newest.into_iter().rev().collect())
}

/// What became of dead letters that were to be produced again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    pub produced: usize,
    /// They have no value, or don't say where they came from.
    pub refused: usize,
}

/// Produces the records of a dead-letter topic again, on the topics that they came from: all that it has now, or the one
/// at this partition and offset. Each keeps its id, which is in the header of this name, or gets one that names its first
/// place: so nothing is done twice.
pub async fn replay_dead_letters(
    kafka: &KafkaSettings,
    topic: &str,
    only: Option<(i32, i64)>,
    id_header: &str,
    now: Timestamp,
) -> Result<Replayed, DeadLetterError> {
    let failed = |error| DeadLetterError::Kafka { topic: topic.to_owned(), error };
    let producer = RecordProducer::new(kafka).map_err(failed)?;
    let (mut records, reading) = read(kafka, topic, None);
    let mut replayed = Replayed::default();
    while let Some(record) = records.recv().await {
        if only.is_some_and(|only| only != (record.partition, record.offset)) {
            continue;
        }
        match Revived::of(&record, id_header) {
            Some(revived) => {
                revived.produce(&producer, id_header, now).await.map_err(|error| DeadLetterError::NotProduced {
                    record: record.to_string(),
                    produced: replayed.produced,
                    error,
                })?;
                replayed.produced += 1;
            }
            None => replayed.refused += 1,
        }
        if only.is_some() {
            return Ok(replayed);
        }
    }
    ended(topic, reading.await)?;
    Ok(replayed)
}

type Reading = tokio::task::JoinHandle<Result<(), DeadLetterError>>;

/// Reads a topic, or only the newest so many records of each partition.
fn read(kafka: &KafkaSettings, topic: &str, newest: Option<usize>) -> (mpsc::Receiver<TopicRecord>, Reading) {
    let (sender, records) = mpsc::channel(READ_AHEAD);
    let (kafka, topic) = (kafka.clone(), topic.to_owned());
    let reading = tokio::task::spawn_blocking(move || {
        let failed = |error| DeadLetterError::Kafka { topic: topic.clone(), error };
        let mut whole = WholeTopic::open_newest(&kafka, &topic, newest)
            .map_err(failed)?
            .ok_or_else(|| DeadLetterError::NoTopic(topic.clone()))?;
        while let Some(record) = whole.next_record().map_err(failed)? {
            // Nobody waits for more after an error.
            if sender.blocking_send(record).is_err() {
                break;
            }
        }
        Ok(())
    });
    (records, reading)
}

fn ended(
    topic: &str,
    reading: Result<Result<(), DeadLetterError>, tokio::task::JoinError>,
) -> Result<(), DeadLetterError> {
    reading.unwrap_or_else(|_| Err(DeadLetterError::Dead(topic.to_owned())))
}

/// A dead letter as it was before.
struct Revived<'a> {
    topic: &'a str,
    partition: i32,
    key: Option<&'a [u8]>,
    value: &'a [u8],
    headers: Vec<(&'a str, &'a [u8])>,
    /// The id of a record that had none.
    id: Option<String>,
}

impl<'a> Revived<'a> {
    /// `None` if it is not known where it came from, or if it has no value.
    fn of(record: &'a TopicRecord, id_header: &str) -> Option<Self> {
        let (topic, partition, offset) = record.dead_origin()?;
        let headers: Vec<_> = record.headers_before_death().collect();
        let has_id = headers.iter().any(|(name, _)| *name == id_header);
        let id = (!has_id).then(|| format!("{topic}-{partition}-{offset}"));
        Some(Self { topic, partition, key: record.key.as_deref(), value: record.value.as_deref()?, headers, id })
    }

    async fn produce(&self, producer: &RecordProducer, id_header: &str, at: Timestamp) -> Result<(), KafkaError> {
        let id = self.id.as_ref().map(|id| (id_header, id.as_bytes()));
        let headers: Vec<(&str, &[u8])> = self.headers.iter().copied().chain(id).collect();
        let Self { topic, partition, key, value, .. } = *self;
        producer.send(&NewRecord { topic, partition, key, value, headers: &headers, at }).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "message_id";

    fn dead(headers: &[(&str, &str)]) -> TopicRecord {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec())));
        TopicRecord {
            topic: "transactions.dead".into(),
            partition: 0,
            offset: 4,
            written_at: None,
            key: Some(b"k".to_vec()),
            value: Some(b"v".to_vec()),
            headers: headers.collect(),
        }
    }

    #[test]
    fn a_dead_letter_goes_where_it_came_from_under_the_same_id() {
        let dead_headers = [("dead_reason", "no"), ("dead_origin", "a/b/2/17"), ("dead_at", "now")];
        let record = dead(&dead_headers);
        let first = Revived::of(&record, ID).unwrap();
        assert_eq!((first.topic, first.partition, first.key, first.value), ("a/b", 2, Some(&b"k"[..]), &b"v"[..]));
        assert_eq!((first.headers, first.id.as_deref()), (Vec::new(), Some("a/b-2-17")));
        let shown = DeadLetter::from(&record);
        assert_eq!((shown.reason.as_str(), shown.origin.as_str(), shown.value.as_str()), ("no", "a/b/2/17", "v"));
        let record = dead(&[&[(ID, "m-1")], &dead_headers[..]].concat());
        let known = Revived::of(&record, ID).unwrap();
        assert_eq!((known.headers, known.id), (vec![(ID, &b"m-1"[..])], None));
        assert!(Revived::of(&dead(&[]), ID).is_none());
        assert!(Revived::of(&TopicRecord { value: None, ..dead(&dead_headers) }, ID).is_none());
    }
}
