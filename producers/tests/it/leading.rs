use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use kafka::{ConsumerMode, Embedded, FollowerEvent, KafkaSettings, RegionFollower, Role, Steps, all_topics, topic_of};
use odds::{FeedState, Region, Term, Timestamp};
use producers::{
    Api, ApiKey, Metrics, PollSettings, Producer, Source, SourceChoice, SourceSettings, TheOddsApi,
    simulator::{Shown, Simulator, SimulatorSettings},
};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::{Value, json};
use service::MetricRegistry;
use tokio::{net::TcpListener, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

const REGION: Region = Region::Uk;
const KEY: &str = "k3y";
const DEADLINE: Duration = Duration::from_secs(60);

/// An odds API and a cluster, for any number of producers of one region.
struct Stage {
    cluster: Embedded,
    simulator: Simulator,
    url: String,
}

struct Running {
    stop: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
    metrics: MetricRegistry,
}

impl Stage {
    async fn set() -> Self {
        service::install_tls_provider();
        let cluster = Embedded::start(&all_topics()).unwrap();
        let settings =
            SimulatorSettings { seed: 3, speed: 20.0, credits: 1e6, requests_per_hour: 1e6, fault_rate: 0.0 };
        let simulator = Simulator::new(&settings, service::now);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(simulator.clone().serve(listener, std::future::pending()));
        Self { cluster, simulator, url }
    }

    fn kafka(&self) -> KafkaSettings {
        self.cluster.settings()
    }

    fn producer(&self, source: &'static str, clock: fn() -> Timestamp) -> Running {
        let api = TheOddsApi::new(source, self.url.parse().unwrap(), ApiKey::new(KEY.into())).unwrap();
        self.producer_on(|_| Arc::new(api), clock)
    }

    fn producer_on(&self, source: impl FnOnce(&PollSettings) -> Arc<dyn Source>, clock: fn() -> Timestamp) -> Running {
        let polling = PollSettings {
            sports: Vec::new(),
            markets: ["h2h", "spreads", "totals"].map(|key| key.parse().unwrap()).to_vec(),
            credit_share: 1.0,
            max_credits_per_day: None,
            poll_speed: 600.0,
        };
        let api = source(&polling);
        let mut metrics = MetricRegistry::default();
        let counted = Metrics::new(&mut metrics, REGION, clock);
        let producer = Producer::new(REGION, polling, self.kafka(), api, clock, counted);
        let stop = CancellationToken::new();
        let ended = tokio::spawn(producer.run(stop.clone()));
        Running { stop, ended, metrics }
    }

    async fn order(&self, path: &str, body: Value) {
        let order = reqwest::Client::new().post(format!("{}{path}", self.url)).json(&body);
        assert!(order.send().await.unwrap().status().is_success(), "{path}");
    }

    fn watch(&self) -> RegionFollower {
        RegionFollower::new(self.kafka(), REGION, ConsumerMode::Alone, Steps::Every)
    }

    /// Freezes the simulated world and reads until the board matches it.
    async fn converges(&self, follower: &mut RegionFollower) {
        self.converges_on(Api::TheOddsApi, follower).await;
    }

    async fn converges_on(&self, api: Api, follower: &mut RegionFollower) {
        self.simulator.freeze();
        let truth = Shown::of_truth(&self.simulator.truth_of(api, REGION)).unwrap();
        let end = Instant::now() + DEADLINE;
        while Shown::of_board(follower.board()) != truth {
            let read = tokio::time::timeout_at(end, next_event(follower)).await;
            assert!(read.is_ok(), "{:?}", Shown::of_board(follower.board()).differences(&truth, 2));
        }
    }

    /// Returns the number of records written to the region's topic.
    async fn written(&self) -> i64 {
        let consumer: BaseConsumer =
            self.kafka().client(Role::Consumer, &[("group.id", "test-written")]).create().unwrap();
        let ends = tokio::task::spawn_blocking(move || {
            let end = |partition| consumer.fetch_watermarks(topic_of(REGION), partition, Duration::from_secs(10));
            [0, 1].map(|partition| end(partition).unwrap().1)
        });
        ends.await.unwrap().iter().sum()
    }
}

impl Running {
    async fn ends(self) -> anyhow::Result<()> {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.ended).await.unwrap().unwrap()
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        // A metric that was never incremented has no line.
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}

async fn next_event(follower: &mut RegionFollower) -> FollowerEvent {
    let event = follower.next().await.unwrap();
    assert!(!matches!(event, FollowerEvent::Lost(_)), "{event:?}");
    event
}

/// Reads until a step of a greater term is complete. Returns its term.
async fn next_term(follower: &mut RegionFollower, above: Term) -> Term {
    tokio::time::timeout(DEADLINE, async {
        loop {
            if let FollowerEvent::Verified(step) = next_event(follower).await
                && step.term > above
            {
                return step.term;
            }
        }
    })
    .await
    .unwrap()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A reader that is busy when a step arrives needs this to measure how late it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_arrival_time_of_a_step_does_not_depend_on_when_it_is_handled() {
    let stage = Stage::set().await;
    let producer = stage.producer("one", service::now);
    let mut follower = stage.watch();
    next_term(&mut follower, Term::new(0, 0)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    while !matches!(next_event(&mut follower).await, FollowerEvent::Verified(_)) {}
    let waited = follower.read_at().elapsed();
    assert!(waited > Duration::from_millis(500), "the step waited for {waited:?}");
    producer.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_by_takes_over_and_the_board_stays_the_truth() {
    let stage = Stage::set().await;
    let mut follower = stage.watch();
    let first = stage.producer("simulator", service::now);
    let term = next_term(&mut follower, Term::new(0, 0)).await;
    let second = stage.producer("simulator", service::now);
    stage.converges(&mut follower).await;
    assert_eq!(follower.reader().applied().term, term, "a newcomer does not disturb");
    assert_eq!(
        (
            first.metric("toteboard_producer_leading{region=\"uk\"}"),
            second.metric("toteboard_producer_leading{region=\"uk\"}")
        ),
        (1.0, 0.0)
    );

    first.ends().await.unwrap();
    stage.order("/sim/thaw", json!(null)).await;
    next_term(&mut follower, term).await;
    stage.converges(&mut follower).await;
    assert_eq!(second.metric("toteboard_producer_leading{region=\"uk\"}"), 1.0);
    second.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_can_have_another_source() {
    let stage = Stage::set().await;
    let mut follower = stage.watch();
    let settings = SourceSettings {
        source: Some(SourceChoice::Simulator),
        simulator_url: stage.url.clone(),
        simulator_api: Api::OddsApiIo,
        api_url: None,
        api_key: None,
        bookmakers: vec!["Betway".parse().unwrap(), "uk=Coral".parse().unwrap(), "us=Bovada".parse().unwrap()],
    };
    let few = stage.producer_on(|polling| settings.open(REGION, polling, service::now).unwrap(), service::now);
    let term = next_term(&mut follower, Term::new(0, 0)).await;
    let has_both = |follower: &RegionFollower| {
        let marker = follower.reader().marker();
        let names = marker.map(|marker| marker.bookmaker_names.values().cloned().collect::<Vec<_>>());
        names.is_some_and(|names| names == ["Betway", "Coral"])
    };
    let end = Instant::now() + DEADLINE;
    while !has_both(&follower) {
        tokio::time::timeout_at(end, next_event(&mut follower)).await.unwrap();
    }
    few.ends().await.unwrap();
    // All of the region's bookmakers.
    let settings = SourceSettings { bookmakers: Vec::new(), ..settings };
    let all = stage.producer_on(|polling| settings.open(REGION, polling, service::now).unwrap(), service::now);
    next_term(&mut follower, term).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.converges_on(Api::OddsApiIo, &mut follower).await;
    assert_eq!(follower.reader().marker().unwrap().source, "simulator:600");
    all.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_goes_away_and_comes_back() {
    let stage = Stage::set().await;
    let mut follower = stage.watch();
    let producer = stage.producer("simulator", service::now);
    next_term(&mut follower, Term::new(0, 0)).await;
    (1..=3).for_each(|broker| stage.cluster.broker_down(broker).unwrap());
    // The producer continues to poll, and keeps what it can't publish.
    until("no event waits to be published", async || {
        producer.metric("toteboard_producer_pending_events{region=\"uk\"}") > 0.0
    })
    .await;
    (1..=3).for_each(|broker| stage.cluster.broker_up(broker).unwrap());
    stage.converges(&mut follower).await;
    producer.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_the_memory() {
    let stage = Stage::set().await;
    let mut follower = stage.watch();
    let producer = stage.producer("simulator", service::now);
    next_term(&mut follower, Term::new(0, 0)).await;
    stage.converges(&mut follower).await;
    producer.ends().await.unwrap();
    let events = follower.board().event_count() as i64;
    let before = stage.written().await;

    // After a restart with the same odds, only fences and markers are written.
    let term = follower.reader().applied().term;
    let producer = stage.producer("simulator", service::now);
    let term = next_term(&mut follower, term).await;
    until("the producer does not poll", async || {
        producer.metric("toteboard_producer_polls_total{region=\"uk\",outcome=\"ok\"}") > 3.0
    })
    .await;
    producer.ends().await.unwrap();
    let restarted = stage.written().await - before;
    assert!(restarted < events / 2, "{restarted} records for {events} events");

    // After a change of the source, everything is written.
    let producer = stage.producer("another", service::now);
    next_term(&mut follower, term).await;
    until("not everything is written", async || stage.written().await >= before + restarted + events).await;
    stage.converges(&mut follower).await;
    assert_eq!(follower.reader().marker().unwrap().source, "another");
    producer.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_can_request_that_everything_is_published_again() {
    let stage = Stage::set().await;
    let mut follower = stage.watch();
    let producer = stage.producer("simulator", service::now);
    next_term(&mut follower, Term::new(0, 0)).await;
    stage.converges(&mut follower).await;
    let events = follower.board().event_count() as i64;
    let before = stage.written().await;
    let writer: FutureProducer = stage.kafka().client(Role::Producer, &[]).create().unwrap();
    let request = FutureRecord::<str, str>::to("control").partition(0).payload(r#"{"kind":"anew","region":"uk"}"#);
    writer.send(request, Duration::from_secs(10)).await.unwrap();
    until("not everything is written", async || stage.written().await >= before + events).await;
    stage.converges(&mut follower).await;
    producer.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_ends_it_with_one_clear_line() {
    let stage = Stage::set().await;
    stage.order("/sim/keys", json!([KEY])).await;
    let producer = stage.producer("simulator", service::now);
    let error = tokio::time::timeout(DEADLINE, producer.ended).await.unwrap().unwrap().unwrap_err();
    let line = format!("{error:#}");
    assert!(line.contains("refuses the key"), "{line}");
    assert!(!line.contains(KEY) && !line.contains('\n'), "{line}");
}

/// A clock that runs a hundred times faster than real time.
fn fast() -> Timestamp {
    static BEGAN: OnceLock<Timestamp> = OnceLock::new();
    let began = *BEGAN.get_or_init(service::now);
    began.plus_millis(100 * service::now().millis_since(began))
}

#[tokio::test(flavor = "multi_thread")]
async fn used_up_credits_are_reported_until_they_are_renewed() {
    let stage = Stage::set().await;
    let mut follower = stage.watch();
    let producer = stage.producer("simulator", fast);
    let state =
        |follower: &RegionFollower| follower.reader().marker().map(|marker| (marker.state, marker.reason.clone()));
    let becomes = async |follower: &mut RegionFollower, expected: FeedState| {
        tokio::time::timeout(DEADLINE, async {
            while state(follower).is_none_or(|it| it.0 != expected) {
                next_event(follower).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("expected {expected:?}, got {:?}", state(follower)));
    };
    becomes(&mut follower, FeedState::Live).await;
    stage.order("/sim/credits", json!({ "key": KEY, "remaining": 0.0 })).await;
    becomes(&mut follower, FeedState::Stale).await;
    assert_eq!(state(&follower).unwrap().1.as_deref(), Some("the credits are used up"));
    becomes(&mut follower, FeedState::Down).await;
    stage.order("/sim/credits", json!({ "key": KEY, "remaining": 1e6 })).await;
    becomes(&mut follower, FeedState::Live).await;
    producer.ends().await.unwrap();
}
