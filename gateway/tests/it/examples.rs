//! Third-party Socket.IO clients with their default options: the example mirrors through an unreliable network, series
//! of connects, and the README's snippet; and the example that reads topics. Every board that they print is compared with what was written at the step
//! that its cursor names.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use client::Mirror;
use odds::{Filter, Region, SnapshotPayload};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    author::{Author, History, draw_board, draw_changes},
    guest::{BEARER, TOKEN},
    http,
    past::record,
    proxy::Proxy,
    stage::{Running, Stage, until},
};

const LANGUAGES: [Language; 3] = [Language::JavaScript, Language::Python, Language::Java];
/// None is the client's default: polling, then an upgrade to websocket.
const TRANSPORTS: [Option<&str>; 3] = [None, Some("websocket"), Some("polling")];
const REGIONS: &str = "us,uk,eu,au";
/// About 200 KB in each region, which is dozens of parts.
const EVENTS: u32 = 150;
/// How long a program may take to start.
const STARTED_WITHIN: Duration = Duration::from_secs(30);
/// A client has stalled if it gets nothing new of a region for this long while the network is reliable. It waits up to
/// 7.5 seconds before it reconnects, and two intervals of `feed` before it asks again for a lost frame.
const STALLED: Duration = Duration::from_secs(25);
/// How long a client may take to connect and to receive all boards.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// How much of a failed client's log is shown.
const LOG_LINES: usize = 30;
/// How much time is replayed.
const REPLAYED: Duration = Duration::from_secs(6);

type Histories = BTreeMap<Region, History>;

fn setting(name: &str, default: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "set by `cargo xtask`")]
    std::env::var(name).unwrap_or(default.to_owned())
}

pub fn checkout() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "set by cargo")]
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&package).parent().unwrap().to_owned()
}

#[derive(Clone, Copy, Debug)]
enum Language {
    JavaScript,
    Python,
    Java,
}

impl Language {
    fn mirror(self, url: &str, transport: Option<&str>) -> Command {
        let mut command =
            self.command("examples/javascript/mirror.mjs", "examples/python/mirror.py", "examples/java/Mirror.java");
        command.args(["--url", url, "--token", TOKEN, "--regions", REGIONS, "--every", "1"]);
        if let Some(transport) = transport {
            command.args(["--transport", transport]);
        }
        command
    }

    fn connects(self, url: &str, times: &str, transport: Option<&str>) -> Command {
        let [javascript, python, java] =
            ["connects.mjs", "connects.py", "Connects.java"].map(|name| format!("gateway/tests/clients/{name}"));
        let mut command = self.command(&javascript, &python, &java);
        command.args([url, TOKEN, REGIONS, times]).args(transport);
        command
    }

