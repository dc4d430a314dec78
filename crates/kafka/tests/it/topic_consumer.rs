//! Tests of `TopicConsumer`: no record is lost, whatever its handler, the dead-letter topic or the group does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kafka::{
    ConsumerError, ConsumerSpec, Embedded, KafkaSettings, ReadFrom, RecordHandler, Refused, Role, TopicConsumer,
    TopicFollower, TopicRecord, TopicSpec, Verdict,
};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::{Value, json};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "orders";
const DEADLINE: Duration = Duration::from_secs(60);

fn topic(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec { name: name.into(), partitions, replication: 1, settings: Vec::new() }
}

fn cluster() -> Embedded {
    Embedded::start(&[topic(TOPIC, 3), topic("orders.dead", 1)]).unwrap()
}

fn spec() -> ConsumerSpec {
    ConsumerSpec::new("workers", &[TOPIC])
}

async fn write(kafka: &KafkaSettings, partition: i32, values: impl Iterator<Item = u32>) {
    let producer: FutureProducer = kafka.client(Role::Producer, &[("linger.ms", "1")]).create().unwrap();
    for value in values {
        let value = value.to_string();
        let headers = OwnedHeaders::new().insert(Header { key: "from", value: Some("test") });
        let record = FutureRecord::to(TOPIC).partition(partition).key("k").payload(&value).headers(headers);
        // Acknowledged one after the other, and not waited for one by one.
        drop(producer.send_result(record).unwrap());
    }
    rdkafka::producer::Producer::flush(&producer, DEADLINE).unwrap();
}

fn number(record: &TopicRecord) -> u32 {
    str::from_utf8(record.value.as_deref().unwrap()).unwrap().parse().unwrap()
}

/// What the handlers of a test have done, and how they misbehave.
#[derive(Default)]
struct Ledger {
    /// The numbers of each partition, in the order in which they were done.
    done: Mutex<BTreeMap<i32, Vec<u32>>>,
    changed: Notify,
    /// Refused each time, with this verdict.
    refused: Mutex<BTreeMap<u32, Verdict>>,
    /// Never finishes while this is set.
    hangs: AtomicBool,
}

#[async_trait]
impl RecordHandler for Ledger {
    async fn handle(&self, records: &[TopicRecord]) -> Result<(), Refused> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        // Slow enough for a rebalance to come in between.
        tokio::time::sleep(Duration::from_millis(2)).await;
        for (done, record) in records.iter().enumerate() {
            if let Some(verdict) = self.refused.lock().unwrap().get(&number(record)) {
                return Err(Refused { done, verdict: verdict.clone() });
            }
            self.done.lock().unwrap().entry(record.partition).or_default().push(number(record));
        }
        self.changed.notify_waiters();
        Ok(())
    }
}

impl Ledger {
    fn of(&self, partition: i32) -> Vec<u32> {
        self.done.lock().unwrap().get(&partition).cloned().unwrap_or_default()
    }

    fn all(&self) -> BTreeSet<u32> {
        self.done.lock().unwrap().values().flatten().copied().collect()
    }

    async fn wait_until(&self, what: impl Fn(&Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !what(self) {
            let _ = timeout(Duration::from_millis(100), self.changed.notified()).await;
            assert!(Instant::now() < end, "done: {:?}", self.done.lock().unwrap());
        }
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), ConsumerError>>,
}

fn run(kafka: &KafkaSettings, spec: ConsumerSpec, ledger: &Arc<Ledger>) -> Running {
    let consumer = TopicConsumer::new(kafka, spec, ledger.clone(), clock).unwrap();
    let stop = CancellationToken::new();
    Running { task: tokio::spawn(consumer.run(stop.clone())), stop }
}

fn clock() -> odds::Timestamp {
    odds::Timestamp::from_millis(1_000)
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        timeout(DEADLINE, self.task).await.expect("it stops").unwrap().unwrap();
    }
}

