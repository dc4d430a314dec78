//! Tests the main guarantee: whatever clients, producers, leaders and gateways do, after every frame each client has
//! exactly the board of the step that its cursor names, under its filter.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use client::{BoardMirrors, Client, Mirror, MirrorUpdate, ServerMessage};
use odds::{Change, Cursor, Event, EventId, Filter, FrameDigest, QuoteChange, Region, SnapshotPayload, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    author::{Author, History, draw_changes},
    bridge::Bridge,
    guest::{BEARER, TOKEN},
    http,
    past::{events, record},
    stage::{DEADLINE, Running, Stage},
};

/// All clients belong to one user, who uses many filters.
const FLAGS: [&str; 1] = ["--max-filters-per-user=1000"];
const REGIONS: [Region; 2] = [Region::Uk, Region::Eu];
const CLIENTS: u64 = 24;
const LASTS: Duration = Duration::from_secs(20);
const EVENTS: u32 = 12;
/// The pause between steps, at most, in a short run.
const SHORTEST_PAUSE_MS: u64 = 30;
/// A long run has longer pauses: the in-process cluster compacts nothing, and a gateway that starts reads all steps.
const MOST_STEPS: u64 = 5_000;
/// How many boards of the past of each region are compared.
const LOOKS_BACK: usize = 100;

type Histories = BTreeMap<Region, History>;

/// The addresses of the running gateways.
type Addresses = Arc<Mutex<Vec<String>>>;

#[derive(Clone)]
struct Cast {
    addresses: Addresses,
    histories: Histories,
    /// Ends the random changes; the mirrors then catch up.
    calm: CancellationToken,
    frames: Arc<AtomicU64>,
    resumed: Arc<AtomicU64>,
}

fn draw_filter(random: &mut StdRng) -> Filter {
    let mut value = json!({});
    for (list, prefix, of) in [("sports", "s", 3), ("events", "e", 5), ("bookmakers", "b", 4), ("markets", "m", 3)] {
        if random.random_bool(0.3) {
            let names: Vec<String> =
                (0..of).filter(|_| random.random_bool(0.5)).map(|n| format!("{prefix}{n}")).collect();
            value[list] = json!(names);
        }
    }
    Filter::from_value(&value).unwrap()
}

/// Whether the frame's digest is that of the board that has taken it. `None` if it has none.
pub fn is_digest_right(payload: &str, board: &Mirror) -> Option<bool> {
    #[derive(Deserialize)]
    struct Digested {
        digest: Option<u32>,
    }
    let digest = serde_json::from_str::<Digested>(payload).unwrap().digest?;
    Some(digest == FrameDigest::of(changes(board.events())).value())
}

/// These events, as changes of an empty board.
fn changes(events: &BTreeMap<EventId, Event>) -> impl Iterator<Item = Change> {
    events.iter().map(|(id, event)| {
        let quotes = event.quotes.iter().map(|((bookmaker, market), quote)| QuoteChange {
            bookmaker: bookmaker.clone(),
            market: market.clone(),
            last_update: quote.last_update,
            outcomes: quote.outcomes.clone(),
        });
        Change::Changed { id: id.clone(), details: Some(event.details.clone()), quotes: quotes.collect() }
    })
}

struct Player {
    cast: Cast,
    random: StdRng,
    mirrors: BoardMirrors,
    filter: Filter,
    max_rate: Option<f64>,
    wants_digests: bool,
    /// Filters that were requested, by the request's number.
    asked_filters: BTreeMap<u64, Filter>,
}

impl Player {
    async fn play(mut self) {
        while !self.cast.calm.is_cancelled() {
            let address = self.cast.addresses.lock().unwrap().choose(&mut self.random).cloned().unwrap();
            let until = Instant::now() + Duration::from_millis(self.random.random_range(200..4_000));
            self.visit(&address, Some(until)).await;
        }
        // Catch up: stay connected until the boards are up to date.
        let end = Instant::now() + DEADLINE;
        while !self.is_up_to_date() {
            assert!(Instant::now() < end, "{:?} is not up to date", self.mirrors.cursors());
            let address = self.cast.addresses.lock().unwrap().choose(&mut self.random).cloned().unwrap();
            self.visit(&address, None).await;
        }
    }

