//! Unusual upstream responses, with producers on real brokers: a fake upstream misbehaves in one way after the other,
//! and four times a second everything that a client of the gateway has is compared with the truth.
//!
//! A price that is wrong, or older than the feed states, must not be live. Only the smallest unreadable item may be
//! lost. Credits must be exact.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use client::{BoardMirrors, Client, ClientError, MirrorUpdate, ServerMessage};
use futures::future::try_join_all;
use kafka::{KafkaSettings, Role, topic_of};
use odds::{BookmakerKey, Decimal, Feed, FeedState, Region, Timestamp};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use service::{Lifecycle, ProgramSettings};
use tokio::{net::TcpListener, time::Instant};
use trials::{
    Engine, Engines, Fleet, Gateway, RECOVERS_WITHIN, TrialSettings, Watcher, token,
    upstream::{BOOKMAKERS, COST, IN_PLAY, Item, Upstream, Way},
};

const REGION: Region = Region::Uk;
/// Frequency of polls, and of prices becoming stale, relative to reality.
const POLL_SPEED: f64 = 60.0;
const LOOKS: Duration = Duration::from_millis(250);
/// Maximum age of a live price of a game in play, in milliseconds: two poll intervals and half a minute in reality.
const MAX_LIVE_AGE: i64 = (110_000.0 / POLL_SPEED) as i64;
/// After this time a fault must have taken effect: the upstream has been polled several times.
const SETTLED_AFTER: Duration = Duration::from_millis(2_500);
/// How long a readable price may be stale, in milliseconds. Not 0, because the machine may be busy.
const LIVE_WITHIN: i64 = 8_000;
/// Maximum number of failures to print.
const PRINTED: usize = 30;
/// Time limit for a fault to show, long enough for a new leader to replace a killed one.
const SHOWS_WITHIN: Duration = Duration::from_secs(60);

/// Runs a fake upstream that misbehaves, and compares what a client has with the truth.
#[derive(Debug, Parser)]
#[command(name = "oddities", version)]
struct Settings {
    /// Seconds of misbehaviour in all, divided among the ways.
    #[arg(long, default_value_t = 100, value_name = "SECONDS")]
    seconds: u64,

    #[command(flatten)]
    trial: TrialSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("oddities")?;
    trials::run(program, async move |lifecycle| trial(settings, &lifecycle).await).await
}

async fn trial(settings: Settings, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let engines = Engines::read(&settings.trial.engines)?;
    let kafka = engines.kafka()?;
    let _brokers = try_join_all(engines.brokers.into_iter().map(Engine::start)).await?;
    let parts = settings.trial.parts(&kafka);
    parts.topics().await?;

    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let source = format!("http://{}", listener.local_addr()?);
    let upstream = Upstream::new(service::now);
    lifecycle.run("the upstream", upstream.clone().serve(listener, lifecycle.stopping().cancelled_owned()));
    let arguments = [
        "--source=the-odds-api".to_owned(),
        format!("--api-url={source}"),
        "--api-key=k3y".to_owned(),
        "--markets=h2h,totals".to_owned(),
        "--max-credits-per-day=10000000".to_owned(),
        format!("--poll-speed={POLL_SPEED}"),
    ];
    let fleet =
        Fleet::start(&settings.trial.binaries, &settings.trial.logs, &kafka, &[REGION], |_| arguments.to_vec())?;
    let store = format!("sqlite:{}", settings.trial.logs.join("accounts.db").display());
    let mut gateway = parts.gateway("one", &store)?;
    gateway.is_ready().await?;
    let mirrors = follow(gateway.address.clone(), token(&gateway.address, "trial").await?);
    let watcher = Watcher::start(&kafka, REGION);
    let mut trial = Trial { upstream, fleet, gateway, kafka, watcher, mirrors, judge: Judge::default(), unknown: 0.0 };
    trial.all_is_well().await?;
    println!("a client mirrors what two producers publish from a fake upstream, over TLS and SASL/SCRAM");

    let ways = Way::value_variants();
    let each = Duration::from_secs(settings.seconds) / ways.len() as u32;
    for (n, way) in ways.iter().copied().enumerate() {
        trial.misbehaves(way, each).await.with_context(|| format!("{way:?}"))?;
        if n % 4 == 3 {
            trial.credits_are_exact().await?;
        }
    }
    trial.a_leader_dies().await.context("after a leader died")?;
    trial.a_record_is_read_again().await?;
    trial.credits_are_exact().await?;
    trial.watcher.check()?;
    let Judge { looks, prices, faults, .. } = trial.judge;
    println!(
        "{looks} checks of {prices} live prices, {} ways to misbehave, {} credits, {} failures",
        ways.len(),
        trial.upstream.charged_in_all(),
        faults.len()
    );
    ensure!(faults.is_empty(), "{} failures", faults.len());
    Ok(())
}

