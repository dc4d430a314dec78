//! The consumers of a region's topic: one outside the group, and the group's members in this process. Each is a task
//! that sends its records to the log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use odds::{BadRecord, Reader, Record};
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{BorrowedMessage, Message},
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaRespErr,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::{METADATA_TIMEOUT, ReadError};
use crate::{
    KafkaSettings, Role, client_log, drop_in_background::DropInBackground, from_message, topics::partitions_of,
};

/// The most records that a consumer sends at once. Batches wake the board's owner less often.
pub(super) const BATCH: usize = 64;
/// How often the topic's partitions are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
/// How often a group's consumers commit the positions of applied records.
const COMMIT_INTERVAL: &str = "1000";

#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) generation: u64,
    pub(super) partition: u32,
    pub(super) offset: i64,
    pub(super) record: Result<Record, BadRecord>,
}

/// Records that were read together, and when.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) read_at: Instant,
    pub(super) arrivals: Vec<Result<Arrival, ReadError>>,
}

/// The part of the reader's state that its consumers need.
#[derive(Debug)]
pub(super) struct Shared {
    /// The number of partitions that the reader knows. Later ones are new and are not read until the topic is reloaded.
    pub(super) count: AtomicUsize,
    /// The next offset to read, by partition.
    pub(super) positions: [AtomicI64; Reader::MAX_PARTITIONS],
    /// The applied offset that may be committed, by partition.
    pub(super) applied: [AtomicI64; Reader::MAX_PARTITIONS],
    /// The partitions assigned to the group's members in this process: one bit for each.
    pub(super) held: watch::Sender<u64>,
    /// Until when new records may wait in the consumers' queues.
    pub(super) rest: watch::Sender<Instant>,
}

impl Shared {
    pub(super) fn positions(&self) -> &[AtomicI64] {
        &self.positions[..self.count.load(Ordering::Relaxed)]
    }

    /// The partitions that are not assigned to any member in this process.
    fn not_held(&self) -> Vec<usize> {
        let held = *self.held.borrow();
        (0..self.positions().len()).filter(|partition| held & (1 << partition) == 0).collect()
    }

    /// An assignment of these partitions, each from the reader's position.
    fn assignment(&self, topic: &str, partitions: impl IntoIterator<Item = usize>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let offset = match self.positions[partition].load(Ordering::Relaxed) {
                0 => Offset::Beginning,
                position => Offset::Offset(position),
            };
            list.add_partition_offset(topic, partition as i32, offset).expect("a valid offset");
        }
        list
    }
}

/// A consumer context that starts each newly assigned partition at the reader's position.
#[derive(Default)]
pub(super) struct Context {
    /// None outside a group.
    pub(super) shared: Option<Arc<Shared>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client_log::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client_log::failed(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let Some(shared) = &self.shared else { return };
        let elements = list.elements();
        let partitions = elements.iter().map(|element| element.partition() as usize);
        let partitions: Vec<usize> = partitions.filter(|at| *at < Reader::MAX_PARTITIONS).collect();
        let bits = partitions.iter().fold(0u64, |bits, partition| bits | 1 << partition);
        let topic = elements.first().map(|element| element.topic().to_owned()).unwrap_or_default();
        let done = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                let list = shared.assignment(&topic, partitions.iter().copied());
                // A rebalance also calls this when nothing changes.
                if !partitions.is_empty() {
                    info!(topic, ?partitions, "partitions assigned");
                }
                consumer.incremental_assign(&list).inspect(|()| shared.held.send_modify(|held| *held |= bits))
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                shared.held.send_modify(|held| *held &= !bits);
                info!(topic, ?partitions, "partitions revoked");
                consumer.incremental_unassign(list)
            }
            other => {
                let code: RDKafkaErrorCode = other.into();
                error!(topic, %code, "rebalancing failed");
                Ok(())
            }
        };
        if let Err(error) = done {
            error!(topic, %error, "partitions can't be assigned or revoked");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            return debug!(%error, "offsets can't be committed");
        }
        for element in offsets.elements() {
            if let (Ok(()), Offset::Offset(offset)) = (element.error(), element.offset()) {
                debug!(topic = element.topic(), partition = element.partition(), offset, "committed");
            }
        }
    }
}

