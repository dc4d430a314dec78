//! The thread that polls librdkafka: gives records to the partitions' workers, pauses partitions whose workers have
//! enough, commits what is done, and hands partitions over.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::Ordering, mpsc as blocking},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Offset, Statistics, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    ConsumerSpec, TopicRecord,
    worker::{Progress, Work},
};
use crate::client_log;

/// How many records may wait for a worker.
const QUEUED_RECORDS: usize = 500;
/// How many bytes a worker may have before its partition is paused.
const QUEUED_BYTES: usize = 4 << 20;
const COMMIT_EVERY: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(100);
/// While partitions are paused.
const SHORT_POLL: Duration = Duration::from_millis(5);

type Partition = (String, i32);

/// A consumer before its thread starts.
pub(super) struct Poller {
    consumer: BaseConsumer<Context>,
    topics: Vec<String>,
    commit_at: Instant,
}

/// What librdkafka's callbacks need. They run on the thread that polls.
struct Context {
    work: Work,
    handed_over_within: Duration,
    runtime: Handle,
    workers: Mutex<HashMap<Partition, Worker>>,
}

/// A partition's worker.
struct Worker {
    records: mpsc::Sender<TopicRecord>,
    progress: Arc<Progress>,
    /// A record that did not fit. The partition is paused until it does.
    held: Option<TopicRecord>,
    committed: Option<i64>,
    leave: CancellationToken,
    /// Disconnected when the worker has ended.
    ended: blocking::Receiver<()>,
    task: AbortHandle,
}

impl Worker {
    fn start(work: Work, runtime: &Handle) -> Self {
        let (records, received) = mpsc::channel(QUEUED_RECORDS);
        let (progress, leave) = (Arc::new(Progress::new()), CancellationToken::new());
        let (end, ended) = blocking::channel();
        let running = work.run(received, progress.clone(), leave.clone());
        let task = runtime.spawn(async move {
            let _end = end;
            running.await;
        });
        Self { records, progress, held: None, committed: None, leave, ended, task: task.abort_handle() }
    }

    /// Gives it a record. Returns whether the partition must be paused.
    fn take(&mut self, record: TopicRecord) -> bool {
        let bytes = record.bytes();
        if self.progress.bytes.load(Ordering::Acquire) > QUEUED_BYTES {
            self.held = Some(record);
            return true;
        }
        match self.records.try_send(record) {
            Ok(()) => drop(self.progress.bytes.fetch_add(bytes, Ordering::AcqRel)),
            Err(mpsc::error::TrySendError::Full(record)) => self.held = Some(record),
            // The worker was stopped by the handler. Nothing of this partition is read any more.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
        self.held.is_some()
    }

    /// Gives it the record that it could not take. Returns whether the partition can be resumed.
    fn take_held(&mut self) -> bool {
        match self.held.take() {
            Some(record) => !self.take(record),
            None => false,
        }
    }

    fn uncommitted(&self) -> Option<i64> {
        self.progress.next().filter(|next| Some(*next) != self.committed)
    }
}

impl Context {
    fn assigned(&self, list: &TopicPartitionList) {
        let mut workers = self.workers.lock().expect("nobody panics while holding it");
        for it in list.elements() {
            let worker = Worker::start(self.work.clone(), &self.runtime);
            workers.insert((it.topic().to_owned(), it.partition()), worker);
        }
        self.work.counts.partitions.store(workers.len() as i64, Ordering::Relaxed);
    }