struct Trial {
    upstream: Upstream,
    fleet: Fleet,
    gateway: Gateway,
    kafka: KafkaSettings,
    watcher: Watcher,
    mirrors: Arc<Mutex<BoardMirrors>>,
    judge: Judge,
    /// Credits of polls whose leader was killed: the request may or may not have reached the upstream.
    unknown: f64,
}

impl Trial {
    async fn misbehaves(&mut self, way: Way, duration: Duration) -> anyhow::Result<()> {
        let level = way
            .level()
            .map(|level| format!("toteboard_producer_unreadable_total{{region=\"{REGION}\",level=\"{level}\"}}"));
        let too_large = &format!("toteboard_producer_events_too_large_total{{region=\"{REGION}\"}}");
        let before = match &level {
            Some(level) => self.fleet.metric(level).await?,
            None => 0.0,
        };
        let (polls_before, large_before) = (self.judge.looks, self.fleet.metric(too_large).await?);
        self.upstream.misbehave(Some(way));
        if way.is_of_lists() {
            // A new leader requests lists immediately.
            self.kill_leader().await?;
        }
        let began = Instant::now();
        let mut reasons = BTreeSet::new();
        let duration = duration.max(SETTLED_AFTER + Duration::from_secs(1));
        let shows = |reasons: &BTreeSet<String>, upstream: &Upstream| match way {
            Way::UnreadableLists => upstream.lists() > 0,
            // The first list lacks the sport; the next one has it.
            Way::SportMissingFromList => upstream.lists() > 1,
            way => !way.is_reported() || !reasons.is_empty(),
        };
        while began.elapsed() < duration || (!shows(&reasons, &self.upstream) && began.elapsed() < SHOWS_WITHIN) {
            tokio::time::sleep(LOOKS).await;
            // A change of leaders takes longer than prices stay fresh.
            let settled = began.elapsed() > SETTLED_AFTER && !way.is_of_lists();
            self.look(Some(way).filter(|_| settled));
            if settled {
                reasons.extend(self.feed().and_then(|feed| feed.reason));
            }
        }
        if !shows(&reasons, &self.upstream) {
            self.judge.fault(format!("{way:?}: the feed gives no reason, or no list was requested"));
        }
        if let Some(level) = level
            && self.fleet.metric(&level).await? <= before
        {
            self.judge.fault(format!("{way:?}: {level} does not increase"));
        }
        let too_large = self.fleet.metric(too_large).await? - large_before;
        if (way == Way::EventTooLarge) != (too_large > 0.0) || too_large > 1.0 {
            self.judge.fault(format!("{way:?}: {too_large} events are counted as too large"));
        }
        let (asked, looks) = (self.upstream.asked(IN_PLAY), self.judge.looks - polls_before);
        self.upstream.misbehave(None);
        let back = Instant::now();
        self.all_is_well().await?;
        let back = back.elapsed().as_secs_f32();
        let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
        println!("{way:?}: {asked} polls, {looks} checks, recovered after {back:.1} s. {reasons}");
        Ok(())
    }

