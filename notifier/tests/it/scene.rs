//! A cluster, an outbox, and a provider that can be broken.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kafka::{Embedded, NewRecord, RecordProducer, TRANSACTIONS, all_topics};
use messages::{Accepted, Channel, Delivery, Fault, Outbox, OutboxUrl, Provider, Refusal, State};
use notifier::{ChannelOf, Metrics, Notifier};
use service::MetricRegistry;
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

pub const DEADLINE: Duration = Duration::from_secs(90);

pub struct Scene {
    pub cluster: Embedded,
    pub outbox: Arc<dyn Outbox>,
    pub folder: TempDir,
    producer: RecordProducer,
}

/// A provider that notes what it is given, and can be broken.
#[derive(Default)]
pub struct Post {
    /// How often each reference was accepted.
    accepted: Mutex<BTreeMap<String, usize>>,
    refusal: Mutex<Option<Refusal>>,
    /// Accepts what it is given, and loses this many answers.
    lost: AtomicU64,
    pub asked: AtomicU64,
    /// How long it takes.
    pub millis: AtomicU64,
}

#[async_trait]
impl Provider for Post {
    async fn send(&self, delivery: &Delivery<'_>) -> Result<Accepted, Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(self.millis.load(Ordering::SeqCst))).await;
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        *self.accepted.lock().unwrap().entry(delivery.reference.clone()).or_default() += 1;
        let lose = |lost: u64| lost.checked_sub(1);
        if self.lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok() {
            return Err(Refusal::Unknown("the answer was lost".into()));
        }
        Ok(Accepted::default())
    }
}

impl Post {
    pub fn refuse(&self, refusal: Option<Refusal>) {
        *self.refusal.lock().unwrap() = refusal;
    }

    pub fn lose(&self, answers: u64) {
        self.lost.store(answers, Ordering::SeqCst);
    }

    /// How many messages were accepted, and how many copies beyond that.
    pub fn accepted(&self) -> (usize, usize) {
        let accepted = self.accepted.lock().unwrap();
        (accepted.len(), accepted.values().sum::<usize>() - accepted.len())
    }
}

pub fn down() -> Refusal {
    Refusal::Later { reason: "nobody answers".into(), at_fault: Fault::Provider }
}

pub struct Running {
    stop: CancellationToken,
    pub task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("it stops").unwrap().unwrap();
    }
}

impl Scene {
    pub async fn new() -> Self {
        let cluster = Embedded::start(&all_topics()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let outbox = OutboxUrl::Sqlite(folder.path().join("messages.db")).open().await.unwrap();
        let producer = RecordProducer::new(&cluster.settings()).unwrap();
        Self { cluster, outbox, folder, producer }
    }

    pub fn notify(&self, channel: Channel, provider: Arc<dyn Provider>) -> Running {
        let hours = |hours: u64| Duration::from_secs(3_600 * hours);
        let channel = ChannelOf { channel, provider, at_once: 16, deliver_within: hours(24), keep: hours(1_440) };
        let metrics = Metrics::new(&mut MetricRegistry::default(), channel.channel);
        let notifier = Notifier::new(self.cluster.settings(), self.outbox.clone(), channel, service::now, metrics);
        let stop = CancellationToken::new();
        Running { task: tokio::spawn(notifier.run(stop.clone())), stop }
    }

    /// Produces transactions with these numbers, each to its own address.
    pub async fn produce(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let id = format!("m-{number}");
            let value = format!(
                r#"{{"transaction_id":"t-{number}","message_body":"Hello","email":"user{number}@example.com","phone":"+4477009{number:05}"}}"#
            );
            self.produce_value(&value, &[("message_id", &id), ("user", "anna")]).await;
        }
    }

    pub async fn produce_value(&self, value: &str, headers: &[(&str, &str)]) {
        let record = NewRecord { topic: TRANSACTIONS, partition: 1, key: None, value, headers, at: service::now() };
        self.producer.send(&record).await.unwrap();
    }

    pub async fn state(&self, channel: Channel, number: usize) -> Option<State> {
        let id = format!("m-{number}").parse().unwrap();
        self.outbox.message(channel, &id).await.unwrap().map(|message| message.state)
    }

    /// Waits until this many of the first messages have this state.
    pub async fn wait_for(&self, channel: Channel, count: usize, state: State) {
        let end = Instant::now() + DEADLINE;
        for number in 0..count {
            while self.state(channel, number).await != Some(state) {
                assert!(Instant::now() < end, "{number}: {:?}", self.state(channel, number).await);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