    fn is_up_to_date(&self) -> bool {
        REGIONS.iter().all(|region| {
            let newest = self.cast.histories[region].newest(&self.filter);
            self.mirrors.boards.get(region).is_some_and(|board| *board.events() == newest)
        })
    }

    /// Connects once, until this time or until the boards are up to date.
    async fn visit(&mut self, address: &str, until: Option<Instant>) {
        self.mirrors.disconnected();
        self.asked_filters.clear();
        let resume = self.mirrors.cursors();
        let auth = json!({
            "v": 1, "token": TOKEN, "regions": REGIONS, "resume": resume, "filter": self.filter, "max_rate": self.max_rate,
            "digest": self.wants_digests,
        });
        let Ok(mut client) = Client::connect(address, &auth).await else {
            return tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let mut first = !resume.is_empty();
        loop {
            let wait = Instant::now() + Duration::from_millis(500);
            let wait = until.map_or(wait, |until| until.min(wait));
            match tokio::time::timeout_at(wait, client.next()).await {
                Ok(Ok(received)) => {
                    if let ServerMessage::Event { name, .. } = &received
                        && (name == "odds" || name == "snapshot")
                        && std::mem::take(&mut first)
                        && name == "odds"
                    {
                        self.cast.resumed.fetch_add(1, Ordering::Relaxed);
                    }
                    if self.take(&mut client, received).await.is_err() {
                        return;
                    }
                }
                Ok(Err(_)) => return,
                Err(_) if until.is_none() && self.is_up_to_date() => return,
                Err(_) => {}
            }
            if until.is_some_and(|until| Instant::now() >= until) || until.is_none() && self.is_up_to_date() {
                return;
            }
            if until.is_some() && self.act(&mut client).await.is_err() {
                return;
            }
        }
    }

    async fn take(&mut self, client: &mut Client, received: ServerMessage) -> Result<(), client::ClientError> {
        match received {
            ServerMessage::Answer { number, answer } => {
                let refused = answer["error"]["code"] == "not_subscribed";
                assert!(answer["ok"] == true || refused, "{answer}");
                if let Some(filter) = self.asked_filters.remove(&number) {
                    self.filter = filter;
                }
            }
            ServerMessage::Event { name, payload } => match self.mirrors.take(&name, &payload) {
                MirrorUpdate::Board(region) => self.check(region, &name, &payload),
                MirrorUpdate::Resync(region, cursor) => {
                    // Right after another filter, what is on its way may be of neither.
                    client.ask("resync", &json!({ "region": region, "cursor": cursor })).await?;
                }
                MirrorUpdate::Feed(_) | MirrorUpdate::Regions | MirrorUpdate::Nothing => {}
            },
        }
        Ok(())
    }

    /// Checks that the board is exactly that of its step.
    fn check(&self, region: Region, event: &str, payload: &str) {
        self.cast.frames.fetch_add(1, Ordering::Relaxed);
        let board = &self.mirrors.boards[&region];
        let step = board.cursor().unwrap().step();
        let expected = self.cast.histories[&region].shown(step, &self.filter);
        let expected = expected.unwrap_or_else(|| panic!("{step} was never written"));
        assert!(
            *board.events() == expected,
            "{region} at {step} after {event}: {:?}\nis not {expected:?}",
            board.events()
        );
        // Others with the same filter may have asked for digests.
        let has_digest = is_digest_right(payload, board);
        assert_ne!(has_digest, Some(false), "{region} at {step} after {event}");
        assert!(has_digest.is_some() || !self.wants_digests, "{payload}");
    }

    async fn act(&mut self, client: &mut Client) -> Result<(), client::ClientError> {
        if !self.random.random_bool(0.05) {
            return Ok(());
        }
        match self.random.random_range(0..4) {
            0 => {
                let region = *REGIONS.choose(&mut self.random).unwrap();
                if self.mirrors.regions.contains(&region) {
                    let cursor = self.mirrors.cursors().get(&region).copied().filter(|_| self.random.random_bool(0.5));
                    client.ask("resync", &json!({ "region": region, "cursor": cursor })).await?;
                }
            }
            1 if self.asked_filters.is_empty() => {
                let filter = draw_filter(&mut self.random);
                let number = client.ask("filter", &serde_json::to_value(&filter).unwrap()).await?;
                self.asked_filters.insert(number, filter);
            }
            2 => {
                client.ask("subscribe", &json!({ "regions": ["uk"] })).await?;
                client.ask("subscribe", &json!({ "regions": REGIONS })).await?;
            }
            // Read nothing for a while.
            _ => tokio::time::sleep(Duration::from_millis(self.random.random_range(10..1_500))).await,
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_has_exactly_the_board_after_every_frame() {
    play(LASTS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask soak` runs it for SOAK_MINUTES"]
async fn every_client_has_exactly_the_board_for_long() {
    #[expect(clippy::disallowed_methods, reason = "set by `cargo xtask soak`")]
    let minutes: u64 = std::env::var("SOAK_MINUTES").unwrap_or("2".into()).parse().unwrap();
    play(Duration::from_secs(60 * minutes)).await;
}

async fn play(lasts: Duration) {
    let stage = Stage::set().await;
    let mut authors = Vec::new();
    let mut histories = Histories::new();
    for region in REGIONS {
        let mut author = Author::start(&stage.kafka(), region).await;
        author.step(draw_changes(&mut StdRng::seed_from_u64(1), EVENTS)).await;
        histories.insert(region, author.history.clone());
        authors.push(author);
    }
    // The other regions' topics are empty, so those regions stay down.
    let history_setting = stage.history_setting();
    let flags = [&FLAGS[..], &[&history_setting]].concat();
    let steady = stage.gateway("steady", &flags).await;
    let mut shaky = stage.gateway("shaky", &flags).await;
    let mut recordings = Vec::new();
    for region in REGIONS {
        recordings.push(Recording::start(&stage, region).await);
    }
    // About half of the visits are compressed.
    let steady_bridge = Bridge::start(&steady.address).await;
    let mut shaky_bridge = Bridge::start(&shaky.address).await;
    let steady_addresses = [steady.address.clone(), steady_bridge.address.clone()];
    let shaky_addresses = [shaky.address.clone(), shaky_bridge.address.clone()];
    let addresses: Addresses = Arc::new(Mutex::new([steady_addresses.clone(), shaky_addresses].concat()));
    let cast = Cast {
        addresses: addresses.clone(),
        histories: histories.clone(),
        calm: CancellationToken::new(),
        frames: Arc::default(),
        resumed: Arc::default(),
    };

    let mut players = JoinSet::new();
    for n in 0..CLIENTS {
        let mut random = StdRng::seed_from_u64(n);
        let filter = if n % 2 == 0 { Filter::default() } else { draw_filter(&mut random) };
        let max_rate = (n % 5 == 0).then_some(5.0);
        let player = Player {
            cast: cast.clone(),
            random,
            mirrors: BoardMirrors::default(),
            filter,
            max_rate,
            wants_digests: n % 3 == 0,
            asked_filters: BTreeMap::new(),
        };
        players.spawn(player.play());
    }

    // Terms change, partition leaders move, and one of the gateways and the historians are stopped and started again.
    let end = Instant::now() + lasts;
    let longest_pause = SHORTEST_PAUSE_MS.max(2 * lasts.as_millis() as u64 / MOST_STEPS);
    let mut writing = JoinSet::new();
    for (n, mut author) in (0..).zip(authors) {
        writing.spawn(async move {
            let mut random = StdRng::seed_from_u64(100 + n);
            while Instant::now() < end {
                let changes = match random.random_bool(0.5) {
                    true => author.draw_move(&mut random).into_iter().collect(),
                    false => draw_changes(&mut random, EVENTS),
                };
                author.step(changes).await;
                if random.random_bool(0.02) {
                    author.new_term().await;
                }
                tokio::time::sleep(Duration::from_millis(random.random_range(0..longest_pause))).await;
            }
        });
    }
    let mut random = StdRng::seed_from_u64(7);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(3)).await;
        for region in REGIONS {
            let broker = random.random_range(1..=3);
            stage.cluster.move_leader(kafka::topic_of(region), 0, broker).unwrap();
        }
        if random.random_bool(0.4) {
            addresses.lock().unwrap().retain(|address| steady_addresses.contains(address));
            shaky.ends().await.unwrap();
            shaky = stage.gateway("shaky", &flags).await;
            shaky_bridge = Bridge::start(&shaky.address).await;
            addresses.lock().unwrap().extend([shaky.address.clone(), shaky_bridge.address.clone()]);
        }
        for recording in &mut recordings {
            if random.random_bool(0.2) {
                recording.stop().await;
                *recording = Recording::start(&stage, recording.region).await;
            }
        }
    }
    while let Some(written) = writing.join_next().await {
        written.unwrap();
    }
    cast.calm.cancel();
    while let Some(played) = players.join_next().await {
        played.unwrap();
    }

    // HTTP serves the same boards.
    for region in REGIONS {
        for (query, filter) in [
            ("", json!({})),
            ("?sport=s1", json!({ "sports": ["s1"] })),
            ("?bookmaker=b0&bookmaker=b2&market=m1", json!({ "bookmakers": ["b0", "b2"], "markets": ["m1"] })),
        ] {
            let answer = http::get(&steady.address, &format!("/api/odds/{region}{query}"), &[BEARER]).await;
            assert_eq!(answer.status, 200);
            let payload: SnapshotPayload = serde_json::from_slice(&answer.body).unwrap();
            let mut mirror = Mirror::default();
            assert!(mirror.snapshot(payload).unwrap());
            let newest = histories[&region].newest(&Filter::from_value(&filter).unwrap());
            assert_eq!(*mirror.events(), newest, "{region}{query}");
        }
    }
    // So does the history, of any time since it began.
    for mut recording in recordings {
        let region = recording.region;
        let compared = compare_past(&steady, region, &histories[&region], &mut random).await;
        println!("{region}: {compared} boards of random times are exactly those that there were");
        recording.stop().await;
    }
    let (frames, resumed) = (cast.frames.load(Ordering::Relaxed), cast.resumed.load(Ordering::Relaxed));
    assert!(frames > 1_000 && resumed > 20, "{frames} frames, {resumed} resumed");
    println!("{CLIENTS} clients, {frames} frames, each exactly its board; {resumed} resumed by cursor");
    let (compressed, inflated) = steady_bridge.traffic.bytes();
    println!("{compressed} bytes with compression became {inflated}");
    assert!(compressed < inflated, "nothing was compressed");
    steady.ends().await.unwrap();
    shaky.ends().await.unwrap();
}

/// A historian of a region.
struct Recording {
    region: Region,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Recording {
    async fn start(stage: &Stage, region: Region) -> Self {
        let stop = CancellationToken::new();
        let task = record(stage, region, stop.clone()).await;
        Self { region, stop, task }
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap().unwrap();
    }
}

/// Compares boards of random times with what the author wrote. Returns how many.
async fn compare_past(gateway: &Running, region: Region, history: &History, random: &mut StdRng) -> usize {
    #[derive(serde::Deserialize)]
    struct Past {
        at: Timestamp,
        until: Option<Timestamp>,
        cursor: Cursor,
    }
    let board = async |at: Timestamp| {
        let answer = http::get(&gateway.address, &format!("/api/history/board/{region}?at={at}"), &[BEARER]).await;
        assert_eq!(answer.status, 200, "{region} at {at}: {}", String::from_utf8_lossy(&answer.body));
        let past: Past = serde_json::from_slice(&answer.body).unwrap();
        (past, events(&answer.body))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let newest = loop {
        let (past, _) = board(service::now()).await;
        if Some(past.cursor.step()) == history.last_step() {
            break past.at;
        }
        assert!(Instant::now() < deadline, "{region}: the newest step is not recorded");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let first = history.first_time().unwrap();
    for _ in 0..LOOKS_BACK {
        let at = first.plus_millis(random.random_range(0..=newest.millis_since(first)));
        let (past, found) = board(at).await;
        assert!(past.at <= at && past.until.is_none_or(|until| at < until), "{region} at {at}: {}", past.at);
        assert_eq!(Some(found), history.shown(past.cursor.step(), &Filter::default()), "{region} at {at}");
    }
    LOOKS_BACK
}