    /// Waits until every price is live and the feed reports no problem.
    async fn all_is_well(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + RECOVERS_WITHIN;
        loop {
            tokio::time::sleep(LOOKS).await;
            let looked = self.look(None);
            let feed = self.feed();
            let is_calm = feed.as_ref().is_some_and(|feed| {
                feed.state == FeedState::Live && feed.reason.is_none() && feed.bookmaker_names.len() == BOOKMAKERS.len()
            });
            if is_calm && looked == Item::all().count() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "only {looked} of {} prices are live again: {feed:?}", Item::all().count());
        }
    }

    fn feed(&self) -> Option<Feed> {
        self.mirrors.lock().expect("no panic while the lock is held").feeds.get(&REGION).cloned()
    }

    /// Checks everything that the client has, and returns how many prices are live.
    fn look(&mut self, way: Option<Way>) -> usize {
        let mirrors = self.mirrors.lock().expect("no panic while the lock is held");
        self.judge.look(&mirrors, way, service::now())
    }

    async fn kill_leader(&mut self) -> anyhow::Result<()> {
        self.fleet.kill_leader(REGION).await?;
        self.fleet.revive()?;
        self.unknown += COST;
        Ok(())
    }

    async fn a_leader_dies(&mut self) -> anyhow::Result<()> {
        for _ in 0..2 {
            self.kill_leader().await?;
            self.all_is_well().await?;
        }
        println!("two leaders in a row: killed; recovered");
        Ok(())
    }

    /// Makes the upstream refuse all requests for a while, and checks that the topic's marker then has the credits that
    /// were charged.
    async fn credits_are_exact(&mut self) -> anyhow::Result<()> {
        self.upstream.set_quiet(true);
        let end = Instant::now() + Duration::from_secs(30);
        let mut seen = None;
        let exact = loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.look(None);
            let marker = self.watcher.seen.borrow().marker.clone();
            let spent = marker.and_then(|marker| marker.spent_today).context("the marker has no spent credits")?;
            let published = spent.credits.get("the-odds-api").copied().unwrap_or_default();
            let charged = self.upstream.charged(spent.day_ends);
            let is_exact = published >= charged && published <= charged + self.unknown;
            // A poll that was in flight when the upstream became quiet has ended by the second check.
            if is_exact && seen == Some((published, charged)) {
                break true;
            }
            seen = Some((published, charged));
            if Instant::now() > end {
                break false;
            }
        };
        self.upstream.set_quiet(false);
        let unknown = self.unknown;
        if !exact {
            self.judge.fault(format!("published and charged credits: {seen:?}; {unknown} may be unknown"));
        }
        self.all_is_well().await?;
        println!("credits spent today, as published and as charged: {seen:?}; {unknown} may be unknown");
        Ok(())
    }

    /// Checks that an unreadable record is counted once, and not again by a gateway that restarts.
    async fn a_record_is_read_again(&mut self) -> anyhow::Result<()> {
        let unreadable = "toteboard_gateway_unreadable_records_total";
        let stranger: FutureProducer = self.kafka.client(Role::Producer, &[]).create()?;
        let record = FutureRecord::to(topic_of(REGION)).partition(1).key("event-0").payload("not JSON");
        stranger.send(record, Duration::from_secs(30)).await.map_err(|(error, _)| error)?;
        let end = Instant::now() + Duration::from_secs(30);
        while self.gateway.metric(unreadable).await? < 1.0 {
            ensure!(Instant::now() < end, "an unreadable record is not counted");
            tokio::time::sleep(LOOKS).await;
        }
        self.gateway.part.kill()?;
        self.gateway.part.revive()?;
        self.gateway.is_ready().await?;
        self.all_is_well().await.context("after a gateway died")?;
        let again = self.gateway.metric(unreadable).await?;
        if again > 0.0 {
            self.judge.fault(format!("a restarted gateway counts {again} records again"));
        }
        println!("an unreadable record: counted once, and not again by a restarted gateway");
        Ok(())
    }
}

/// Compares what a client has with the truth, and collects the failures.
#[derive(Debug, Default)]
struct Judge {
    looks: u64,
    /// Number of live prices that were compared.
    prices: u64,
    /// When each item was last on the board.
    shown: BTreeMap<Item, Timestamp>,
    /// When each item was last live.
    live: BTreeMap<Item, Timestamp>,
    way: Option<Way>,
    began: Timestamp,
    faults: Vec<String>,
}

impl Judge {
    fn fault(&mut self, fault: String) {
        if self.faults.len() < PRINTED {
            eprintln!("{}: {fault}", service::now());
        }
        self.faults.push(fault);
    }

    /// Compares everything that a client has, and returns how many prices are live. `way` is the fault, once it must
    /// have taken effect.
    fn look(&mut self, mirrors: &BoardMirrors, way: Option<Way>, now: Timestamp) -> usize {
        if self.looks == 0 {
            self.began = now;
        }
        self.looks += 1;
        if self.way != way {
            // From now on, items that the fault doesn't affect must stay.
            self.way = way;
            self.shown = Item::all().map(|item| (item, now)).collect();
            self.live.clone_from(&self.shown);
        }
        let Some(feed) = mirrors.feeds.get(&REGION) else { return 0 };
        if feed.reason.as_ref().is_some_and(|reason| reason.contains(['<', '>'])) {
            self.fault(format!("markup in a reason: {:?}", feed.reason));
        }
        for (key, name) in BOOKMAKERS {
            let shown = feed.bookmaker_names.get(&key.parse::<BookmakerKey>().expect("a key"));
            if shown.is_some_and(|shown| shown != name) {
                self.fault(format!("{key} is called {shown:?}"));
            }
        }
        let Some(board) = mirrors.boards.get(&REGION) else { return 0 };
        let mut all_live = 0;
        for (event, shown) in board.events() {
            for ((bookmaker, market), quote) in &shown.quotes {
                for outcome in quote.outcomes.to_vec() {
                    match Item::named(event.as_str(), bookmaker.as_str(), market.as_str(), &outcome.name) {
                        Some(item) => all_live += usize::from(self.price(item, outcome.price, feed, now)),
                        None => self.fault(format!("{event} {bookmaker} {market} {}: unknown outcome", outcome.name)),
                    }
                }
            }
        }
        self.missing(now);
        all_live
    }