    /// Ends the workers of these partitions. Returns what they are done with.
    fn hand_over(&self, list: &TopicPartitionList) -> TopicPartitionList {
        let mut leaving = Vec::new();
        {
            let mut workers = self.workers.lock().expect("nobody panics while holding it");
            for it in list.elements() {
                let partition = (it.topic().to_owned(), it.partition());
                leaving.extend(workers.remove(&partition).map(|worker| (partition, worker)));
            }
            self.work.counts.partitions.store(workers.len() as i64, Ordering::Relaxed);
        }
        leaving.iter().for_each(|(_, worker)| worker.leave.cancel());
        let deadline = Instant::now() + self.handed_over_within;
        let mut done = TopicPartitionList::new();
        for ((topic, partition), worker) in leaving {
            let left = deadline.saturating_duration_since(Instant::now());
            if worker.ended.recv_timeout(left) == Err(blocking::RecvTimeoutError::Timeout) {
                warn!(topic, partition, "the handler is not done in time: its records come again elsewhere");
                worker.task.abort();
            }
            if let Some(next) = worker.uncommitted() {
                let _ = done.add_partition_offset(&topic, partition, Offset::Offset(next));
            }
        }
        done
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client_log::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        client_log::failed(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let workers = self.workers.lock().expect("nobody panics while holding it");
        let lag_of = |(topic, partition): &Partition| {
            let partition = statistics.topics.get(topic)?.partitions.get(partition)?;
            Some(partition.consumer_lag.max(0))
        };
        self.work.counts.lag.store(workers.keys().filter_map(lag_of).sum(), Ordering::Relaxed);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            consumer.incremental_assign(list).inspect(|()| self.assigned(list))
        } else {
            let is_lost = consumer.assignment_lost();
            let done = self.hand_over(list);
            // Another member may have read the partitions that were lost.
            if !is_lost
                && done.count() > 0
                && let Err(error) = consumer.commit(&done, CommitMode::Sync)
            {
                info!(%error, "what was done last can't be committed: it comes again");
            }
            consumer.incremental_unassign(list)
        };
        if let Err(error) = done {
            warn!(%error, "partitions can't be assigned or revoked");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let Err(error) = result else { return };
        info!(%error, "what was done can't be committed: it is committed later");
        let mut workers = self.workers.lock().expect("nobody panics while holding it");
        for it in offsets.elements() {
            if let Some(worker) = workers.get_mut(&(it.topic().to_owned(), it.partition())) {
                worker.committed = None;
            }
        }
    }
}

impl Poller {
    pub(super) fn new(config: &ClientConfig, spec: ConsumerSpec, work: Work) -> KafkaResult<Self> {
        let context = Context {
            work,
            handed_over_within: spec.handed_over_within,
            runtime: Handle::current(),
            workers: Mutex::default(),
        };
        Ok(Self { consumer: config.create_with_context(context)?, topics: spec.topics, commit_at: Instant::now() })
    }

    /// Starts the thread. It drops `ended` when it has left the group.
    pub(super) fn start(mut self, leave: CancellationToken, ended: oneshot::Sender<()>) -> KafkaResult<()> {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&topics)?;
        let run = move || {
            while !leave.is_cancelled() {
                self.poll();
            }
            // Leaves the group. The partitions are handed over before that.
            drop(self);
            let _ = ended.send(());
        };
        let named = thread::Builder::new().name("kafka-records".into());
        named.spawn(run).map(drop).map_err(|error| KafkaError::ClientCreation(error.to_string()))
    }

    /// Takes one record, if there is one, and does what is due.
    fn poll(&mut self) {
        let is_paused = self.resume();
        match self.consumer.poll(if is_paused { SHORT_POLL } else { POLL }) {
            Some(Ok(message)) => self.dispatch(TopicRecord::new(&message)),
            Some(Err(error)) => {
                debug!(%error, "the topic can't be read: retrying");
                thread::sleep(SHORT_POLL);
            }
            None => {}
        }
        if self.commit_at <= Instant::now() {
            self.commit_at = Instant::now() + COMMIT_EVERY;
            self.commit();
        }
    }

    fn dispatch(&self, record: TopicRecord) {
        let partition = (record.topic.clone(), record.partition);
        let mut workers = self.consumer.context().workers.lock().expect("nobody panics while holding it");
        // A record may still be in the queue of a partition that was just revoked.
        let Some(worker) = workers.get_mut(&partition) else { return };
        if worker.take(record)
            && let Err(error) = self.consumer.pause(&list_of(&partition, Offset::Invalid))
        {
            warn!(%error, "a partition can't be paused");
        }
    }

    /// Resumes partitions whose workers have room again. Returns whether others stay paused.
    fn resume(&self) -> bool {
        let mut workers = self.consumer.context().workers.lock().expect("nobody panics while holding it");
        let mut is_paused = false;
        for (partition, worker) in workers.iter_mut().filter(|(_, worker)| worker.held.is_some()) {
            if !worker.take_held() {
                is_paused = true;
            } else if let Err(error) = self.consumer.resume(&list_of(partition, Offset::Invalid)) {
                warn!(%error, "a partition can't be resumed");
            }
        }
        is_paused
    }

    fn commit(&self) {
        let mut done = TopicPartitionList::new();
        let mut workers = self.consumer.context().workers.lock().expect("nobody panics while holding it");
        for ((topic, partition), worker) in workers.iter_mut() {
            if let Some(next) = worker.uncommitted() {
                worker.committed = Some(next);
                let _ = done.add_partition_offset(topic, *partition, Offset::Offset(next));
            }
        }
        drop(workers);
        if done.count() > 0
            && let Err(error) = self.consumer.commit(&done, CommitMode::Async)
        {
            info!(%error, "what was done can't be committed: it is committed later");
        }
    }
}

fn list_of((topic, partition): &Partition, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    // Fails only for special offsets that are not used here.
    let _ = list.add_partition_offset(topic, *partition, offset);
    list
}
