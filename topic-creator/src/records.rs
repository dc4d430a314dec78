//! Looking into a topic, and writing to it by hand.

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use kafka::{KafkaSettings, Role};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{Headers, Message},
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use tokio_util::sync::CancellationToken;

use crate::{RecordSettings, TailSettings, TopicError};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Prints records, one a line: partition, offset, time, headers, key and value, separated by tabs.
/// A removal's value is shown as `(removed)`.
pub fn tail(
    kafka: &KafkaSettings,
    settings: &TailSettings,
    out: &mut dyn Write,
    stop: &CancellationToken,
) -> Result<(), TopicError> {
    let defaults = [("group.id", "toteboard-none"), ("enable.auto.commit", "false"), ("auto.offset.reset", "earliest")];
    let consumer: BaseConsumer = kafka.client(Role::Consumer, &defaults).create()?;
    let metadata = consumer.fetch_metadata(Some(&settings.topic), TIMEOUT)?;
    let partitions: Vec<i32> = (metadata.topics().iter().filter(|topic| topic.name() == settings.topic))
        .flat_map(|topic| topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id))
        .filter(|id| settings.partition.is_none_or(|only| only == *id))
        .collect();
    if partitions.is_empty() {
        let partition = settings.partition.map_or(String::new(), |partition| format!(" partition {partition}"));
        return Err(TopicError::Unknown(format!("{}{partition}", settings.topic)));
    }
    let mut list = TopicPartitionList::new();
    for id in partitions {
        let offset = if settings.from_beginning { Offset::Beginning } else { Offset::End };
        list.add_partition_offset(&settings.topic, id, offset)?;
    }
    consumer.assign(&list)?;
    let mut left = settings.count;
    while left != Some(0) && !stop.is_cancelled() {
        let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
        let message = message?;
        let headers: Vec<String> = message
            .headers()
            .map(|headers| headers.iter())
            .into_iter()
            .flatten()
            .map(|header| format!("{}={}", header.key, text(header.value.unwrap_or_default())))
            .collect();
        let key = message.key().map_or_else(|| "(no key)".to_owned(), text);
        let value = message.payload().map_or_else(|| "(removed)".to_owned(), text);
        let time = message.timestamp().to_millis().unwrap_or(-1);
        let line =
            format!("{}\t{}\t{time}\t{}\t{key}\t{value}\n", message.partition(), message.offset(), headers.join(" "));
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            // Whoever read has had enough.
            return Ok(());
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends lines as records. Gives how many were acknowledged.
pub fn produce(kafka: &KafkaSettings, settings: &RecordSettings, lines: &mut dyn BufRead) -> Result<usize, TopicError> {
    let defaults = [("acks", "all"), ("allow.auto.create.topics", "false"), ("message.timeout.ms", "10000")];
    let outcome = Outcome::default();
    let producer: ThreadedProducer<Outcome> =
        kafka.client(Role::Producer, &defaults).create_with_context(outcome.clone())?;
    let mut sent = 0;
    for line in lines.lines() {
        let line =
            line.map_err(|error| TopicError::NotMade { topic: settings.topic.clone(), reason: error.to_string() })?;
        let mut record = BaseRecord::<str, str>::to(&settings.topic).payload(&line);
        if let Some(key) = &settings.key {
            record = record.key(key);
        }
        record.partition = settings.partition;
        producer.send(record).map_err(|(error, _)| error)?;
        sent += 1;
    }
    producer.flush(TIMEOUT)?;
    match outcome.first_error() {
        None => Ok(sent),
        Some(error) => Err(error.into()),
    }
}

/// Remembers the first delivery that failed.
#[derive(Clone, Default)]
struct Outcome(std::sync::Arc<std::sync::Mutex<Option<KafkaError>>>);

impl Outcome {
    fn first_error(&self) -> Option<KafkaError> {
        self.0.lock().expect("nobody panics while holding it").clone()
    }
}

impl rdkafka::ClientContext for Outcome {}

impl rdkafka::producer::ProducerContext for Outcome {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().expect("nobody panics while holding it").get_or_insert_with(|| error.clone());
        }
    }
}
