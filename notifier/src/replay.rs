//! Produces dead letters again, after what was wrong with them was mended.

use anyhow::Context;
use clap::Args;
use kafka::{KafkaSettings, NewRecord, RecordProducer, TopicRecord, WholeTopic};
use messages::MESSAGE_ID;
use odds::Timestamp;
use tokio::sync::mpsc;

/// How many records are read ahead.
const READ_AHEAD: usize = 100;

/// Produces all records of a dead-letter topic again, on the topics that they came from. Each keeps its id, so that no
/// message that was sent is sent again.
#[derive(Clone, Debug, Args)]
pub struct ReplayCommand {
    /// The dead-letter topic, as transactions.dead.
    #[arg(long, value_name = "TOPIC")]
    pub from: String,
}

impl ReplayCommand {
    /// Returns how many records were produced, and how many can't be.
    pub async fn execute(&self, kafka: &KafkaSettings, now: Timestamp) -> anyhow::Result<(usize, usize)> {
        let producer = RecordProducer::new(kafka).context("producing dead letters again")?;
        let (sender, mut records) = mpsc::channel(READ_AHEAD);
        let (settings, topic) = (kafka.clone(), self.from.clone());
        let reading = tokio::task::spawn_blocking(move || read(&settings, &topic, &sender));
        let (mut produced, mut refused) = (0, 0);
        while let Some(record) = records.recv().await {
            match again(&record) {
                Some(again) => {
                    again
                        .produce(&producer, now)
                        .await
                        .with_context(|| format!("{record}, after {produced} records"))?;
                    produced += 1;
                }
                None => refused += 1,
            }
        }
        reading.await.context("reading dead letters")??;
        Ok((produced, refused))
    }
}

fn read(kafka: &KafkaSettings, topic: &str, sender: &mpsc::Sender<TopicRecord>) -> anyhow::Result<()> {
    let topic_now = WholeTopic::open(kafka, topic).with_context(|| topic.to_owned())?;
    let mut topic_now = topic_now.with_context(|| format!("there is no topic {topic}"))?;
    while let Some(record) = topic_now.next_record().with_context(|| topic.to_owned())? {
        // Nobody waits for more after an error.
        if sender.blocking_send(record).is_err() {
            break;
        }
    }
    Ok(())
}

/// A dead letter as it was before.
struct Again<'a> {
    topic: &'a str,
    partition: i32,
    key: Option<&'a [u8]>,
    value: &'a [u8],
    headers: Vec<(&'a str, &'a [u8])>,
    /// A record without an id is named by its first place.
    id: Option<String>,
}

/// `None` if it is not known where it came from, or if it has no value.
fn again(record: &TopicRecord) -> Option<Again<'_>> {
    let (topic, partition, offset) = record.dead_origin()?;
    let headers: Vec<_> = record.headers_before_death().collect();
    let has_id = headers.iter().any(|(name, _)| *name == MESSAGE_ID);
    let id = (!has_id).then(|| format!("{topic}-{partition}-{offset}"));
    Some(Again { topic, partition, key: record.key.as_deref(), value: record.value.as_deref()?, headers, id })
}

impl Again<'_> {
    async fn produce(&self, producer: &RecordProducer, at: Timestamp) -> anyhow::Result<()> {
        let id = self.id.as_ref().map(|id| (MESSAGE_ID, id.as_bytes()));
        let headers: Vec<(&str, &[u8])> = self.headers.iter().copied().chain(id).collect();
        let Self { topic, partition, key, value, .. } = *self;
        producer.send(&NewRecord { topic, partition, key, value, headers: &headers, at }).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let first = again(&record).unwrap();
        assert_eq!((first.topic, first.partition, first.key, first.value), ("a/b", 2, Some(&b"k"[..]), &b"v"[..]));
        assert_eq!((first.headers, first.id.as_deref()), (Vec::new(), Some("a/b-2-17")));
        let record = dead(&[&[(MESSAGE_ID, "m-1")], &dead_headers[..]].concat());
        let known = again(&record).unwrap();
        assert_eq!((known.headers, known.id), (vec![(MESSAGE_ID, &b"m-1"[..])], None));
        assert!(again(&dead(&[])).is_none());
        assert!(again(&TopicRecord { value: None, ..dead(&dead_headers) }).is_none());
    }
}
