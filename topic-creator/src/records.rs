//! Prints a topic's records, and writes records by hand.

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use kafka::{KafkaSettings, Role};
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    client::Client,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Headers, Message},
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use tokio_util::sync::CancellationToken;

use crate::{RecordSettings, TailSettings, TopicError};

const TIMEOUT: Duration = Duration::from_secs(10);
const QUEUE_RETRY: Duration = Duration::from_millis(10);

/// Prints records, one a line: partition, offset, time, headers, key and value, separated by tabs.
/// A removal's value is shown as `(removed)`.
pub fn tail(
    kafka: &KafkaSettings,
    settings: &TailSettings,
    out: &mut dyn Write,
    stop: &CancellationToken,
) -> Result<(), TopicError> {
    let reset = match &settings.group {
        Some(_) if !settings.from_beginning => "latest",
        _ => "earliest",
    };
    let defaults = [
        ("group.id", settings.group.as_deref().unwrap_or("toteboard-none")),
        ("enable.auto.commit", if settings.group.is_some() { "true" } else { "false" }),
        // Offsets are stored only after their records are printed.
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", reset),
    ];
    let consumer: BaseConsumer = kafka.client(Role::Consumer, &defaults).create()?;
    let mut partitions = partitions_of(consumer.client(), &settings.topic)?;
    match settings.group {
        Some(_) => consumer.subscribe(&[&settings.topic])?,
        None => {
            partitions.retain(|id| settings.partition.is_none_or(|only| only == *id));
            if partitions.is_empty() {
                let partition = settings.partition.unwrap_or_default();
                return Err(TopicError::Unknown(format!("{} partition {partition}", settings.topic)));
            }
            let mut list = TopicPartitionList::new();
            for id in partitions {
                let offset = if settings.from_beginning { Offset::Beginning } else { Offset::End };
                list.add_partition_offset(&settings.topic, id, offset)?;
            }
            consumer.assign(&list)?;
        }
    }
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
            // The reader of the output has closed it.
            return Ok(());
        }
        if settings.group.is_some() {
            consumer.store_offset_from_message(&message)?;
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}

fn partitions_of<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Vec<i32>, TopicError> {
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT)?;
    let partitions: Vec<i32> = (metadata.topics().iter().filter(|it| it.name() == topic))
        .flat_map(|topic| topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id))
        .collect();
    if partitions.is_empty() { Err(TopicError::Unknown(topic.to_owned())) } else { Ok(partitions) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends lines as records. Returns how many were acknowledged, or the first error.
pub fn produce(kafka: &KafkaSettings, settings: &RecordSettings, lines: &mut dyn BufRead) -> Result<usize, TopicError> {
    let defaults = [("acks", "all"), ("allow.auto.create.topics", "false"), ("message.timeout.ms", "10000")];
    let outcome = Outcome::default();
    let producer: ThreadedProducer<Outcome> =
        kafka.client(Role::Producer, &defaults).create_with_context(outcome.clone())?;
    let partitions = partitions_of(producer.client(), &settings.topic)?;
    let mut sent = 0;
    for line in lines.lines() {
        let line = line.map_err(|error| TopicError::Failed {
            topic: settings.topic.clone(),
            reason: format!("can't read a line to send: {error}"),
        })?;
        let mut record = BaseRecord::<str, str>::to(&settings.topic).payload(&line);
        if let Some(key) = &settings.key {
            record = record.key(key);
        }
        let in_turn = partitions[sent % partitions.len()];
        record.partition = settings.partition.or_else(|| settings.key.is_none().then_some(in_turn));
        while let Err((error, unsent)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            // Kafka is slower than the input.
            std::thread::sleep(QUEUE_RETRY);
            record = unsent;
        }
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
        self.0.lock().expect("no thread panics while holding the lock").clone()
    }
}

impl ClientContext for Outcome {}

impl rdkafka::producer::ProducerContext for Outcome {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().expect("no thread panics while holding the lock").get_or_insert_with(|| error.clone());
        }
    }
}
