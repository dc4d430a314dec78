//! What happens while a region changes: a historian records it from Kafka, and a gateway sends it to live clients and
//! answers questions about its history.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use client::{BoardMirrors, Client, MirrorUpdate, ServerMessage};
use kafka::{Embedded, all_topics};
use odds::{EventId, Timestamp};
use rand::seq::index;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use trials::race::{
    Author, Crowd, Finding, Goal, Ground, Historian, Kind, Limits, Security, Server, Size, Table, Times, World,
    Writing, count, micros, quantile,
};

use crate::{
    REGION, Settings,
    measured::Measured,
    reader::{self, Reader, board_path, median, p99, size},
    recorded::{BOOKMAKERS, Month, OUTCOMES},
};

const TICK: u32 = 100;
/// Maximum milliseconds that the cluster holds a fetch request open. The gateway's are shorter, because latencies are
/// compared: the embedded cluster doesn't respond as soon as there are records.
const FETCH_WAIT: u32 = 100;
const SHORTER_FETCH_WAIT: u32 = 10;
/// Changes of a step; there are twenty steps a second.
const FEW_CHANGES: usize = 10;
const MANY_CHANGES: usize = 50;
/// How long a historian reads the topic before its cost is measured, and how long that takes.
const SETTLE: Duration = Duration::from_secs(10);
const COST_WINDOW: Duration = Duration::from_secs(30);
const READABLE_WINDOW: Duration = Duration::from_secs(30);
const ASKED_EVERY: Duration = Duration::from_millis(20);
const READABLE_WITHIN: Duration = Duration::from_secs(30);
const CHARTS: usize = 400;
const BOARDS: usize = 100;
/// Requests for small charts, the events of each, as many as a screen shows, and the most bytes of an answer.
const SCREENS: usize = 100;
const EVENTS_OF_A_SCREEN: usize = 12;
const BYTES_OF_A_SCREEN: f64 = 12_000.0;
/// Readers beside a live client, the rounds with and without them, and the length of each.
const READERS: u32 = 20;
const ROUNDS: usize = 5;
const STREAM_WINDOW: Duration = Duration::from_secs(15);
const BETWEEN: Duration = Duration::from_secs(2);
const ONE: Size = Size { clients: 1, watching: 1, mirroring: 1 };
/// How much of the last day is replayed.
const REPLAYED_MS: i64 = 6 * 3_600_000;

pub async fn measure(settings: &Settings, measured: &Measured, month: &Month, table: &mut Table) -> anyhow::Result<()> {
    let cluster = Embedded::start(&all_topics())?;
    let store = measured.url("month");
    let ground = Ground {
        gateway: settings.binaries.join("gateway"),
        binaries: settings.binaries.clone(),
        peers: settings.folder.clone(),
        folder: settings.folder.clone(),
        kafka: cluster.settings(),
        fetch_wait: Some(FETCH_WAIT),
        region: REGION,
        limits: Limits::Lifted,
        compression: false,
        security: Security::None,
        settings: vec![format!("--history={store}")],
        environment: BTreeMap::new(),
    };
    let world = World::new(BOOKMAKERS);
    let (event, outcome) = world.first().context("there are events")?;
    let outcome = format!("series?event={event}&market=h2h&outcome={outcome}");
    let events: Vec<EventId> = world.event_ids().cloned().collect();
    let author = Author::lead(&ground.kafka, REGION, world).await?;
    let historian = Historian::start(&ground, &store)?;
    let mut author = historian_cost(measured, &historian, author, table).await?;
    author.publish_all().await?;
    let ground = Ground { fetch_wait: Some(SHORTER_FETCH_WAIT), ..ground };
    let server = Server::start(Kind::Gateway(TICK), &ground).await?;
    // It joins now, so that its first board is not measured.
    let mut client = Crowd::start(&ground.binaries, &server.target(true), ONE)?;
    client.joined().await?;
    let (reader, times) = (Reader::new(&server), author.times.clone());
    let writing = Writing::start(author, MANY_CHANGES);
    readable(&reader, &times, &outcome, table).await?;
    let chart = format!("{outcome}&points=500&from={}&to={}", month.last_day, month.end);
    charts_and_boards(&reader, &chart, month, measured, table).await?;
    small_charts(&reader, &events, month, table).await?;
    let readers = || reader::Crowd::start(&reader, READERS, &chart, (month.begin, month.end));
    stream(&server, &mut client, &times, readers, table).await?;
    let author = writing.stop().await?;
    client.shows(author.digest()).await?;
    replay(&server, month.end, table).await
}