pub(super) fn consumer(
    settings: &KafkaSettings,
    member: Option<(&Member, usize)>,
    context: Context,
) -> Result<DropInBackground<Context>, KafkaError> {
    let mut config = settings.client(
        Role::Consumer,
        &[
            ("enable.auto.offset.store", "false"),
            ("auto.commit.interval.ms", COMMIT_INTERVAL),
            // A missing position means that this is not the log that was read before: the board must be reloaded.
            ("auto.offset.reset", "error"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("topic.metadata.refresh.interval.ms", "10000"),
        ],
    );
    match member {
        Some((Member { group, instance }, n)) => {
            config.set("group.id", group).set("group.instance.id", format!("{instance}-{n}"));
            config.set("enable.auto.commit", "true");
        }
        // librdkafka requires a name although no group is joined.
        None => {
            config.set("group.id", "toteboard-none").set("enable.auto.commit", "false");
        }
    }
    Ok(DropInBackground::new(config.create_with_context(context)?))
}

/// Reports when the topic has more partitions than the reader knows: every step needs the records of all partitions.
pub(super) async fn count(
    topic: &'static str,
    probe: Arc<DropInBackground<Context>>,
    shared: Arc<Shared>,
    arrivals: mpsc::Sender<Batch>,
    stop: CancellationToken,
) {
    while stop.run_until_cancelled(tokio::time::sleep(COUNT_INTERVAL)).await.is_some() {
        let probe = probe.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = probe.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
            Ok::<_, KafkaError>(partitions_of(&metadata, topic))
        });
        // The consumers report when Kafka can't be reached or the topic is gone.
        let Ok(Ok(partitions @ 1..)) = asked.await else { continue };
        let known = shared.count.load(Ordering::Relaxed);
        let other = ReadError::OtherPartitions { topic, partitions, known };
        let batch = Batch { read_at: Instant::now(), arrivals: vec![Err(other)] };
        if partitions != known && arrivals.send(batch).await.is_err() {
            return;
        }
    }
}

/// A consumer's group, and its instance name in the group.
pub(super) struct Member {
    pub(super) group: String,
    pub(super) instance: String,
}

/// The task of one consumer, which sends its records to the log.
pub(super) struct Task {
    pub(super) topic: &'static str,
    pub(super) consumer: Reads,
    pub(super) shared: Arc<Shared>,
    pub(super) arrivals: mpsc::Sender<Batch>,
}

/// Which partitions a consumer reads.
pub(super) enum Reads {
    /// Those that the group assigns to it.
    Member(DropInBackground<Context>, Member),
    /// Those that no member in this process has. There is no consumer while the members have all of them.
    Outside(KafkaSettings, Option<DropInBackground<Context>>),
}

impl Reads {
    /// Reads the partitions that no member has now, from the reader's positions. Always creates a new consumer, because
    /// librdkafka aborts the process when a partition is taken from a consumer that is about to stop reading it.
    pub(super) fn outside(settings: &KafkaSettings, topic: &str, shared: &Shared) -> Result<Self, KafkaError> {
        let partitions = shared.not_held();
        if partitions.is_empty() {
            return Ok(Self::Outside(settings.clone(), None));
        }
        let consumer = consumer(settings, None, Context::default())?;
        consumer.assign(&shared.assignment(topic, partitions))?;
        Ok(Self::Outside(settings.clone(), Some(consumer)))
    }

    fn consumer(&self) -> Option<&DropInBackground<Context>> {
        match self {
            Self::Member(consumer, _) => Some(consumer),
            Self::Outside(_, consumer) => consumer.as_ref(),
        }
    }

    fn member(&self) -> Option<&Member> {
        match self {
            Self::Member(_, member) => Some(member),
            Self::Outside(..) => None,
        }
    }
}

impl Member {
    fn fenced(&self) -> ReadError {
        ReadError::Fenced { group: self.group.clone(), instance: self.instance.clone() }
    }
}

