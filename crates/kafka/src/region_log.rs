//! A region's topic, read into a board: by one consumer that reads every partition, as producers
//! do, or by the members of a group, as gateways do.
//!
//! Every partition is read at every moment. A consumer outside the group reads those that no member
//! has: at the start, during a rebalance, and when another process holds them. So no group can keep
//! a board from being read.
//!
//! Consumers are tasks that send what they get down one channel; whoever owns the [`RegionLog`]
//! takes it from there, so the board has one owner and needs no lock. Where to read from is told by
//! the board's reader alone: committed offsets are for tools that show lag.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use odds::{BadRecord, Progress, Reader, Record, Region};
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{BorrowedMessage, Message},
    metadata::Metadata,
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaRespErr,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{KafkaSettings, Role, client_log, drop_in_background::DropInBackground, from_message, topic_of};

/// Records travel from the consumers to the board in batches: those that are there together wake the board's owner
/// once.
const BATCH: usize = 64;
/// How many batches may be on their way.
const IN_FLIGHT: usize = 16;

/// How long Kafka may take to say where partitions end.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the topic's partitions are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(10);

/// How often a group's consumers commit what was applied.
const COMMIT_INTERVAL: &str = "1000";

/// How a region's partitions are shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerMode {
    /// One consumer reads all of them.
    Alone,
    /// Members of a group share them. Each keeps its place in the group for a while when the
    /// process restarts, known by the instance's name.
    Group { group: String, instance: String, consumers: usize },
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("topic {topic}: {error}")]
    Kafka { topic: &'static str, error: KafkaError },
    #[error("topic {0} has no partitions: create it with `topic-creator create`")]
    NoTopic(&'static str),
    #[error("another process is instance {instance:?} of group {group:?}: give each its own --instance")]
    Fenced { group: String, instance: String },
    #[error("topic {topic} has {partitions} partitions: no more than {} can be read", Reader::MAX_PARTITIONS)]
    TooManyPartitions { topic: &'static str, partitions: usize },
    #[error("topic {topic} has {partitions} partitions now, and {known} when it was read")]
    OtherPartitions { topic: &'static str, partitions: usize, known: usize },
    #[error("a consumer of {0} ended")]
    Ended(&'static str),
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEvent {
    Progress(Progress),
    /// Every partition is read to the end that was noted at the start.
    Loaded,
}

pub struct RegionLog {
    region: Region,
    reader: Reader,
    arrivals: mpsc::Receiver<Batch>,
    /// What is left of the last batch.
    batch: std::vec::IntoIter<Result<Arrival, ReadError>>,
    /// When a consumer read that batch.
    read_at: Instant,
    shared: Arc<Shared>,
    generation: watch::Sender<u64>,
    /// Asks where partitions end.
    probe: Arc<DropInBackground<Context>>,
    loaded: bool,
    unreadable: UnreadableRecords,
    _consumers: JoinSet<()>,
    _stop: tokio_util::sync::DropGuard,
}

#[derive(Debug)]
struct Arrival {
    generation: u64,
    partition: u32,
    offset: i64,
    record: Result<Record, BadRecord>,
}

/// Records that were read together, and when.
#[derive(Debug)]
struct Batch {
    read_at: Instant,
    arrivals: Vec<Result<Arrival, ReadError>>,
}

/// How many records could not be read, each counted once: one that is read again, because the topic is read anew
/// or a process starts, must not look like a new one.
#[derive(Debug)]
struct UnreadableRecords {
    count: u64,
    /// By partition: everything before this offset is read, or was there before anybody here read.
    counted_to: Vec<i64>,
}

impl UnreadableRecords {
    /// What is there already was counted by whoever read it when it came.
    fn after(ends: impl IntoIterator<Item = i64>) -> Self {
        Self { count: 0, counted_to: ends.into_iter().collect() }
    }

    /// Counts a record, and returns whether it is new.
    fn add(&mut self, partition: u32, offset: i64) -> bool {
        let counted_to = &mut self.counted_to[partition as usize];
        let is_new = offset >= *counted_to;
        if is_new {
            *counted_to = offset + 1;
            self.count += 1;
        }
        is_new
    }

    /// The topic is read anew, and its partitions end here. One that ends before what was read of it is another
    /// log: all of it is new.
    fn restart(&mut self, read_to: impl IntoIterator<Item = i64>, ends: impl IntoIterator<Item = i64>) {
        let counted_to = self.counted_to.iter().copied().chain(std::iter::repeat(0));
        let read_to = read_to.into_iter().chain(std::iter::repeat(0));
        self.counted_to = (ends.into_iter().zip(counted_to.zip(read_to)))
            .map(|(end, (counted_to, read_to))| {
                let known = counted_to.max(read_to);
                if end < known { 0 } else { known }
            })
            .collect();
    }
}

/// What the consumers need to know of the reader.
#[derive(Debug)]
struct Shared {
    /// How many partitions the reader has. Those after them are new, and have to wait until it starts over.
    count: AtomicUsize,
    /// Where to read on, by partition.
    positions: [AtomicI64; Reader::MAX_PARTITIONS],
    /// What was applied and may be committed, by partition.
    applied: [AtomicI64; Reader::MAX_PARTITIONS],
    /// Which partitions members of the group have: a bit for each.
    held: watch::Sender<u64>,
}

impl RegionLog {
    /// Notes where the topic's partitions end, and begins to read them from their beginnings.
    pub async fn start(settings: &KafkaSettings, region: Region, mode: &ConsumerMode) -> Result<Self, ReadError> {
        let topic = topic_of(region);
        let failed = |error| ReadError::Kafka { topic, error };
        let probe = Arc::new(consumer(settings, None, Context::default()).map_err(failed)?);
        let TopicState { reader, ends } = TopicState::of(&probe, topic).await?;
        let shared = Arc::new(Shared {
            count: AtomicUsize::new(reader.partition_count()),
            positions: std::array::from_fn(|_| AtomicI64::new(0)),
            applied: std::array::from_fn(|_| AtomicI64::new(0)),
            held: watch::Sender::new(0),
        });
        let (send, arrivals) = mpsc::channel(IN_FLIGHT);
        let (generation, _) = watch::channel(0);
        let stop = CancellationToken::new();
        let mut consumers = JoinSet::new();
        let mut spawn = |consumer| {
            let task = Task { topic, consumer, shared: shared.clone(), arrivals: send.clone() };
            consumers.spawn(task.run(shared.held.subscribe(), generation.subscribe(), stop.clone()));
        };
        spawn(Reads::outside(settings, topic, &shared).map_err(failed)?);
        if let ConsumerMode::Group { group, instance, consumers } = mode {
            for n in 0..*consumers {
                let member = Member { group: group.clone(), instance: instance.clone() };
                let context = Context { shared: Some(shared.clone()) };
                let consumer = consumer(settings, Some((&member, n)), context).map_err(failed)?;
                consumer.subscribe(&[topic]).map_err(failed)?;
                spawn(Reads::Member(consumer, member));
            }
        }
        consumers.spawn(count(topic, probe.clone(), shared.clone(), send, stop.clone()));
        Ok(Self {
            region,
            reader,
            arrivals,
            batch: Vec::new().into_iter(),
            read_at: Instant::now(),
            shared,
            generation,
            probe,
            loaded: false,
            unreadable: UnreadableRecords::after(ends),
            _consumers: consumers,
            _stop: stop.drop_guard(),
        })
    }

    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    pub fn reader_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Whether every partition was read to the end that was noted at the start.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// How many records could not be read, of those that came since the start.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.count
    }

    /// When a consumer read the newest record that was taken from here. Exact as long as no more than a thousand records
    /// wait to be taken.
    pub fn read_at(&self) -> Instant {
        self.read_at
    }

    /// Reads until something happened. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<LogEvent, ReadError> {
        loop {
            if !self.loaded && self.reader.phase() != odds::Phase::Loading {
                self.loaded = true;
                return Ok(LogEvent::Loaded);
            }
            let Some(arrival) = self.batch.next() else {
                let batch = self.arrivals.recv().await.ok_or(ReadError::Ended(topic_of(self.region)))?;
                (self.batch, self.read_at) = (batch.arrivals.into_iter(), batch.read_at);
                continue;
            };
            // Whoever counted partitions may not know yet that reading started over.
            if let Err(ReadError::OtherPartitions { known, .. }) = arrival
                && known != self.reader.partition_count()
            {
                continue;
            }
            if let Some(event) = self.take(arrival?)? {
                return Ok(event);
            }
        }
    }

    fn take(&mut self, arrival: Arrival) -> Result<Option<LogEvent>, ReadError> {
        let Arrival { generation, partition, offset, record } = arrival;
        if generation != *self.generation.borrow() {
            return Ok(None);
        }
        let topic = topic_of(self.region);
        let known = self.reader.partition_count();
        if partition as usize >= known {
            return Err(ReadError::OtherPartitions { topic, partitions: partition as usize + 1, known });
        }
        let progress = match record {
            Ok(record) => match self.reader.read(partition, offset, record) {
                Progress::Implausible(step) => {
                    let is_new = self.unreadable.add(partition, offset);
                    warn!(topic, partition, offset, %step, is_new, "a record of an impossible term or step is skipped");
                    Progress::Waiting
                }
                progress => progress,
            },
            Err(reason) => {
                if offset >= self.reader.position(partition) {
                    let is_new = self.unreadable.add(partition, offset);
                    warn!(topic, partition, offset, %reason, is_new, "a record can't be read and is skipped");
                }
                self.reader.advance(partition, offset + 1);
                Progress::Waiting
            }
        };
        let at = partition as usize;
        self.shared.positions[at].store(self.reader.position(partition), Ordering::Relaxed);
        if let Progress::Applied(_) = progress {
            for (partition, applied) in self.shared.applied.iter().take(known).enumerate() {
                applied.store(self.reader.applied_position(partition as u32), Ordering::Relaxed);
            }
        }
        Ok((progress != Progress::Waiting).then_some(LogEvent::Progress(progress)))
    }

    /// Tells how far reading is behind, without keeping it from reading.
    pub fn lag_gauge(&self) -> LagGauge {
        LagGauge { topic: topic_of(self.region), consumer: self.probe.clone(), shared: self.shared.clone() }
    }

    /// Asks what the topic is now, to [`Self::restart`] with.
    pub fn topic_state(&self) -> impl Future<Output = Result<TopicState, ReadError>> + Send + use<> {
        let (probe, topic) = (self.probe.clone(), topic_of(self.region));
        async move { TopicState::of(&probe, topic).await }
    }

    /// Drops the board and reads the topic from its beginning.
    pub fn restart(&mut self, topic: TopicState) {
        let TopicState { reader, ends } = topic;
        let read_to = self.shared.positions.iter().map(|position| position.load(Ordering::Relaxed));
        self.unreadable.restart(read_to, ends);
        self.reader = reader;
        self.loaded = false;
        self.shared.count.store(self.reader.partition_count(), Ordering::Relaxed);
        for position in self.shared.positions.iter().chain(&self.shared.applied) {
            position.store(0, Ordering::Relaxed);
        }
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// A topic before it is read: a reader of it, and where its partitions end.
pub struct TopicState {
    reader: Reader,
    ends: Vec<i64>,
}

impl TopicState {
    async fn of(consumer: &Arc<DropInBackground<Context>>, topic: &'static str) -> Result<Self, ReadError> {
        let consumer = consumer.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
            (0..partitions_of(&metadata, topic) as i32)
                .map(|partition| consumer.fetch_watermarks(topic, partition, METADATA_TIMEOUT))
                .collect::<Result<Vec<(i64, i64)>, KafkaError>>()
        });
        let bounds =
            asked.await.map_err(|_| ReadError::Ended(topic))?.map_err(|error| ReadError::Kafka { topic, error })?;
        match bounds.len() {
            0 => return Err(ReadError::NoTopic(topic)),
            1..=Reader::MAX_PARTITIONS => {}
            partitions => return Err(ReadError::TooManyPartitions { topic, partitions }),
        }
        let ends: Vec<i64> = bounds.iter().map(|(_, end)| *end).collect();
        let mut reader = Reader::new(&ends);
        // What was deleted from a partition's beginning is never read.
        for (partition, (begin, _)) in bounds.iter().enumerate() {
            reader.advance(partition as u32, *begin);
        }
        Ok(Self { reader, ends })
    }
}

pub struct LagGauge {
    topic: &'static str,
    consumer: Arc<DropInBackground<Context>>,
    shared: Arc<Shared>,
}

impl LagGauge {
    /// Whether any broker answers. A partition may have no leader at the moment all the same.
    pub async fn reaches_kafka(&self) -> bool {
        let (topic, consumer) = (self.topic, self.consumer.clone());
        let asked = tokio::task::spawn_blocking(move || consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT).is_ok());
        asked.await.unwrap_or(false)
    }

    /// By partition: how many records there are that were not read.
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

impl Shared {
    fn positions(&self) -> &[AtomicI64] {
        &self.positions[..self.count.load(Ordering::Relaxed)]
    }

    /// The partitions that no member of the group has.
    fn not_held(&self) -> Vec<usize> {
        let held = *self.held.borrow();
        (0..self.positions().len()).filter(|partition| held & (1 << partition) == 0).collect()
    }

    /// These partitions, each from where the reader is.
    fn assignment(&self, topic: &str, partitions: impl IntoIterator<Item = usize>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let offset = match self.positions[partition].load(Ordering::Relaxed) {
                0 => Offset::Beginning,
                position => Offset::Offset(position),
            };
            list.add_partition_offset(topic, partition as i32, offset).expect("a plain offset");
        }
        list
    }
}

/// Starts a partition where the reader is, whenever a member is assigned one.
#[derive(Default)]
struct Context {
    /// Of a member of a group.
    shared: Option<Arc<Shared>>,
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
                // A rebalance also calls this where it changes nothing.
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
            error!(topic, %error, "partitions could not be taken or left");
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

fn consumer(
    settings: &KafkaSettings,
    member: Option<(&Member, usize)>,
    context: Context,
) -> Result<DropInBackground<Context>, KafkaError> {
    let mut config = settings.client(
        Role::Consumer,
        &[
            ("enable.auto.offset.store", "false"),
            ("auto.commit.interval.ms", COMMIT_INTERVAL),
            // A position that is gone means another log than was read: start over, knowingly.
            ("auto.offset.reset", "error"),
            ("fetch.wait.max.ms", "100"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("topic.metadata.refresh.interval.ms", "10000"),
        ],
    );
    match member {
        Some((Member { group, instance }, n)) => {
            config.set("group.id", group).set("group.instance.id", format!("{instance}-{n}"));
            config.set("enable.auto.commit", "true");
        }
        // librdkafka wants a name also where there is no group to join.
        None => {
            config.set("group.id", "toteboard-none").set("enable.auto.commit", "false");
        }
    }
    Ok(DropInBackground::new(config.create_with_context(context)?))
}

/// Tells when the topic has other partitions than are read: records in the others are needed for every step.
async fn count(
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
        // Whoever reads finds out when Kafka can't be reached, or the topic is gone.
        let Ok(Ok(partitions @ 1..)) = asked.await else { continue };
        let known = shared.count.load(Ordering::Relaxed);
        let other = ReadError::OtherPartitions { topic, partitions, known };
        let batch = Batch { read_at: Instant::now(), arrivals: vec![Err(other)] };
        if partitions != known && arrivals.send(batch).await.is_err() {
            return;
        }
    }
}

fn partitions_of(metadata: &Metadata, topic: &str) -> usize {
    metadata.topics().iter().find(|it| it.name() == topic).map_or(0, |it| it.partitions().len())
}

/// Which group a consumer belongs to, and whose member it is there.
struct Member {
    group: String,
    instance: String,
}

/// One consumer: passes on what it gets.
struct Task {
    topic: &'static str,
    consumer: Reads,
    shared: Arc<Shared>,
    arrivals: mpsc::Sender<Batch>,
}

/// Which partitions a consumer reads.
enum Reads {
    /// Those that the group gives it.
    Member(DropInBackground<Context>, Member),
    /// Those that no member has. There is no consumer while members have all.
    Outside(KafkaSettings, Option<DropInBackground<Context>>),
}

impl Reads {
    /// Of what no member has now, from where the reader is. Every time by a new consumer: librdkafka aborts the
    /// process when a partition is taken from a consumer that is still about to stop reading it.
    fn outside(settings: &KafkaSettings, topic: &str, shared: &Shared) -> Result<Self, KafkaError> {
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
    async fn run(
        mut self,
        mut held: watch::Receiver<u64>,
        mut generations: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        let mut generation = *generations.borrow_and_update();
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
                batch = self.next(generation) => {
                    if !batch.arrivals.is_empty() && self.arrivals.send(batch).await.is_err() {
                        break;
                    }
                }
            }
        }
    }

    /// What is there to be read, as soon as there is something.
    async fn next(&self, generation: u64) -> Batch {
        let Some(consumer) = self.consumer.consumer() else { return std::future::pending().await };
        let mut arrivals: Vec<_> = self.arrival(generation, consumer.recv().await).into_iter().collect();
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

    /// Most errors pass, and librdkafka goes on by itself.
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
                debug!(topic = self.topic, %error, "Kafka is in trouble");
                None
            }
        }
    }

    /// Reads its partitions from where the reader now is.
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
            error!(topic = self.topic, %error, "reading can't start over");
        }
    }

    /// For tools that show lag.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_read_again_is_counted_once() {
        let mut unreadable = UnreadableRecords::after([3, 0]);
        assert!(!unreadable.add(0, 2), "it was there before anybody here read");
        assert!(unreadable.add(0, 3) && unreadable.add(1, 3));
        // Read anew, when two more had come to each.
        unreadable.restart([6, 4], [8, 6]);
        let new: Vec<i64> = (0..8).filter(|offset| unreadable.add(0, *offset)).collect();
        assert_eq!(new, [6, 7]);
        assert_eq!(unreadable.count, 4);
    }

    #[test]
    fn a_topic_that_was_made_anew_is_another() {
        let mut unreadable = UnreadableRecords::after([0, 0]);
        unreadable.restart([100, 100], [2, 200, 1]);
        let new = [(0, 1), (1, 99), (1, 100), (2, 0)].map(|(partition, offset)| unreadable.add(partition, offset));
        assert_eq!(new, [true, false, true, true]);
    }
}