/// Measures a historian while few prices change. It has just read the board from the topic.
async fn historian_cost(
    measured: &Measured,
    historian: &Historian,
    author: Author,
    table: &mut Table,
) -> anyhow::Result<Author> {
    let writing = Writing::start(author, FEW_CHANGES);
    sleep(SETTLE).await;
    let store = measured.open("month").await?;
    let before = store.last_step(REGION).await?.context("a month is recorded")?;
    let cpu = historian.cpu_seconds()?;
    sleep(COST_WINDOW).await;
    let cpu = historian.cpu_seconds()? - cpu;
    let after = store.last_step(REGION).await?.context("a month is recorded")?;
    ensure!(after.log == before.log && after.seq > before.seq, "the historian recorded nothing");
    println!("{} steps were recorded in {COST_WINDOW:.0?}", after.seq - before.seq);
    let share = cpu / COST_WINDOW.as_secs_f64() * 100.0;
    table.at_most("a historian at 200 changes a second", " % of a core", share, 5.0);
    table.at_most("its most memory", " MB", historian.most_memory()? / 1e6, 100.0);
    writing.stop().await
}

/// What a chart's answer says about its region.
#[derive(Deserialize)]
struct Series {
    regions: Vec<RegionTime>,
}

#[derive(Deserialize)]
struct RegionTime {
    cursor: Option<String>,
    recorded_until: Option<Timestamp>,
}

/// Asks again and again which step is the newest one that can be read.
async fn readable(reader: &Reader, times: &Times, outcome: &str, table: &mut Table) -> anyhow::Result<()> {
    let now = service::now();
    let path = format!("{outcome}&region={REGION}&bookmaker=bookmaker_0&points=5&from={now}&to={now}");
    // When an answer came, and the step that was the newest one in it.
    let mut seen: Vec<(u64, Timestamp)> = Vec::new();
    let (end, mut last) = (Instant::now() + READABLE_WINDOW, None);
    let cursor = loop {
        let mut answer: Series = serde_json::from_str(&reader.text(&path).await?)?;
        let RegionTime { cursor, recorded_until } = answer.regions.pop().context("no region")?;
        let newest = recorded_until.context("nothing is recorded")?;
        seen.push((micros(), newest));
        if Instant::now() >= end {
            let last = *last.get_or_insert_with(|| times.markers().last().copied().unwrap_or_default());
            if newest >= last {
                break cursor.context("no cursor")?;
            }
            ensure!(Instant::now() < end + READABLE_WITHIN, "a step can't be read after {READABLE_WITHIN:?}");
        }
        sleep(ASKED_EVERY).await;
    };
    reader.get(&format!("board/{REGION}?cursor={cursor}")).await.context("the newest board")?;
    let first = seen.first().map(|(_, newest)| *newest).unwrap_or_default();
    let mut delays = Vec::new();
    for marker in times.markers().into_iter().filter(|at| *at > first && Some(*at) <= last) {
        let (at, _) = seen.iter().find(|(_, newest)| *newest >= marker).context("all were seen")?;
        delays.push(at.saturating_sub(u64::try_from(marker.as_millis())? * 1_000));
    }
    delays.sort_unstable();
    println!("{} steps could be read after {:.0} ms, in the median", delays.len(), quantile(&delays, 0.5));
    table.at_most("p99 from a marker until its step can be read", " ms", quantile(&delays, 0.99), 1_000.0);
    Ok(())
}

async fn charts_and_boards(
    reader: &Reader,
    chart: &str,
    month: &Month,
    measured: &Measured,
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut charts = Vec::new();
    for _ in 0..CHARTS {
        charts.push(reader.get(chart).await?);
    }
    let (mut old, mut dense) = (Vec::new(), Vec::new());
    for _ in 0..BOARDS {
        old.push(reader.get(&board_path(month.begin, month.last_day)).await?);
        dense.push(reader.get(&board_path(month.last_day, month.end)).await?);
    }
    for (what, answers) in [("a chart", &charts), ("a board of the month", &old), ("a board of the last day", &dense)] {
        println!("{what}: {} KB in {:.1} ms, in the median", size(answers), median(answers));
    }
    let goals = measured.goals();
    table.at_most("p99 of a chart of the last day at 50 bookmakers", " ms", p99(&charts), goals.chart_ms);
    table.at_most("p99 of a board of the month before", " ms", p99(&old), goals.board_ms);
    table.at_most("p99 of a board of the last day", " ms", p99(&dense), goals.board_ms);
    Ok(())
}

