//! A cluster, an outbox, and a provider that can be broken.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use accounts::{AccountSettings, Accounts, Actor, Contacts, Store, StoreUrl, UserId};
use async_trait::async_trait;
use kafka::{ALERTS, Embedded, NewRecord, RecordProducer, TRANSACTIONS, all_topics};
use messages::{
    Accepted, Channel, Delivery, Fault, Links, Outbox, OutboxUrl, Provider, Refusal, SigningKey, State, StoredMessage,
};
use notifier::{ChannelOf, Metrics, Notifier};
use service::MetricRegistry;
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

pub const DEADLINE: Duration = Duration::from_secs(90);

pub struct Scene {
    pub cluster: Embedded,
    pub outbox: Arc<dyn Outbox>,
    pub accounts: Arc<dyn Store>,
    pub folder: TempDir,
    producer: RecordProducer,
}

/// A provider that notes what it is given, and can be broken.
#[derive(Default)]
pub struct Post {
    /// How often each reference was accepted.
    accepted: Mutex<BTreeMap<String, usize>>,
    /// The number of messages in each delivery that was accepted.
    pub sizes: Mutex<Vec<usize>>,
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
        self.sizes.lock().unwrap().push(delivery.messages.len());
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
        let accounts = StoreUrl::Sqlite(folder.path().join("accounts.db")).open().await.unwrap();
        let producer = RecordProducer::new(&cluster.settings()).unwrap();
        Self { cluster, outbox, accounts, folder, producer }
    }

    pub fn channel(channel: Channel, provider: Arc<dyn Provider>) -> ChannelOf {
        let hours = |hours: u64| Duration::from_secs(3_600 * hours);
        ChannelOf {
            channel,
            provider,
            at_once: 16,
            deliver_within: hours(24),
            deliver_alerts_within: hours(1),
            alerts_a_day: 1_000,
            most_a_day: None,
            keep: hours(1_440),
            lease: Duration::from_secs(300),
        }
    }

    pub fn notify(&self, channel: Channel, provider: Arc<dyn Provider>) -> Running {
        self.notify_by(Self::channel(channel, provider))
    }

    pub fn notify_by(&self, channel: ChannelOf) -> Running {
        let metrics = Metrics::new(&mut MetricRegistry::default(), channel.channel);
        let (kafka, outbox, accounts) = (self.cluster.settings(), self.outbox.clone(), self.accounts.clone());
        let notifier = Notifier::new(kafka, outbox, accounts, channel, service::now, metrics);
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
            self.produce_value(&value, &[("message_id", id.as_bytes()), ("user", b"anna")]).await;
        }
    }

    pub async fn produce_value(&self, value: &str, headers: &[(&str, &[u8])]) {
        self.produce_on(TRANSACTIONS, value, headers).await;
    }

    pub async fn produce_on(&self, topic: &str, value: &str, headers: &[(&str, &[u8])]) {
        let value = value.as_bytes();
        let record = NewRecord { topic, partition: 1, key: None, value, headers, at: service::now() };
        self.producer.send(&record).await.unwrap();
    }

    /// A user with a confirmed e-mail address and a confirmed phone number, and other fields of its addresses.
    pub async fn user(&self, fields: &str) -> UserId {
        let accounts = Accounts::new(self.accounts.clone(), AccountSettings::default(), service::now);
        let console = Actor::at_console("host", "a test");
        let user = accounts.create("anna", "seven wet badgers", Default::default(), &console).await.unwrap();
        let confirmed = r#""confirmed_at":"2026-01-01T00:00:00Z","alerts":true"#;
        let contacts: Contacts = serde_json::from_str(&format!(
            r#"{{"email":{{"address":"anna@example.com",{confirmed}}},
                "phone":{{"address":"+447700900123",{confirmed}}}{fields}}}"#
        ))
        .unwrap();
        assert!(self.accounts.set_contacts(&user.id, 0, &contacts).await.unwrap());
        user.id
    }

    /// Publishes alerts of rules that send e-mails and SMS.
    pub async fn alert(&self, user: &UserId, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let value = format!(
                r#"{{"user":"{user}","alert":{{"id":"m-{number}","rule":"r","at":"{}","missed":false,
                    "channels":["email","sms"],"kind":"price","home_team":"Arsenal","away_team":"Leeds",
                    "outcome":"Arsenal","price":2.1,"region":"uk"}}}}"#,
                service::now()
            );
            self.produce_on(ALERTS, &value, &[]).await;
        }
    }

    pub async fn message(&self, channel: Channel, number: usize) -> Option<StoredMessage> {
        self.outbox.message(channel, &format!("m-{number}").parse().unwrap()).await.unwrap()
    }

    pub async fn state(&self, channel: Channel, number: usize) -> Option<State> {
        self.message(channel, number).await.map(|message| message.state)
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

pub fn links() -> Links {
    Links::new("https://odds.example.com", SigningKey::random())
}
