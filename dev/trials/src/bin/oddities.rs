//! Odd upstream answers against producers on real brokers: a fake upstream misbehaves in one way after the other,
//! and four times a second all that a client of the gateway has is compared with the truth.
//!
//! No price may be shown as live that is wrong, or older than the feed says. Nothing but the smallest unreadable item
//! may be lost. Credits must be exact.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use client::{BoardMirrors, Client, ClientError, MirrorUpdate, Said};
use futures::future::try_join_all;
use kafka::{KafkaSettings, Role, topic_of};
use odds::{BookmakerKey, Decimal, Feed, FeedState, Region, Timestamp};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;
use service::{Lifecycle, LogSettings};
use tokio::{net::TcpListener, time::Instant};
use trials::{
    Engine, Engines, Fleet, Gateway, Parts, RECOVERS_WITHIN, Watcher, token,
    upstream::{BOOKMAKERS, COST, IN_PLAY, Item, Upstream, Way},
};

const REGION: Region = Region::Uk;
/// How much more often than in reality is polled, and how much sooner prices are old.
const POLL_SPEED: f64 = 60.0;
const LOOKS: Duration = Duration::from_millis(250);
/// How old a live price of a game in play may be: two polls and half a minute in reality.
const MAX_LIVE_AGE: i64 = (110_000.0 / POLL_SPEED) as i64;
/// When what an upstream does has to show: by then it was polled several times.
const SETTLED_AFTER: Duration = Duration::from_millis(2_500);
/// What is not lost may be old for a moment, on a busy machine.
const LIVE_WITHIN: i64 = 8_000;
/// How many faults are printed.
const PRINTED: usize = 30;
/// Within this time what an upstream does has to show: a leader that dies is followed by another by then.
const SHOWS_WITHIN: Duration = Duration::from_secs(60);

/// Lets a fake upstream misbehave, and compares what a client has with the truth.
#[derive(Debug, Parser)]
#[command(name = "oddities", version)]
struct Settings {
    /// For how many seconds the upstream misbehaves in all, each way in turn.
    #[arg(long, default_value_t = 100, value_name = "SECONDS")]
    seconds: u64,

    /// A JSON file that says how the engines are started.
    #[arg(long, value_name = "FILE")]
    engines: PathBuf,

    /// The folder with the programs.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// Where logs go.
    #[arg(long, value_name = "DIR")]
    logs: PathBuf,

    #[command(flatten)]
    log: LogSettings,
}

#[tokio::main]
async fn main() {
    service::exit(run(service::load()).await)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let _logs = settings.log.start("oddities")?;
    trials::run("the trial", async move |lifecycle| trial(settings, &lifecycle).await).await
}

async fn trial(settings: Settings, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let engines = Engines::read(&settings.engines)?;
    let kafka = engines.kafka()?;
    let _brokers = try_join_all(engines.brokers.into_iter().map(Engine::start)).await?;
    let parts = Parts { binaries: settings.binaries.clone(), logs: settings.logs.clone(), kafka: kafka.clone() };
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
    let fleet = Fleet::start(&settings.binaries, &settings.logs, &kafka, &[REGION], &arguments)?;
    let store = format!("sqlite:{}", settings.logs.join("accounts.db").display());
    let mut gateway = parts.gateway("one", &store)?;
    gateway.is_ready().await?;
    let mirrors = follow(gateway.address.clone(), token(&gateway.address, "trial").await?);
    let watcher = Watcher::start(&kafka, REGION);
    let mut trial = Trial { upstream, fleet, gateway, kafka, watcher, mirrors, judge: Judge::default(), unknown: 0.0 };
    trial.all_is_well().await?;
    println!("a client mirrors what two producers publish of a fake upstream, over TLS and SASL/SCRAM");

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
        "{looks} looks at {prices} prices that were live, {} ways to misbehave, {} credits, {} faults",
        ways.len(),
        trial.upstream.charged_in_all(),
        faults.len()
    );
    ensure!(faults.is_empty(), "{} faults", faults.len());
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
    /// Credits of polls whose leader was killed: upstream may or may not have been asked.
    unknown: f64,
}