    fn command(self, javascript: &str, python: &str, java: &str) -> Command {
        let mut command;
        match self {
            Self::JavaScript => {
                command = Command::new("node");
                command.arg(checkout().join(javascript));
            }
            Self::Python => {
                command = Command::new(setting("PYTHON", "python3"));
                command.arg(checkout().join(python));
            }
            Self::Java => {
                command = Command::new("java");
                let libraries = setting("JAVA_LIBRARIES", "target/dependency");
                command.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp", &format!("{libraries}/*")]);
                command.arg(checkout().join(java));
            }
        }
        // The folder of npm's packages.
        command.current_dir(checkout().join("examples/javascript"));
        command
    }
}

/// A stage with an author in each region, whose boards are sent in many parts.
struct Scene {
    stage: Stage,
    authors: Vec<Author>,
    histories: Histories,
    logs: TempDir,
}

impl Scene {
    async fn set() -> Self {
        let stage = Stage::set().await;
        let mut authors = Vec::new();
        let mut histories = Histories::new();
        for region in Region::ALL {
            let mut author = Author::start(&stage.kafka(), region).await;
            author.step(draw_board(&mut StdRng::seed_from_u64(1), EVENTS)).await;
            histories.insert(region, author.history.clone());
            authors.push(author);
        }
        Self { stage, authors, histories, logs: tempfile::tempdir().unwrap() }
    }

    /// Starts the authors; they write until `calm` is cancelled.
    fn write(&mut self, calm: &CancellationToken) -> JoinSet<()> {
        let mut writing = JoinSet::new();
        for (seed, mut author) in (0..).zip(self.authors.drain(..)) {
            let calm = calm.clone();
            writing.spawn(async move {
                let mut random = StdRng::seed_from_u64(seed);
                while !calm.is_cancelled() {
                    let changes = match random.random_bool(0.5) {
                        true => author.draw_move(&mut random).into_iter().collect(),
                        false => draw_changes(&mut random, EVENTS),
                    };
                    author.step(changes).await;
                    sleep(Duration::from_millis(random.random_range(0..400))).await;
                }
            });
        }
        writing
    }

    fn client(&self, name: String, command: Command) -> Client {
        Client::start(name, command, self.histories.clone(), self.logs.path())
    }
}

/// Reads a board in the format of REST.
fn board(json: &[u8]) -> Result<(Region, Mirror), String> {
    let text = || String::from_utf8_lossy(json).chars().take(1_000).collect::<String>();
    let payload: SnapshotPayload = serde_json::from_slice(json).map_err(|error| format!("{error}: {}", text()))?;
    let region = payload.region;
    let mut board = Mirror::default();
    match board.snapshot(payload) {
        Ok(true) => Ok((region, board)),
        _ => Err(format!("not a whole board: {}", text())),
    }
}

/// A running client program and the boards that it printed.
struct Client {
    name: String,
    program: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
    histories: Histories,
    boards: BTreeMap<Region, Mirror>,
    compared: u32,
}

impl Client {
    fn start(name: String, mut command: Command, histories: Histories, logs: &Path) -> Self {
        let log = logs.join(&name);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).kill_on_drop(true);
        let mut program = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        Self { name, program, lines, log, histories, boards: BTreeMap::new(), compared: 0 }
    }

    /// Checks the next board that the program prints. Returns its region and whether its cursor is new.
    async fn next(&mut self, until: Instant) -> Result<(Region, bool), String> {
        let line = match timeout_at(until, self.lines.next_line()).await {
            Err(_) => return Err("prints no board".into()),
            Ok(line) => line.unwrap().ok_or("ended by itself")?,
        };
        let (region, board) = board(line.as_bytes())?;
        let step = board.cursor().expect("it is complete").step();
        let written = self.histories[&region].shown(step, &Filter::default());
        let written = written.ok_or_else(|| format!("{region} at {step} was never written"))?;
        if *board.events() != written {
            let ids = board.events().keys().chain(written.keys());
            let wrong: BTreeSet<_> = ids.filter(|id| board.events().get(*id) != written.get(*id)).collect();
            return Err(format!("{region} at {step} is not what was written: {wrong:?}"));
        }
        self.compared += 1;
        let moved = self.boards.get(&region).is_none_or(|before| before.cursor() != board.cursor());
        self.boards.insert(region, board);
        Ok((region, moved))
    }

    /// Checks boards until `settled` is cancelled and the program has the newest of all regions.
    async fn follow(&mut self, proxy: &Proxy, settled: &CancellationToken) -> Result<(), String> {
        let started = Instant::now() + STARTED_WITHIN;
        let mut changed_at = Region::ALL.map(|_| started);
        while !settled.is_cancelled() || !self.is_up_to_date() {
            let (region, is_new) = self.next(Instant::now() + STARTED_WITHIN).await?;
            if is_new || self.is_newest(region) {
                changed_at[region as usize] = Instant::now();
            }
            for region in Region::ALL {
                let since = changed_at[region as usize].max(proxy.calm_since());
                if since.elapsed() > STALLED {
                    return Err(format!("stalled: nothing new of {region} for {} s", STALLED.as_secs()));
                }
            }
        }
        Ok(())
    }

    fn is_newest(&self, region: Region) -> bool {
        let step = self.boards.get(&region).and_then(Mirror::cursor).map(|cursor| cursor.step());
        step == self.histories[&region].last_step()
    }

    fn is_up_to_date(&self) -> bool {
        Region::ALL.into_iter().all(|region| self.is_newest(region))
    }

    /// Compares each board with REST, both cursor and content.
    async fn compare_with_rest(&self, gateway: &str) -> Result<(), String> {
        for (region, board) in &self.boards {
            let answer = http::get(gateway, &format!("/api/odds/{region}"), &[BEARER]).await;
            let (_, rest) = self::board(&answer.body)?;
            if rest.cursor() != board.cursor() || rest.events() != board.events() {
                return Err(format!("{region} at {:?} differs from REST at {:?}", board.cursor(), rest.cursor()));
            }
        }
        Ok(())
    }

    fn failed(&self, error: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("{}: {error}\n  {}", self.name, last.join("\n  "))
    }
}

fn names() -> impl Iterator<Item = (String, Language, Option<&'static str>)> {
    let each = |language| TRANSPORTS.map(|transport| (language, transport));
    LANGUAGES.into_iter().flat_map(each).map(|(language, transport)| {
        (format!("{language:?}, {}", transport.unwrap_or("default transports")), language, transport)
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test` installs what it needs; `cargo xtask soak` runs it for longer"]
async fn every_client_has_exactly_the_board_through_an_unreliable_network() {
    let lasts = Duration::from_secs(setting("CLIENTS_SECONDS", "20").parse().unwrap());
    let mut scene = Scene::set().await;
    let gateway = scene.stage.gateway("one", &[]).await;
    let (calm, settled) = (CancellationToken::new(), CancellationToken::new());
    let mut following = JoinSet::new();
    for (seed, (name, language, transport)) in (0..).zip(names()) {
        let proxy = Proxy::start(&gateway.address, seed, calm.clone()).await;
        let mut client = scene.client(name, language.mirror(&format!("http://{}", proxy.address), transport));
        let (settled, gateway) = (settled.clone(), gateway.address.clone());
        following.spawn(async move {
            let end = match client.follow(&proxy, &settled).await {
                Ok(()) => client.compare_with_rest(&gateway).await,
                stalled => stalled,
            };
            let (cut, lost) = proxy.faults();
            match end {
                Err(error) => Err(client.failed(&format!("{error}; {cut} connections cut, {lost} responses lost"))),
                Ok(()) if cut + lost == 0 => Err(format!("{}: the proxy caused no fault", client.name)),
                Ok(()) => {
                    println!(
                        "{}: {} boards, each exact; {cut} connections cut, {lost} responses lost",
                        client.name, client.compared
                    );
                    Ok(())
                }
            }
        });
    }
    let mut writing = scene.write(&calm);
    sleep(lasts).await;
    calm.cancel();
    while let Some(written) = writing.join_next().await {
        written.unwrap();
    }
    settled.cancel();
    let ends = following.join_all().await;
    let failed: Vec<String> = ends.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{} of {} clients failed\n{}", failed.len(), names().count(), failed.join("\n"));
    gateway.ends().await.unwrap();
}

/// Whether the newest step of each region is recorded.
async fn newest_is_recorded(gateway: &Running, histories: &Histories) -> bool {
    for (region, history) in histories {
        let path = format!("/api/history/board/{region}?at={}", service::now());
        let answer = http::get(&gateway.address, &path, &[BEARER]).await;
        let recorded = board(&answer.body).ok().and_then(|(_, board)| board.cursor());
        if recorded.map(|cursor| cursor.step()) != history.last_step() {
            return false;
        }
    }
    true
}

/// The example clients get a replay by their address, without knowing it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test` installs what it needs"]
async fn every_client_mirrors_a_replay() {
    let mut scene = Scene::set().await;
    let gateway = scene.stage.gateway("one", &[&scene.stage.history_setting()]).await;
    let (calm, stop) = (CancellationToken::new(), CancellationToken::new());
    let mut recording = Vec::new();
    for region in Region::ALL {
        recording.push(record(&scene.stage, region, stop.clone()).await);
    }
    until("the first boards are recorded", async || newest_is_recorded(&gateway, &scene.histories).await).await;
    let begin = service::now();
    let mut writing = scene.write(&calm);
    sleep(REPLAYED).await;
    calm.cancel();
    while let Some(written) = writing.join_next().await {
        written.unwrap();
    }
    until("all is recorded", async || newest_is_recorded(&gateway, &scene.histories).await).await;
    for language in LANGUAGES {
        let address = format!("http://{}/?replay={begin}&speed=1", gateway.address);
        let mut client = scene.client(format!("{language:?}"), language.mirror(&address, None));
        let (mut moved, ended) = (0, Instant::now() + STARTED_WITHIN);
        let end = loop {
            match client.next(ended).await {
                Ok((_, is_new)) => moved += u32::from(is_new),
                Err(end) => break end,
            }
        };
        let is_over = std::fs::read_to_string(&client.log).unwrap().contains("replay_over");
        assert!(
            end == "ended by itself" && is_over && moved > 8,
            "{}",
            client.failed(&format!("{end}: {moved} boards"))
        );
    }
    stop.cancel();
    for recording in recording {
        recording.await.unwrap().unwrap();
    }
    gateway.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test` installs what it needs"]
async fn a_newest_frame_that_is_lost_is_asked_for() {
    let mut scene = Scene::set().await;
    let gateway = scene.stage.gateway("one", &[]).await;
    let calm = CancellationToken::new();
    calm.cancel();
    let mut clients = Vec::new();
    for language in LANGUAGES {
        let proxy = Proxy::start(&gateway.address, 0, calm.clone()).await;
        let command = language.mirror(&format!("http://{}", proxy.address), Some("polling"));
        clients.push((proxy, scene.client(format!("{language:?}"), command)));
    }
    for (_, client) in &mut clients {
        while !client.is_up_to_date() {
            client.next(Instant::now() + STARTED_WITHIN).await.unwrap();
        }
    }
    clients.iter().for_each(|(proxy, _)| proxy.lose_next());
    let mut random = StdRng::seed_from_u64(1);
    let changes = draw_changes(&mut random, EVENTS);
    scene.authors[0].step(changes).await;
    let written = Instant::now();
    for (proxy, client) in &mut clients {
        while proxy.faults() != (0, 1) || !client.is_up_to_date() {
            client.next(Instant::now() + STARTED_WITHIN).await.unwrap();
            assert!(written.elapsed() < STALLED, "{}", client.failed("misses the newest frame"));
        }
    }
    gateway.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test` installs what it needs; `cargo xtask soak` runs it for longer"]
async fn every_connect_gives_whole_boards() {
    let times = setting("CLIENTS_CONNECTS", "5");
    let mut scene = Scene::set().await;
    let gateway = scene.stage.gateway("one", &[]).await;
    let calm = CancellationToken::new();
    let mut writing = scene.write(&calm);
    let mut failed = Vec::new();
    for (name, language, transport) in names() {
        let url = format!("http://{}", gateway.address);
        let mut client = scene.client(name, language.connects(&url, &times, transport));
        // The first connect includes the start of the program.
        let mut until = Instant::now() + STARTED_WITHIN;
        let begun = Instant::now();
        for time in 0..times.parse().unwrap() {
            let mut connected = Ok(());
            for _ in Region::ALL {
                connected = connected.and(client.next(until).await.map(drop));
            }
            if let Err(error) = connected {
                failed.push(client.failed(&format!("connect {} of {times}: {error}", time + 1)));
                break;
            }
            until = Instant::now() + CONNECTED_WITHIN;
        }
        println!("{}: {} boards, each whole, in {} ms", client.name, client.compared, begun.elapsed().as_millis());
        client.program.kill().await.unwrap();
    }
    calm.cancel();
    while let Some(written) = writing.join_next().await {
        written.unwrap();
    }
    assert!(failed.is_empty(), "{} of {} clients failed\n{}", failed.len(), names().count(), failed.join("\n"));
    gateway.ends().await.unwrap();
}

/// The README's snippet with this gateway's URL and a valid token.
fn readme_snippet(gateway: &str) -> String {
    let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    let (_, rest) = readme.split_once("\n## A client in a few lines\n").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    let lines: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let snippet = lines.join("\n");
    for text in ["http://127.0.0.1:8080", "tb_…"] {
        assert!(snippet.contains(text), "the snippet names {text}");
    }
    snippet.replace("http://127.0.0.1:8080", &format!("http://{gateway}")).replace("tb_…", TOKEN)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test` installs what it needs"]
async fn the_snippet_of_the_readme_prints_all_parts_of_a_snapshot() {
    let scene = Scene::set().await;
    let gateway = scene.stage.gateway("one", &[]).await;
    let snippet = readme_snippet(&gateway.address);
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", &snippet]).current_dir(checkout().join("examples/javascript"));
    let mut program = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let mut events = 0;
    let all = async {
        while events < EVENTS {
            let line = lines.next_line().await.unwrap().expect("the program still runs");
            // `uk part 2 5 events`
            let words: Vec<&str> = line.split(' ').collect();
            if let ["uk", "part", .., count, "events"] = words[..] {
                events += count.parse::<u32>().unwrap();
            }
        }
    };
    timeout(STARTED_WITHIN, all).await.expect("all events");
    assert_eq!(events, EVENTS);
    gateway.ends().await.unwrap();
}

/// How many steps are written before the last one, and how often a new leader begins.
const STEPS: u32 = 60;
const NEW_TERM_EVERY: u32 = 12;

/// The example that reads topics compares each board with its digest.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`cargo xtask test` installs what it needs"]
async fn a_reader_of_the_topics_in_python_has_every_board() {
    let scene = Scene::set().await;
    let mut reading = JoinSet::new();
    for (region, mut author) in Region::ALL.into_iter().zip(scene.authors) {
        let log = scene.logs.path().join(region.key());
        let mut command = Command::new(setting("KAFKA_PYTHON", "python3"));
        command.arg(checkout().join("examples/kafka/reader.py")).args(["--region", region.key()]);
        command.args(["--brokers", &scene.stage.kafka().brokers]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).kill_on_drop(true);
        let mut program = command.spawn().unwrap();
        let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
        reading.spawn(async move {
            let _program = program;
            let mut random = StdRng::seed_from_u64(region as u64);
            let (mut read, mut wanted) = (0, author.last_step());
            for n in 0..=STEPS {
                // It may be at a later step than this one when it begins.
                let until = Instant::now() + STARTED_WITHIN;
                let line = loop {
                    let line = timeout_at(until, lines.next_line()).await;
                    let line = line.unwrap_or_else(|_| panic!("{region}: {wanted} does not come")).unwrap();
                    let line = line.unwrap_or_else(|| panic!("{region}: {}", std::fs::read_to_string(&log).unwrap()));
                    read += 1;
                    if line.starts_with(&format!("{wanted} at ")) {
                        break line;
                    }
                };
                let events = author.board().event_count();
                assert!(line.ends_with(&format!(": live, {events} events")), "{region}: {line}, but {events} events");
                if n % NEW_TERM_EVERY == NEW_TERM_EVERY - 1 {
                    author.new_term().await;
                }
                wanted = author.step(draw_changes(&mut random, EVENTS)).await;
            }
            assert_eq!(std::fs::read_to_string(&log).unwrap(), "", "{region}");
            read
        });
    }
    let read: Vec<u32> = reading.join_all().await;
    assert!(read.iter().all(|read| *read > STEPS), "{read:?}");
}