/// Whether each number is followed by the next one, or by one that came before.
fn in_order(numbers: &[u32]) -> bool {
    let mut most = None;
    numbers.iter().all(|number| {
        let fits = most.is_none_or(|most| *number <= most + 1);
        most = most.max(Some(*number));
        fits
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_handled_once_and_in_order_and_another_run_goes_on_behind_them() {
    let cluster = cluster();
    let kafka = cluster.settings();
    for partition in 0..3 {
        write(&kafka, partition, 0..2_000).await;
    }
    let ledger = Arc::new(Ledger::default());
    let running = run(&kafka, spec(), &ledger);
    ledger.wait_until(|it| (0..3).all(|partition| it.of(partition).len() >= 2_000)).await;
    running.stop().await;
    for partition in 0..3 {
        write(&kafka, partition, 2_000..2_100).await;
    }
    let running = run(&kafka, spec(), &ledger);
    ledger.wait_until(|it| (0..3).all(|partition| it.of(partition).contains(&2_099))).await;
    running.stop().await;
    for partition in 0..3 {
        assert!(ledger.of(partition).iter().copied().eq(0..2_100), "{:?}", ledger.of(partition));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_handled_now_holds_up_its_partition_only() {
    let cluster = cluster();
    let kafka = cluster.settings();
    let ledger = Arc::new(Ledger::default());
    ledger.refused.lock().unwrap().insert(5, Verdict::RetryLater("not now".into()));
    write(&kafka, 0, 0..10).await;
    write(&kafka, 1, 10..20).await;
    let running = run(&kafka, spec(), &ledger);
    ledger.wait_until(|it| it.of(0).len() == 5 && it.of(1).len() == 10).await;
    ledger.refused.lock().unwrap().clear();
    ledger.wait_until(|it| it.of(0).len() == 10).await;
    running.stop().await;
    assert!(ledger.of(0).into_iter().eq(0..10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hangs_is_called_again() {
    let cluster = cluster();
    let kafka = cluster.settings();
    let ledger = Arc::new(Ledger::default());
    ledger.hangs.store(true, Ordering::SeqCst);
    write(&kafka, 0, 0..3).await;
    let consumer = TopicConsumer::new(
        &kafka,
        ConsumerSpec { handled_within: Duration::from_millis(200), ..spec() },
        ledger.clone(),
        clock,
    );
    let consumer = consumer.unwrap();
    let counts = consumer.counts();
    let stop = CancellationToken::new();
    let running = Running { task: tokio::spawn(consumer.run(stop.clone())), stop };
    ledger.wait_until(|_| counts.retried() > 0).await;
    ledger.hangs.store(false, Ordering::SeqCst);
    ledger.wait_until(|it| it.of(0).len() == 3).await;
    running.stop().await;
}

async fn dead_letter(kafka: &KafkaSettings) -> Value {
    let mut dead = TopicFollower::<Value>::new(kafka, "orders.dead", ReadFrom::Beginning).unwrap();
    timeout(DEADLINE, dead.next()).await.expect("a dead letter")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_can_never_be_handled_is_a_dead_letter_with_everything_that_it_had() {
    let cluster = cluster();
    let kafka = cluster.settings();
    let ledger = Arc::new(Ledger::default());
    ledger.refused.lock().unwrap().insert(1, Verdict::DeadLetter("no number".into()));
    write(&kafka, 0, 0..3).await;
    let running = run(&kafka, spec(), &ledger);
    ledger.wait_until(|it| it.of(0) == [0, 2]).await;
    running.stop().await;
    assert_eq!(dead_letter(&kafka).await, json!(1));
    // Read by a consumer, which shows the headers.
    let (seen, records) = tokio::sync::mpsc::unbounded_channel();
    let reader =
        TopicConsumer::new(&kafka, ConsumerSpec::new("readers", &["orders.dead"]), Arc::new(Forward(seen)), clock);
    let stop = CancellationToken::new();
    let running = Running { task: tokio::spawn(reader.unwrap().run(stop.clone())), stop };
    let mut records = records;
    let dead = timeout(DEADLINE, records.recv()).await.expect("in time").unwrap();
    running.stop().await;
    assert_eq!(dead.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(dead.header("from"), Some("test"));
    assert_eq!(dead.header("dead_reason"), Some("no number"));
    assert_eq!(dead.header("dead_origin"), Some("orders/0/1"));
    assert_eq!(dead.header("dead_at"), Some("1970-01-01T00:00:01Z"));
}

struct Forward(tokio::sync::mpsc::UnboundedSender<TopicRecord>);

#[async_trait]
impl RecordHandler for Forward {
    async fn handle(&self, records: &[TopicRecord]) -> Result<(), Refused> {
        records.iter().for_each(|record| self.0.send(record.clone()).unwrap());
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_dead_letter_topic_cannot_be_written_the_next_records_wait() {
    let cluster = cluster();
    let kafka = cluster.settings();
    let ledger = Arc::new(Ledger::default());
    ledger.refused.lock().unwrap().insert(1, Verdict::RetryLater("not yet".into()));
    write(&kafka, 0, 0..3).await;
    let running = run(&kafka, spec(), &ledger);
    ledger.wait_until(|it| it.of(0) == [0]).await;
    for broker in 1..=3 {
        cluster.broker_down(broker).unwrap();
    }
    ledger.refused.lock().unwrap().insert(1, Verdict::DeadLetter("no number".into()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ledger.of(0), [0], "the next record waits for the dead letter");
    for broker in 1..=3 {
        cluster.broker_up(broker).unwrap();
    }
    ledger.wait_until(|it| it.of(0).ends_with(&[2])).await;
    running.stop().await;
    assert_eq!(dead_letter(&kafka).await, json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_can_stop_the_consumer_and_its_record_is_read_again() {
    let cluster = cluster();
    let kafka = cluster.settings();
    let ledger = Arc::new(Ledger::default());
    ledger.refused.lock().unwrap().insert(2, Verdict::Stop("a later version".into()));
    write(&kafka, 0, 0..4).await;
    let Running { task, .. } = run(&kafka, spec(), &ledger);
    let error = timeout(DEADLINE, task).await.expect("it stops").unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the handler stopped at orders/0/2: a later version");
    ledger.refused.lock().unwrap().clear();
    let running = run(&kafka, spec(), &ledger);
    ledger.wait_until(|it| it.of(0).ends_with(&[2, 3])).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_lose_nothing_and_keep_the_order() {
    let cluster = cluster();
    let kafka = cluster.settings();
    let ledger = Arc::new(Ledger::default());
    let writing = {
        let kafka = kafka.clone();
        tokio::spawn(async move {
            for from in (0..3_000).step_by(100) {
                for partition in 0..3 {
                    write(&kafka, partition, from..from + 100).await;
                }
            }
        })
    };
    let mut members = vec![run(&kafka, spec(), &ledger)];
    for round in 0..4 {
        let seen = ledger.all().len();
        ledger.wait_until(|it| it.all().len() > seen || it.all().len() == 3_000).await;
        members.push(run(&kafka, spec(), &ledger));
        if round % 2 == 1 {
            members.remove(0).stop().await;
        }
    }
    writing.await.unwrap();
    ledger.wait_until(|it| (0..3).all(|partition| it.of(partition).contains(&2_999))).await;
    for member in members {
        member.stop().await;
    }
    for partition in 0..3 {
        let numbers = ledger.of(partition);
        assert!(numbers.iter().copied().collect::<BTreeSet<_>>().into_iter().eq(0..3_000));
        assert!(in_order(&numbers), "{numbers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_member_did_not_commit_comes_again() {
    let cluster = cluster();
    let kafka = cluster.settings();
    let ledger = Arc::new(Ledger::default());
    // Handled, and never reported as done: the process dies in between.
    let (seen, mut records) = tokio::sync::mpsc::unbounded_channel();
    let killed = TopicConsumer::new(
        &kafka,
        ConsumerSpec { handed_over_within: Duration::from_millis(10), ..spec() },
        Arc::new(Dies(seen)),
        clock,
    );
    write(&kafka, 0, 0..5).await;
    let task = tokio::spawn(killed.unwrap().run(CancellationToken::new()));
    assert!(timeout(DEADLINE, records.recv()).await.expect("in time").is_some(), "it has some of them");
    task.abort();
    let running = run(&kafka, spec(), &ledger);
    ledger.wait_until(|it| it.of(0).len() == 5).await;
    running.stop().await;
}

/// Handles records and does not return.
struct Dies(tokio::sync::mpsc::UnboundedSender<usize>);

#[async_trait]
impl RecordHandler for Dies {
    async fn handle(&self, records: &[TopicRecord]) -> Result<(), Refused> {
        self.0.send(records.len()).unwrap();
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_slow_handler_stays_in_kafka() {
    let cluster = Embedded::start(&[topic(TOPIC, 1)]).unwrap();
    let kafka = cluster.settings();
    let ledger = Arc::new(Ledger::default());
    ledger.refused.lock().unwrap().insert(0, Verdict::RetryLater("busy".into()));
    write(&kafka, 0, 0..5_000).await;
    let running = run(&kafka, spec(), &ledger);
    tokio::time::sleep(Duration::from_secs(2)).await;
    ledger.refused.lock().unwrap().clear();
    ledger.wait_until(|it| it.of(0).len() >= 5_000).await;
    running.stop().await;
    assert!(ledger.of(0).into_iter().eq(0..5_000), "the partition was paused and resumed");
}