impl Trial {
    async fn misbehaves(&mut self, way: Way, duration: Duration) -> anyhow::Result<()> {
        let level = way.level().map(|level| format!("toteboard_producer_unreadable_total{{level=\"{level}\"}}"));
        let too_large = "toteboard_producer_events_too_large_total";
        let before = match &level {
            Some(level) => self.fleet.metric(level).await?,
            None => 0.0,
        };
        let (polls_before, large_before) = (self.judge.looks, self.fleet.metric(too_large).await?);
        self.upstream.misbehave(Some(way));
        if way.is_of_lists() {
            // A new leader asks for them at once.
            self.kill_leader().await?;
        }
        let began = Instant::now();
        let mut reasons = BTreeSet::new();
        let duration = duration.max(SETTLED_AFTER + Duration::from_secs(1));
        let shows = |reasons: &BTreeSet<String>, upstream: &Upstream| match way {
            Way::UnreadableLists => upstream.lists() > 0,
            // The first list lacks it, and the next has it.
            Way::SportMissingFromList => upstream.lists() > 1,
            way => !way.is_reported() || !reasons.is_empty(),
        };
        while began.elapsed() < duration || (!shows(&reasons, &self.upstream) && began.elapsed() < SHOWS_WITHIN) {
            tokio::time::sleep(LOOKS).await;
            // A new leader needs longer than prices are good.
            let settled = began.elapsed() > SETTLED_AFTER && !way.is_of_lists();
            self.look(Some(way).filter(|_| settled));
            if settled {
                reasons.extend(self.feed().and_then(|feed| feed.reason));
            }
        }
        if !shows(&reasons, &self.upstream) {
            self.judge.fault(format!("{way:?}: no reason is given, or no list was asked for"));
        }
        if let Some(level) = level
            && self.fleet.metric(&level).await? <= before
        {
            self.judge.fault(format!("{way:?}: {level} does not rise"));
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
        println!("{way:?}: {asked} polls, {looks} looks, all well again after {back:.1} s. {reasons}");
        Ok(())
    }

    /// Until every price is live, and the feed has nothing to complain of.
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
            ensure!(Instant::now() < end, "{looked} of {} prices are live again: {feed:?}", Item::all().count());
        }
    }

    fn feed(&self) -> Option<Feed> {
        self.mirrors.lock().expect("nobody panics while holding it").feeds.get(&REGION).cloned()
    }

    /// Returns how many prices are live.
    fn look(&mut self, way: Option<Way>) -> usize {
        let mirrors = self.mirrors.lock().expect("nobody panics while holding it");
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
        println!("two leaders in a row: killed, all well again");
        Ok(())
    }

    /// Nothing is charged for a while, and then what the topic says is what was charged.
    async fn credits_are_exact(&mut self) -> anyhow::Result<()> {
        self.upstream.set_quiet(true);
        let end = Instant::now() + Duration::from_secs(30);
        let mut seen = None;
        let exact = loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.look(None);
            let marker = self.watcher.seen.borrow().marker.clone();
            let spent = marker.and_then(|marker| marker.spent_today).context("no marker says what is spent")?;
            let said = spent.credits.get("the-odds-api").copied().unwrap_or_default();
            let charged = self.upstream.charged(spent.day_ends);
            let is_exact = said >= charged && said <= charged + self.unknown;
            // A poll that was on its way when it became quiet is over by the second look.
            if is_exact && seen == Some((said, charged)) {
                break true;
            }
            seen = Some((said, charged));
            if Instant::now() > end {
                break false;
            }
        };
        self.upstream.set_quiet(false);
        let unknown = self.unknown;
        if !exact {
            self.judge.fault(format!("said and charged credits: {seen:?}, of which {unknown} may be unknown"));
        }
        self.all_is_well().await?;
        println!("credits said to be spent today, and charged: {seen:?}; {unknown} may be unknown");
        Ok(())
    }

    /// One that can't be read counts once, whoever reads it again.
    async fn a_record_is_read_again(&mut self) -> anyhow::Result<()> {
        let unreadable = "toteboard_gateway_unreadable_records_total";
        let stranger: FutureProducer = self.kafka.client(Role::Producer, &[]).create()?;
        let record = FutureRecord::to(topic_of(REGION)).partition(1).key("event-0").payload("not JSON");
        stranger.send(record, Duration::from_secs(30)).await.map_err(|(error, _)| error)?;
        let end = Instant::now() + Duration::from_secs(30);
        while self.gateway.metric(unreadable).await? < 1.0 {
            ensure!(Instant::now() < end, "what can't be read is not counted");
            tokio::time::sleep(LOOKS).await;
        }
        self.gateway.part.kill()?;
        self.gateway.part.revive()?;
        self.gateway.is_ready().await?;
        self.all_is_well().await.context("after a gateway died")?;
        let again = self.gateway.metric(unreadable).await?;
        if again > 0.0 {
            self.judge.fault(format!("a gateway that starts counts {again} records again"));
        }
        println!("a record that can't be read: counted once, and not again by a gateway that starts");
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Judge {
    looks: u64,
    /// How many live prices were compared.
    prices: u64,
    /// When each was last on the board, and last live.
    shown: BTreeMap<Item, Timestamp>,
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

    /// Compares all that a client has. `way`: what is lost by it has to be lost by now.
    fn look(&mut self, mirrors: &BoardMirrors, way: Option<Way>, now: Timestamp) -> usize {
        if self.looks == 0 {
            self.began = now;
        }
        self.looks += 1;
        if self.way != way {
            // From now on what is not lost has to stay.
            self.way = way;
            self.shown = Item::all().map(|item| (item, now)).collect();
            self.live.clone_from(&self.shown);
        }
        let Some(feed) = mirrors.feeds.get(&REGION) else { return 0 };
        if feed.reason.as_ref().is_some_and(|reason| reason.contains(['<', '>'])) {
            self.fault(format!("markup in a reason: {:?}", feed.reason));
        }
        for (key, name) in BOOKMAKERS {
            let said = feed.bookmaker_names.get(&key.parse::<BookmakerKey>().expect("a key"));
            if said.is_some_and(|said| said != name) {
                self.fault(format!("{key} is called {said:?}"));
            }
        }
        let Some(board) = mirrors.boards.get(&REGION) else { return 0 };
        let mut all_live = 0;
        for (event, shown) in board.events() {
            for ((bookmaker, market), quote) in &shown.quotes {
                for outcome in quote.outcomes.to_vec() {
                    match Item::named(event.as_str(), bookmaker.as_str(), market.as_str(), &outcome.name) {
                        Some(item) => all_live += usize::from(self.price(item, outcome.price, feed, now)),
                        None => self.fault(format!("{event} {bookmaker} {market} {}: there is none", outcome.name)),
                    }
                }
            }
        }
        self.missing(now);
        all_live
    }

    /// Whether it is live.
    fn price(&mut self, item: Item, price: Decimal, feed: &Feed, now: Timestamp) -> bool {
        self.shown.insert(item, now);
        let Some(polled_at) = live_since(item, feed, now) else {
            // From before the first look, too.
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
            let what = if old { "older than the feed says" } else { "wrong" };
            self.fault(format!("{item}: {price} is live and {what}: polled {age} ms ago, way {:?}", self.way));
        }
        if item.sport() == IN_PLAY && age > MAX_LIVE_AGE {
            self.fault(format!("{item}: {price} is live {age} ms after its poll, way {:?}", self.way));
        }
        if self.way.is_some_and(|way| way.loses(item)) {
            self.fault(format!("{item}: {price} is live and can't be known, way {:?}", self.way));
        }
        true
    }

    /// What is lost and could be read.
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

/// As the page judges it: when a price that is live was polled.
fn live_since(item: Item, feed: &Feed, now: Timestamp) -> Option<Timestamp> {
    let sport = feed.sports.iter().find(|(key, _)| key.as_str() == item.sport())?.1;
    let seen = feed.bookmakers.iter().find(|(key, _)| key.as_str() == item.bookmaker()).map(|(_, seen)| *seen);
    let good_for = sport.stale_after.millis_since(sport.polled_at);
    let is_left_behind = seen.is_some_and(|seen| sport.polled_at.millis_since(seen) > good_for);
    (feed.state == FeedState::Live && sport.stale_after >= now && !is_left_behind).then_some(sport.polled_at)
}

/// A client that mirrors the region all the time.
fn follow(address: String, token: String) -> Arc<Mutex<BoardMirrors>> {
    let mirrors = Arc::new(Mutex::new(BoardMirrors::default()));
    let shared = mirrors.clone();
    tokio::spawn(async move {
        loop {
            let Err(ended) = connection(&address, &token, &shared).await;
            tracing::info!(%ended, "connecting again");
            shared.lock().expect("nobody panics while holding it").disconnected();
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
    let cursors = mirrors.lock().expect("nobody panics while holding it").cursors();
    let auth = json!({ "v": 1, "token": token, "regions": [REGION], "resume": cursors });
    let mut client = Client::connect(address, &auth).await?;
    loop {
        let Said::Event { name, payload } = client.next().await? else { continue };
        let update = mirrors.lock().expect("nobody panics while holding it").take(&name, &payload);
        if let MirrorUpdate::Resync(region, cursor) = update {
            client.ask("resync", &json!({ "region": region, "cursor": cursor })).await?;
        }
    }
}
