//! Reads topics in a consumer group: each record at least once, those of a partition in order, with a bounded number of
//! records in memory.
//!
//! A thread polls librdkafka and gives each partition's records to a worker, a task that calls the handler. The offset of
//! a record is committed after the handler is done with it. So records come again after a crash, and some may come again
//! after a rebalance: handlers must be able to take a record twice.

mod dead_letters;
mod poller;
mod record;
mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use odds::Timestamp;
use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::{dead_letters::DeadLetters, poller::Poller, worker::Work};
use crate::{KafkaSettings, Role};

pub use self::{dead_letters::dead_letters_of, record::TopicRecord};
pub(crate) use record::{DEAD_AT, DEAD_ORIGIN, DEAD_REASON};

/// What a handler could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How many of the records it is done with. The next one is the one that it could not handle.
    pub done: usize,
    pub verdict: Verdict,
}

/// What becomes of a record that was not handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is tried again, after a pause that grows. The records behind it wait.
    RetryLater(String),
    /// It is written to the dead-letter topic.
    DeadLetter(String),
    /// The consumer ends. The record is read again by whoever continues.
    Stop(String),
}

#[async_trait]
pub trait RecordHandler: Send + Sync + 'static {
    /// Handles records of one partition in their order. They may have been handled before. A call that takes longer than
    /// [`ConsumerSpec::handled_within`] is dropped, and its records are tried again.
    async fn handle(&self, records: &[TopicRecord]) -> Result<(), Refused>;
}

/// Which topics are read, and how.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    pub group: String,
    pub topics: Vec<String>,
    /// How long the handler may take.
    pub handled_within: Duration,
    /// How long a partition that is given up may wait for its handler. After that, the call is dropped.
    pub handed_over_within: Duration,
}

impl ConsumerSpec {
    pub fn new(group: &str, topics: &[&str]) -> Self {
        Self {
            group: group.to_owned(),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            handled_within: Duration::from_secs(60),
            handed_over_within: Duration::from_secs(10),
        }
    }
}

/// What a consumer has done since it began.
#[derive(Debug, Default)]
pub struct ConsumerCounts {
    handled: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
    partitions: AtomicI64,
    lag: AtomicI64,
}

impl ConsumerCounts {
    /// Records that the handler was done with.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// How often the handler had to be called again.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Records written to a dead-letter topic.
    pub fn dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }

    /// How many partitions this member holds.
    pub fn partitions(&self) -> i64 {
        self.partitions.load(Ordering::Relaxed)
    }

    /// How many records of these partitions are not handled yet. It is a few seconds old.
    pub fn lag(&self) -> i64 {
        self.lag.load(Ordering::Relaxed)
    }
}

/// Why a consumer ended.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("the handler stopped at {record}: {reason}")]
    Stopped { record: String, reason: String },
    #[error("the thread that reads ended unexpectedly")]
    Dead,
}

/// A member of a consumer group.
pub struct TopicConsumer {
    poller: Poller,
    counts: Arc<ConsumerCounts>,
    stopped: mpsc::UnboundedReceiver<ConsumerError>,
}

impl TopicConsumer {
    /// Makes a member. It joins the group, which begins at the oldest records, when it runs.
    pub fn new(
        settings: &KafkaSettings,
        spec: ConsumerSpec,
        handler: Arc<dyn RecordHandler>,
        clock: fn() -> Timestamp,
    ) -> Result<Self, KafkaError> {
        let counts = Arc::new(ConsumerCounts::default());
        let (stop, stopped) = mpsc::unbounded_channel();
        let config = settings.client(
            Role::Consumer,
            &[
                ("group.id", spec.group.as_str()),
                ("partition.assignment.strategy", "cooperative-sticky"),
                ("session.timeout.ms", "10000"),
                ("heartbeat.interval.ms", "1000"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
                ("allow.auto.create.topics", "false"),
                // The handler's queues are short, so more would only be fetched again.
                ("queued.max.messages.kbytes", "4096"),
                ("statistics.interval.ms", "2000"),
            ],
        );
        let work = Work {
            handler,
            dead_letters: DeadLetters::new(settings)?,
            counts: counts.clone(),
            stop,
            handled_within: spec.handled_within,
            clock,
        };
        Ok(Self { poller: Poller::new(&config, spec, work)?, counts, stopped })
    }

    pub fn counts(&self) -> Arc<ConsumerCounts> {
        self.counts.clone()
    }

    /// Reads until `stop` is cancelled, and then leaves the group. Fails if the handler stops it.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ConsumerError> {
        let leave = CancellationToken::new();
        // Also when this future is dropped.
        let _leaving = leave.clone().drop_guard();
        let (end, mut ended) = oneshot::channel();
        self.poller.start(leave.clone(), end)?;
        let result = tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(error) = self.stopped.recv() => Err(error),
            _ = &mut ended => return Err(ConsumerError::Dead),
        };
        leave.cancel();
        ended.await.map_err(|_| ConsumerError::Dead)?;
        result
    }
}