/// Each request is for other events, and of another time, so that no answer is used again.
async fn small_charts(reader: &Reader, events: &[EventId], month: &Month, table: &mut Table) -> anyhow::Result<()> {
    let mut screens = Vec::new();
    for n in 0..SCREENS {
        let chosen = index::sample(&mut rand::rng(), events.len(), EVENTS_OF_A_SCREEN);
        let chosen: String = chosen.iter().map(|place| format!("&event={}", events[place])).collect();
        let from = month.last_day.plus_millis(n as i64);
        screens.push(
            reader.get(&format!("sparklines?region={REGION}&market=h2h&from={from}&to={}{chosen}", month.end)).await?,
        );
    }
    let most = screens.iter().map(|(_, bytes)| *bytes).max().unwrap_or_default();
    println!("small charts of a screen: {} KB in {:.1} ms, in the median", size(&screens), median(&screens));
    table.at_most("bytes of the small charts of a screen", "", most as f64, BYTES_OF_A_SCREEN);
    table.at_most("p99 of the small charts of a screen", " ms", p99(&screens), 80.0);
    Ok(())
}

/// Compares the latency of a live client's frames with and without readers of the history, in turns.
async fn stream(
    server: &Server,
    client: &mut Crowd,
    times: &Times,
    start: impl Fn() -> reader::Crowd,
    table: &mut Table,
) -> anyhow::Result<()> {
    for round in 0..ROUNDS {
        let mut p99 = [f64::NAN; 2];
        let order = if round.is_multiple_of(2) { [false, true] } else { [true, false] };
        for is_read in order {
            let readers = is_read.then(&start);
            sleep(BETWEEN).await;
            let before = readers.as_ref().map_or(0, reader::Crowd::answers);
            let run = count(server, client, STREAM_WINDOW).await?.run(times, MANY_CHANGES);
            ensure!(run.lost == 0, "the live client was disconnected");
            let answers = readers.as_ref().map_or(0, reader::Crowd::answers) - before;
            if let Some(readers) = readers {
                readers.stop().await?;
            }
            println!("{:>5.1} answers a second: {}", answers as f64 / STREAM_WINDOW.as_secs_f64(), run.shown());
            p99[usize::from(is_read)] = run.latency(0.99);
        }
        let [theirs, ours] = p99;
        table.add(Finding {
            what: format!("p99 from Kafka to a live client, with {READERS} readers"),
            unit: " ms",
            ours,
            beside: "without".to_owned(),
            theirs,
            ratio: ours / theirs,
            goal: Goal::AtMost(1.1),
        });
    }
    Ok(())
}

/// Replays some hours to one client, as fast as it takes them. The client mirrors them, so each frame must fit.
async fn replay(server: &Server, until: Timestamp, table: &mut Table) -> anyhow::Result<()> {
    let mut auth: Value = server.auth(&[REGION]);
    auth["replay"] = json!({ "at": until.plus_millis(-REPLAYED_MS), "until": until, "speed": 0 });
    let mut client = Client::connect(server.address(), &auth).await?;
    let (mut mirrors, mut begun, mut changes) = (BoardMirrors::default(), None, 0);
    let took = loop {
        let ServerMessage::Event { name, payload } = client.next().await? else { continue };
        match mirrors.take(&name, &payload) {
            MirrorUpdate::Resync(..) => {
                anyhow::bail!("a frame does not fit: {}", payload.get(..200).unwrap_or(&payload))
            }
            MirrorUpdate::Board(_) if name == "odds" => {
                begun.get_or_insert_with(Instant::now);
                changes += payload.matches(r#""bookmaker":""#).count();
            }
            _ => {}
        }
        if name == "bye" {
            ensure!(payload.contains("replay_over"), "the replay ended early: {payload}");
            break begun.context("nothing was replayed")?.elapsed();
        }
    };
    let changes = changes * OUTCOMES;
    println!("a replay of {} minutes: {changes} changed outcomes in {took:.1?}", REPLAYED_MS / 60_000);
    table.at_least("changed outcomes replayed a second", changes as f64 / took.as_secs_f64(), 50_000.0);
    Ok(())
}