    /// Checks one price and returns whether it is live.
    fn price(&mut self, item: Item, price: Decimal, feed: &Feed, now: Timestamp) -> bool {
        self.shown.insert(item, now);
        let Some(polled_at) = live_since(item, feed, now) else {
            // A stale price may be from before the first check.
            if !item.was(price, self.began.plus_millis(-600_000), now) {
                self.fault(format!("{item}: {price} was never its price"));
            }
            return false;
        };
        self.live.insert(item, now);
        self.prices += 1;
        let age = now.millis_since(polled_at);
        if !item.was(price, polled_at, now) {
            let old = item.was(price, self.began.plus_millis(-600_000), now);
            let what = if old { "older than the feed states" } else { "wrong" };
            self.fault(format!("{item}: {price} is live and {what}: polled {age} ms ago, way {:?}", self.way));
        }
        if item.sport() == IN_PLAY && age > MAX_LIVE_AGE {
            self.fault(format!("{item}: {price} is live {age} ms after its poll, way {:?}", self.way));
        }
        if self.way.is_some_and(|way| way.loses(item)) {
            self.fault(format!("{item}: {price} is live but the upstream did not send it, way {:?}", self.way));
        }
        true
    }

    /// Checks that items which the fault doesn't affect are still there and live.
    fn missing(&mut self, now: Timestamp) {
        let Some(way) = self.way else { return };
        for item in Item::all().filter(|item| !way.loses(*item)) {
            let (since, what) = match way.answers(item.sport()) {
                true => (self.live[&item], "is not live"),
                false => (self.shown[&item], "is gone"),
            };
            if now.millis_since(since) > LIVE_WITHIN {
                self.fault(format!("{item}: {what} since {since}, way {way:?}"));
                self.live.insert(item, now);
                self.shown.insert(item, now);
            }
        }
    }
}

/// Returns when a live price was polled, or `None` if it is stale, by the same rules as the page.
fn live_since(item: Item, feed: &Feed, now: Timestamp) -> Option<Timestamp> {
    let sport = feed.sports.iter().find(|(key, _)| key.as_str() == item.sport())?.1;
    let seen = feed.bookmakers.iter().find(|(key, _)| key.as_str() == item.bookmaker()).map(|(_, seen)| *seen);
    let good_for = sport.stale_after.millis_since(sport.polled_at);
    let is_left_behind = seen.is_some_and(|seen| sport.polled_at.millis_since(seen) > good_for);
    (feed.state == FeedState::Live && sport.stale_after >= now && !is_left_behind).then_some(sport.polled_at)
}

/// Starts a client that mirrors the region and reconnects when a connection ends.
fn follow(address: String, token: String) -> Arc<Mutex<BoardMirrors>> {
    let mirrors = Arc::new(Mutex::new(BoardMirrors::default()));
    let shared = mirrors.clone();
    tokio::spawn(async move {
        loop {
            let Err(ended) = connection(&address, &token, &shared).await;
            tracing::info!(%ended, "connection lost, reconnecting");
            shared.lock().expect("no panic while the lock is held").disconnected();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    mirrors
}

async fn connection(
    address: &str,
    token: &str,
    mirrors: &Mutex<BoardMirrors>,
) -> Result<std::convert::Infallible, ClientError> {
    let cursors = mirrors.lock().expect("no panic while the lock is held").cursors();
    let auth = json!({ "v": 1, "token": token, "regions": [REGION], "resume": cursors });
    let mut client = Client::connect(address, &auth).await?;
    loop {
        let ServerMessage::Event { name, payload } = client.next().await? else { continue };
        let update = mirrors.lock().expect("no panic while the lock is held").take(&name, &payload);
        if let MirrorUpdate::Resync(region, cursor) = update {
            client.ask("resync", &json!({ "region": region, "cursor": cursor })).await?;
        }
    }
}