impl Task {
    pub(super) async fn run(
        mut self,
        mut held: watch::Receiver<u64>,
        mut generations: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        let mut generation = *generations.borrow_and_update();
        let mut rest = self.shared.rest.subscribe();
        let is_member = self.consumer.member().is_some();
        let mut commits = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = generations.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    generation = *generations.borrow_and_update();
                    self.start_over();
                }
                Ok(()) = held.changed(), if !is_member => self.start_over(),
                _ = commits.tick(), if is_member => self.store_offsets(),
                batch = self.next(generation, &mut rest) => {
                    if !batch.arrivals.is_empty() && self.arrivals.send(batch).await.is_err() {
                        break;
                    }
                }
            }
        }
    }

    /// Waits for a record, and returns it together with those that are already available. During a rest, records wait
    /// in librdkafka's queue, and none wakes this thread.
    async fn next(&self, generation: u64, rest: &mut watch::Receiver<Instant>) -> Batch {
        let Some(consumer) = self.consumer.consumer() else { return std::future::pending().await };
        let first = loop {
            let rested = tokio::time::sleep_until(*rest.borrow_and_update());
            tokio::select! {
                first = async { rested.await; consumer.recv().await } => break first,
                Ok(()) = rest.changed() => {}
            }
        };
        let mut arrivals: Vec<_> = self.arrival(generation, first).into_iter().collect();
        let read_at = Instant::now();
        let mut more = consumer.stream();
        while arrivals.len() < BATCH
            && let Some(Some(message)) = more.next().now_or_never()
        {
            arrivals.extend(self.arrival(generation, message));
        }
        Batch { read_at, arrivals }
    }

    fn arrival(
        &self,
        generation: u64,
        message: Result<BorrowedMessage<'_>, KafkaError>,
    ) -> Option<Result<Arrival, ReadError>> {
        match message {
            Ok(message) => Some(Ok(Arrival {
                generation,
                partition: message.partition() as u32,
                offset: message.offset(),
                record: from_message(&message),
            })),
            Err(error) => self.serious(&error).map(Err),
        }
    }

    /// Returns an error only if it ends reading: librdkafka recovers from most errors by itself.
    fn serious(&self, error: &KafkaError) -> Option<ReadError> {
        match (error.rdkafka_error_code(), self.consumer.member()) {
            (Some(RDKafkaErrorCode::FencedInstanceId), Some(member)) => Some(member.fenced()),
            (Some(RDKafkaErrorCode::Fatal), Some(member))
                if self
                    .consumer
                    .consumer()
                    .and_then(|consumer| consumer.client().fatal_error())
                    .is_some_and(|(code, _)| code == RDKafkaErrorCode::FencedInstanceId) =>
            {
                Some(member.fenced())
            }
            (Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::Fatal), _) => {
                Some(ReadError::Kafka { topic: self.topic, error: error.clone() })
            }
            _ => {
                debug!(topic = self.topic, %error, "a consumer can't read: librdkafka retries");
                None
            }
        }
    }

    /// Reads the consumer's partitions again from the reader's current positions.
    fn start_over(&mut self) {
        let done = match &self.consumer {
            Reads::Outside(settings, _) => {
                Reads::outside(settings, self.topic, &self.shared).map(|outside| self.consumer = outside)
            }
            Reads::Member(consumer, _) => consumer.assignment().and_then(|assigned| {
                let partitions = assigned.elements().iter().map(|it| it.partition() as usize).collect::<Vec<_>>();
                consumer.incremental_unassign(&assigned)?;
                consumer.incremental_assign(&self.shared.assignment(self.topic, partitions))
            }),
        };
        if let Err(error) = done {
            error!(topic = self.topic, %error, "partitions can't be read from the reader's position");
        }
    }

    /// Stores the positions of applied records, for tools that show lag.
    fn store_offsets(&self) {
        let Some(consumer) = self.consumer.consumer() else { return };
        let Ok(assigned) = consumer.assignment() else { return };
        for partition in assigned.elements().iter().map(TopicPartitionListElem::partition) {
            let applied = self.shared.applied[partition as usize].load(Ordering::Relaxed);
            if applied > 0
                && let Err(error) = consumer.store_offset(self.topic, partition, applied - 1)
            {
                debug!(topic = self.topic, partition, %error, "an offset can't be stored");
            }
        }
    }
}
