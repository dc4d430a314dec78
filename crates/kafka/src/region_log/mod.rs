//! A region's topic, read into a board: by one consumer that reads every partition, as in producers, or by the members
//! of a group, as in gateways.
//!
//! Every partition is always read. A consumer outside the group reads the partitions that no member in this process
//! has: at the start, during a rebalance, and when another process has them. So the group can never stop a board from
//! being read.
//!
//! Consumers are tasks that send records through one channel to the owner of the [`RegionLog`], so the board needs no
//! lock. Only the board's reader decides where to read from: committed offsets are for tools that show lag.

mod consumers;
mod lag;
mod unreadable;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use odds::{Progress, Reader, Region};
use rdkafka::{consumer::Consumer, error::KafkaError};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::lag::LagGauge;
use self::{
    consumers::{Arrival, BATCH, Batch, Context, Member, Reads, Shared, Task, consumer, count},
    unreadable::UnreadableRecords,
};
use crate::{KafkaSettings, drop_in_background::DropInBackground, topic_of, topics::partitions_of};

/// The most batches that may be queued for the board.
const IN_FLIGHT: usize = 16;
/// How long Kafka may take to list a topic's partitions and their ends.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// How a region's partitions are divided among consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerMode {
    /// One consumer reads all of them.
    Alone,
    /// Members of a group share them. A member keeps its partitions if it restarts with the same instance name within
    /// the group's session timeout.
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
    #[error("topic {topic} has {partitions} partitions, but at most {} can be read", Reader::MAX_PARTITIONS)]
    TooManyPartitions { topic: &'static str, partitions: usize },
    #[error("topic {topic} now has {partitions} partitions, not {known}: it must be read again")]
    OtherPartitions { topic: &'static str, partitions: usize, known: usize },
    #[error("a consumer of topic {0} ended unexpectedly")]
    Ended(&'static str),
}

/// An event in the reading of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEvent {
    Progress(Progress),
    /// Every partition is read to where it ended at the start.
    Loaded,
}

pub struct RegionLog {
    region: Region,
    reader: Reader,
    arrivals: mpsc::Receiver<Batch>,
    /// The rest of the last batch.
    batch: std::vec::IntoIter<Result<Arrival, ReadError>>,
    /// When a consumer read that batch.
    read_at: Instant,
    /// Whether a batch was full since none was waiting: then its consumer may have more.
    is_behind: bool,
    shared: Arc<Shared>,
    generation: watch::Sender<u64>,
    /// Looks up where partitions end.
    probe: Arc<DropInBackground<Context>>,
    loaded: bool,
    unreadable: UnreadableRecords,
    _consumers: JoinSet<()>,
    _stop: tokio_util::sync::DropGuard,
}

impl RegionLog {
    /// Looks up where the topic's partitions end, and starts to read them from their beginnings.
    pub async fn start(settings: &KafkaSettings, region: Region, mode: &ConsumerMode) -> Result<Self, ReadError> {
        let topic = topic_of(region);
        let failed = |error| ReadError::Kafka { topic, error };
        // A broker answers one request of a connection at a time, and holds fetches, so other questions need a client
        // of their own.
        let probe = Arc::new(consumer(settings, None, Context::default()).map_err(failed)?);
        let TopicState { reader, ends } = TopicState::of(&probe, topic).await?;
        let shared = Arc::new(Shared {
            count: AtomicUsize::new(reader.partition_count()),
            positions: std::array::from_fn(|_| AtomicI64::new(0)),
            applied: std::array::from_fn(|_| AtomicI64::new(0)),
            held: watch::Sender::new(0),
            rest: watch::Sender::new(Instant::now()),
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
            is_behind: true,
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

    /// Whether every partition was read to where it ended at the start.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The number of unreadable records that were written since the process started.
    pub fn unreadable(&self) -> u64 {
        self.unreadable.count
    }

    /// When a consumer read the newest record that was applied. Exact as long as no more than a thousand records are
    /// queued.
    pub fn read_at(&self) -> Instant {
        self.read_at
    }

    /// Lets new records wait until this time, if all others are read, as far as is known.
    pub fn rest_until(&self, end: Instant) {
        if !self.is_behind && self.batch.len() == 0 && self.arrivals.is_empty() {
            self.shared.rest.send_replace(end);
        }
    }

    /// Reads until the next event. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<LogEvent, ReadError> {
        loop {
            if !self.loaded && self.reader.phase() != odds::Phase::Loading {
                self.loaded = true;
                return Ok(LogEvent::Loaded);
            }
            let Some(arrival) = self.batch.next() else {
                let batch = self.arrivals.recv().await.ok_or(ReadError::Ended(topic_of(self.region)))?;
                self.is_behind = batch.arrivals.len() == BATCH || (self.is_behind && !self.arrivals.is_empty());
                (self.batch, self.read_at) = (batch.arrivals.into_iter(), batch.read_at);
                continue;
            };
            // The partitions may have been counted before the topic was reloaded.
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
                    warn!(topic, partition, offset, %step, is_new, "skipping a record with an impossible term or step");
                    Progress::Waiting
                }
                progress => progress,
            },
            Err(reason) => {
                if offset >= self.reader.position(partition) {
                    let is_new = self.unreadable.add(partition, offset);
                    warn!(topic, partition, offset, %reason, is_new, "skipping an unreadable record");
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

    pub fn lag_gauge(&self) -> LagGauge {
        LagGauge { topic: topic_of(self.region), consumer: self.probe.clone(), shared: self.shared.clone() }
    }

    /// Looks up the topic's current state, for [`Self::restart`].
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
        self.shared.rest.send_replace(Instant::now());
        self.shared.count.store(self.reader.partition_count(), Ordering::Relaxed);
        for position in self.shared.positions.iter().chain(&self.shared.applied) {
            position.store(0, Ordering::Relaxed);
        }
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// A topic before it is read: a new reader, and where its partitions end.
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
        // Records deleted from a partition's beginning are never read.
        for (partition, (begin, _)) in bounds.iter().enumerate() {
            reader.advance(partition as u32, *begin);
        }
        Ok(Self { reader, ends })
    }
}
