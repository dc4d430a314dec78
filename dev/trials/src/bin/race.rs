//! Compares the gateway with other servers that do the same work: the cost of frames, connections and crowds, and the
//! latency. All figures that are compared come from the same run, because machines differ and are shared.

use std::process::ExitCode;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use futures::future::try_join_all;
use kafka::{Embedded, KafkaSettings, all_topics};
use odds::Region;
use trials::{
    Engine, Engines, Parts,
    race::{
        Author, Bare, Crowd, Finding, Frames, Goal, Ground, Kind, Limits, PemFiles, Recorder, Replaying, Run, Security,
        Server, Size, Table, Target, Ticks, Writing, micros, quantile, watch,
    },
};

const REGION: Region = Region::Uk;
const TICK: u32 = 100;
/// Maximum milliseconds that the embedded cluster holds a fetch request open. Unlike a real broker, it doesn't respond as
/// soon as there are records, so comparisons of latency use shorter times.
const FETCH_WAIT: u32 = 100;
const SHORTER_FETCH_WAIT: u32 = 10;
const SHORTEST_FETCH_WAIT: u32 = 5;
const SIZE: Size = Size { clients: 1_000, watching: 50, mirroring: 5 };
/// Changes per step; with twenty steps a second, two hundred updates a second.
const CHANGES: usize = 10;
/// Changes per step for frames of about one, four and eight kilobytes.
const SMALL: (usize, &str) = (2, "1 KB");
const MIDDLE: (usize, &str) = (8, "4 KB");
const LARGE: (usize, &str) = (16, "8 KB");
const CROWD: usize = 5_000;
/// The region of idle clients: it has no author.
const QUIET_REGION: Region = Region::Au;
/// How many idle clients come first, and how many more then.
const FIRST_IDLE: usize = 500;
const IDLE: usize = 7_500;
const IDLE_AT_ONCE: usize = 50;
/// Maximum kilobytes of memory for an idle connection, and for one that gets everything.
const MOST_IDLE: f64 = 14.0;
const MOST_BUSY: f64 = 20.0;
/// Maximum seconds until those who come back after a crash have what they missed, and milliseconds that a tick is late
/// meanwhile.
const BACK_WITHIN: f64 = 10.0;
const LATEST_TICK: f64 = 200.0;

/// Runs the gateway and the other servers in turn, and prints what each costs.
#[derive(Debug, Parser)]
#[command(name = "race", version)]
struct Settings {
    /// Folder with the programs.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// Folder with the other servers.
    #[arg(long, value_name = "DIR")]
    peers: PathBuf,

    /// Folder for logs, accounts and results.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,

    /// Seconds to measure each server in each round.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,

    /// Number of rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Run only these legs [default: all].
    #[arg(value_name = "LEG")]
    legs: Vec<Leg>,

    /// Leave nchan out, where it is not installed.
    #[arg(long)]
    no_nchan: bool,

    /// JSON file with the commands that start three brokers; without it, Kafka is the cluster built into librdkafka.
    #[arg(long, value_name = "FILE")]
    engines: Option<PathBuf>,

    /// The program Caddy, for TLS in front of the gateway.
    #[arg(long, value_name = "FILE")]
    caddy: Option<PathBuf>,
}

/// One comparison of the race.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Leg {
    /// A thousand clients, two hundred updates a second.
    Updates,
    /// The same frames through all servers that can send them.
    Frames,
    /// Clients that ask for compression.
    Compressed,
    /// Memory of idle connections.
    Idle,
    /// From a hundred clients to ten thousand.
    Growth,
    /// Five thousand clients that connect at once.
    Crowd,
    /// Latency from Kafka to the client, without a tick.
    Direct,
    /// Clients over TLS: by the gateway itself, and by Caddy in front of it.
    Tls,
    /// Ten thousand clients that come back at once after the gateway has crashed.
    Restart,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    std::fs::create_dir_all(&settings.folder)?;
    let kafka = Kafka::start(&settings).await?;
    let ground = Ground {
        binaries: settings.binaries.clone(),
        gateway: settings.binaries.join("gateway"),
        peers: settings.peers.clone(),
        folder: settings.folder.clone(),
        kafka: kafka.settings.clone(),
        fetch_wait: settings.engines.is_none().then_some(FETCH_WAIT),
        region: REGION,
        limits: Limits::Lifted,
        compression: false,
        security: Security::None,
        settings: Vec::new(),
        environment: BTreeMap::new(),
    };
    let author = Author::start(&kafka.settings, REGION).await?;
    let window = Duration::from_secs(settings.seconds);
    let mut race = Race {
        ground,
        author: Some(author),
        window,
        nchan: !settings.no_nchan,
        caddy: settings.caddy.clone(),
        table: Table::default(),
        alone: None,
        lost: BTreeMap::new(),
    };
    let legs = if settings.legs.is_empty() { Leg::value_variants() } else { &settings.legs };
    for round in 1..=settings.rounds {
        println!("\nround {round} of {}", settings.rounds);
        // The machine's speed may have changed since the previous round.
        race.alone = None;
        for leg in legs {
            match leg {
                Leg::Updates => race.updates().await?,
                Leg::Frames => race.frames().await?,
                Leg::Compressed => race.compressed().await?,
                Leg::Idle => race.idle().await?,
                Leg::Growth => race.growth().await?,
                Leg::Crowd => race.crowd().await?,
                Leg::Direct => race.direct().await?,
                Leg::Tls => race.tls().await?,
                Leg::Restart => race.restart().await?,
            }
        }
        race.report_lost();
    }
    let how = format!(
        "Medians of {} rounds; the ratios of all rounds lie between those in brackets. In each round, each server is \
         measured for {} s, 4 s after its clients have come.",
        settings.rounds, settings.seconds
    );
    println!("\n{how}\n\n{}", race.table.markdown());
    race.table.write(&settings.folder, &how)?;
    let missed = race.table.missed();
    ensure!(missed.is_empty(), "goals were missed: {missed:#?}");
    Ok(())
}

/// Kafka, in memory or as three brokers.
struct Kafka {
    settings: KafkaSettings,
    _cluster: Option<Embedded>,
    _brokers: Vec<Engine>,
}

impl Kafka {
    async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let Some(file) = &settings.engines else {
            let cluster = Embedded::start(&all_topics())?;
            return Ok(Self { settings: cluster.settings(), _cluster: Some(cluster), _brokers: Vec::new() });
        };
        let engines = Engines::read(file)?;
        let kafka = KafkaSettings { brokers: engines.tools_bootstrap.clone(), properties: Vec::new() };
        let brokers = try_join_all(engines.brokers.into_iter().map(Engine::start)).await?;
        let (binaries, logs) = (settings.binaries.clone(), settings.folder.clone());
        Parts { binaries, logs, kafka: kafka.clone() }.topics().await?;
        Ok(Self { settings: kafka, _cluster: None, _brokers: brokers })
    }
}

struct Race {
    ground: Ground,
    /// `None` while it writes in the background.
    author: Option<Author>,
    window: Duration,
    nchan: bool,
    caddy: Option<PathBuf>,
    table: Table,
    /// The gateway's share of a core without clients, once it has been measured.
    alone: Option<f64>,
    /// Connections of this round that ended or could not join.
    lost: BTreeMap<Kind, usize>,
}

impl Race {
    async fn updates(&mut self) -> anyhow::Result<()> {
        self.set_fetch_wait(FETCH_WAIT);
        println!("\n{} clients, 200 updates a second, a tick of {TICK} ms", SIZE.clients);
        let kinds = [Kind::Gateway(TICK), Kind::Node, Kind::NodeBatched(TICK), Kind::NodeChanges(TICK)];
        let mut runs: BTreeMap<Kind, Run> = BTreeMap::new();
        for kind in kinds {
            runs.insert(kind, self.run(kind, SIZE, CHANGES, &mut Frames::default()).await?);
        }
        let ours = runs[&kinds[0]].clone();
        let figure = |what: &str, unit, kind: &Kind, ours: f64, theirs: f64, goal| Finding {
            what: format!("{what}, {} clients", SIZE.clients),
            unit,
            ours,
            beside: kind.to_string(),
            theirs,
            ratio: ours / theirs,
            goal,
        };
        for (kind, run) in &runs {
            println!("{:>14}: {}", kind.to_string(), run.shown());
            let goal = match kind {
                Kind::Gateway(_) => continue,
                Kind::Node => Goal::AtLeast(20.0),
                Kind::NodeBatched(_) => Goal::AtLeast(3.0),
                _ => Goal::AtLeast(2.0),
            };
            let (each, theirs) = (ours.per_cpu_second(), run.per_cpu_second());
            self.table.add(figure("updates delivered a CPU second", "", kind, each, theirs, goal));
            let (bytes, theirs) = (ours.bytes / ours.updates, run.bytes / run.updates);
            self.table.add(figure("bytes an update", "", kind, bytes, theirs, Goal::None));
            let (memory, theirs) = (ours.megabytes(), run.megabytes());
            self.table.add(figure("memory of the server", " MB", kind, memory, theirs, Goal::None));
        }
        let bars = runs.iter().map(|(kind, run)| (kind.to_string(), 1e6 / run.per_cpu_second())).collect();
        self.table.draw("CPU seconds of the server for a million updates delivered", bars);
        Ok(())
    }

    async fn frames(&mut self) -> anyhow::Result<()> {
        self.set_fetch_wait(FETCH_WAIT);
        for (changes, name) in [SMALL, MIDDLE, LARGE] {
            println!("\n{} clients, ten frames of about {name} a second", SIZE.clients);
            let mut kinds = vec![Kind::Gateway(TICK), Kind::Floor];
            kinds.extend(self.nchan.then_some(Kind::Nchan));
            let mut runs: BTreeMap<Kind, Run> = BTreeMap::new();
            let mut recorded = Frames::default();
            for kind in kinds {
                runs.insert(kind, self.run(kind, SIZE, changes, &mut recorded).await?);
            }
            let alone = self.alone().await?;
            let ours = runs[&Kind::Gateway(TICK)].clone();
            let sending = ours.per_million_frames_beyond(alone);
            let what = format!("CPU seconds for a million frames of {name}, {} clients", SIZE.clients);
            for (kind, run) in &runs {
                println!("{:>14}: {}", kind.to_string(), run.shown());
                let is_small = (changes, name) == SMALL;
                let (to_send, in_all) = match kind {
                    Kind::Gateway(_) => continue,
                    Kind::Nchan => (Goal::None, Goal::AtMost(1.0)),
                    _ if is_small => (Goal::AtMost(1.5), Goal::None),
                    _ => (Goal::None, Goal::None),
                };
                let theirs = run.per_million_frames();
                for (what, ours, goal) in [
                    (format!("{what}: to send them"), sending, to_send),
                    (format!("{what}: with reading Kafka and keeping boards"), ours.per_million_frames(), in_all),
                ] {
                    let (beside, ratio) = (kind.to_string(), ours / theirs);
                    self.table.add(Finding { what, unit: "", ours, beside, theirs, ratio, goal });
                }
            }
            let one = |(kind, run): (&Kind, &Run)| match kind {
                Kind::Gateway(_) => (kind.to_string(), sending),
                _ => (kind.to_string(), run.per_million_frames()),
            };
            let title = match (changes, name) {
                SMALL => "CPU seconds to send a million frames of 1 KB",
                MIDDLE => "CPU seconds to send a million frames of 4 KB",
                _ => "CPU seconds to send a million frames of 8 KB",
            };
            self.table.draw(title, runs.iter().map(one).collect());
        }
        Ok(())
    }

    /// Measures clients that ask for compression, beside those that don't and beside other servers that compress.
    async fn compressed(&mut self) -> anyhow::Result<()> {
        self.set_fetch_wait(FETCH_WAIT);
        println!("\n{} clients with compression, ten frames of twenty quotes a second", SIZE.clients);
        let ours = Kind::Gateway(TICK);
        let mut recorded = Frames::default();
        let plain = self.run(ours, SIZE, CHANGES, &mut recorded).await?;
        println!("{:>14}: {}", "without", plain.shown());
        self.ground.compression = true;
        let mut kinds = vec![ours, Kind::NodeBatched(TICK)];
        kinds.extend(self.nchan.then_some(Kind::Nchan));
        let mut runs: BTreeMap<Kind, Run> = BTreeMap::new();
        for kind in kinds {
            let run = self.run(kind, SIZE, CHANGES, &mut recorded).await?;
            println!("{:>14}: {}", kind.to_string(), run.shown());
            runs.insert(kind, run);
        }
        self.ground.compression = false;
        let compressed = runs[&ours].clone();
        let mut add = |what: &str, unit, beside: String, figures: [f64; 2], goal| {
            let what = format!("with compression, {} clients: {what}", SIZE.clients);
            let [ours, theirs] = figures;
            self.table.add(Finding { what, unit, ours, beside, theirs, ratio: ours / theirs, goal });
        };
        let bytes = [&compressed, &plain].map(|run| run.bytes / run.updates);
        add("bytes on the wire for an update", "", "without".into(), bytes, Goal::AtMost(0.3));
        let micros_an_update = |run: &Run| 1e6 / run.per_cpu_second();
        let cpu = [&compressed, &plain].map(micros_an_update);
        add("CPU for an update", " µs", "without".into(), cpu, Goal::AtMost(1.05));
        for (kind, run) in &runs {
            let figures = [&compressed, run].map(micros_an_update);
            match kind {
                Kind::Gateway(_) => {}
                Kind::Nchan => add("CPU for an update", " µs", kind.to_string(), figures, Goal::AtMost(1.0)),
                _ => add("CPU for an update", " µs", kind.to_string(), figures, Goal::AtMost(0.1)),
            }
        }
        let bars = runs.iter().map(|(kind, run)| (kind.to_string(), micros_an_update(run))).collect();
        self.table.draw("CPU seconds of the server for a million updates delivered with compression", bars);
        Ok(())
    }

    /// Measures connections that follow a region without updates.
    async fn idle(&mut self) -> anyhow::Result<()> {
        println!("\nidle connections");
        let mut kinds = vec![Kind::Gateway(TICK), Kind::Node, Kind::Floor];
        kinds.extend(self.nchan.then_some(Kind::Nchan));
        let quiet = Ground { region: QUIET_REGION, ..self.ground.clone() };
        let size = |clients| Size { clients, watching: 0, mirroring: 0 };
        let mut bars = Vec::new();
        for kind in kinds {
            let server = Server::start(kind, &quiet).await?;
            // Not at once: what a crowd leaves in memory is not the cost of a connection.
            let target = Target { board: false, at_once: IDLE_AT_ONCE, ..server.target(true) };
            let (mut memory, mut crowds) = (Vec::new(), Vec::new());
            // The first ones start threads and fill caches, which isn't the cost of a connection.
            for clients in [FIRST_IDLE, IDLE] {
                let mut crowd = Crowd::start(&quiet.binaries, &target, size(clients))?;
                crowd.joined().await?;
                tokio::time::sleep(Duration::from_secs(5)).await;
                memory.push(server.memory()?);
                crowds.push(crowd);
            }
            let each = (memory[1] - memory[0]) / IDLE as f64 / 1024.0;
            println!("{:>14}: {each:.1} KB a connection", kind.to_string());
            bars.push((kind.to_string(), each));
            for mut crowd in crowds {
                self.count_lost(kind, crowd.take().await?.lost);
                crowd.leave().await?;
            }
        }
        let ours = bars[0].1;
        for (beside, theirs) in &bars[1..] {
            self.table.add(Finding {
                what: format!("memory of one of {IDLE} connections in a room where nothing happens"),
                unit: " KB",
                ours,
                beside: beside.clone(),
                theirs: *theirs,
                ratio: ours / theirs,
                goal: Goal::None,
            });
        }
        self.table.at_most("the same beside what an idle connection may take", " KB", ours, MOST_IDLE);
        self.table.draw("KB of memory for a connection that gets nothing", bars);
        Ok(())
    }

    async fn growth(&mut self) -> anyhow::Result<()> {
        println!("\nfrom few clients to many, 200 updates a second");
        self.set_fetch_wait(SHORTER_FETCH_WAIT);
        let alone = self.alone().await?;
        println!("  no clients: {:.1} % of a core to read Kafka and keep the board", alone * 100.0);
        let mut recorded = Frames::default();
        let sizes = [SIZE.clients, 100, CROWD, 2 * CROWD];
        let kinds = [Kind::Gateway(TICK), Kind::Floor];
        let mut runs: BTreeMap<(usize, Kind), Run> = BTreeMap::new();
        for clients in sizes {
            for kind in kinds {
                let run = self.run(kind, Size { clients, ..SIZE }, CHANGES, &mut recorded).await?;
                println!("{clients:>8} {:>12}: {}", kind.to_string(), run.shown());
                runs.insert((clients, kind), run);
            }
        }
        // The difference between two sizes, so that the server's memory without clients doesn't count.
        let memory_each = |kind| {
            let [few, many] = [SIZE.clients, 2 * CROWD].map(|clients| (clients as f64, runs[&(clients, kind)].memory));
            (many.1 - few.1) / (many.0 - few.0) / 1024.0
        };
        let [ours, theirs] = kinds.map(memory_each);
        self.table.add(Finding {
            what: format!("memory of a connection that gets all, of {}", 2 * CROWD),
            unit: " KB",
            ours,
            beside: Kind::Floor.to_string(),
            theirs,
            ratio: ours / theirs,
            goal: Goal::None,
        });
        self.table.at_most("the same beside what a busy connection may take", " KB", ours, MOST_BUSY);
        let flat = runs[&(SIZE.clients, kinds[0])].per_million_frames_beyond(alone);
        // The cost of a hundred clients is less than the variation in the cost of reading Kafka.
        for clients in [CROWD, 2 * CROWD] {
            let [ours, floor] = kinds.map(|kind| &runs[&(clients, kind)]);
            let sending = ours.per_million_frames_beyond(alone);
            let what = format!("CPU seconds to send a million frames to {clients} clients");
            for (beside, theirs, goal) in [
                (format!("to {} clients", SIZE.clients), flat, Goal::AtMost(1.25)),
                (Kind::Floor.to_string(), floor.per_million_frames(), Goal::None),
            ] {
                let (what, ratio) = (what.clone(), sending / theirs);
                self.table.add(Finding { what, unit: "", ours: sending, beside, theirs, ratio, goal });
            }
            let (p99, limit) = (ours.latency(0.99), f64::from(TICK) + 1.5 * floor.latency(0.99));
            self.table.add(Finding {
                what: format!("p99 from Kafka to {clients} clients"),
                unit: " ms",
                ours: p99,
                beside: "the tick and 1.5 x the floor's".into(),
                theirs: limit,
                ratio: p99 / limit,
                goal: Goal::AtMost(1.0),
            });
        }
        let ours = &runs[&(2 * CROWD, kinds[0])];
        self.report_latest_tick(&format!("with {} clients", 2 * CROWD), ours.latest_tick, f64::from(TICK))
    }

    fn report_latest_tick(&mut self, when: &str, late: Option<f64>, limit: f64) -> anyhow::Result<()> {
        let ours = late.context("the server reports no ticks")?;
        self.table.add(Finding {
            what: format!("how late the latest tick is, {when}"),
            unit: " ms",
            ours,
            beside: "limit".into(),
            theirs: limit,
            ratio: ours / limit,
            goal: Goal::AtMost(1.0),
        });
        Ok(())
    }

    /// Sets how long the embedded cluster holds a fetch request open. Real brokers need nothing.
    fn set_fetch_wait(&mut self, fetch_wait: u32) {
        if let Some(current) = &mut self.ground.fetch_wait
            && *current != fetch_wait
        {
            *current = fetch_wait;
            self.alone = None;
        }
    }

    /// Returns the gateway's share of a core without clients: to read Kafka and to keep the board. Measures it once.
    async fn alone(&mut self) -> anyhow::Result<f64> {
        if let Some(alone) = self.alone {
            return Ok(alone);
        }
        let nobody = Size { clients: 0, watching: 0, mirroring: 0 };
        let run = self.run(Kind::Gateway(TICK), nobody, CHANGES, &mut Frames::default()).await?;
        Ok(*self.alone.insert(run.cpu / run.seconds))
    }

    async fn crowd(&mut self) -> anyhow::Result<()> {
        self.set_fetch_wait(SHORTER_FETCH_WAIT);
        println!("\n{CROWD} clients that connect at once, while the board keeps changing");
        let mut came = Vec::new();
        for kind in [Kind::Gateway(TICK), Kind::NodeBatched(TICK), Kind::NodeChanges(TICK)] {
            self.author()?.publish_all().await?;
            let server = Server::start(kind, &self.ground).await?;
            let author = self.author.take().context("no author")?;
            let writing = Writing::start(author, CHANGES);
            tokio::time::sleep(Duration::from_secs(2)).await;
            let size = Size { clients: CROWD, watching: 0, mirroring: 0 };
            let before = server.ticks().await?.unwrap_or_default();
            let (cpu, begun) = (server.cpu_seconds()?, micros());
            let mut crowd = Crowd::start(&self.ground.binaries, &server.target(true), size)?;
            let joined = crowd.arrived().await?;
            let last = (micros() - begun) as f64 / 1e6;
            let lost = joined.failed + crowd.take().await?.lost;
            self.count_lost(kind, lost);
            let late = server.ticks().await?.map(|ticks| ticks.latest_since(&before));
            let mut took = joined.took;
            took.sort_unstable();
            println!(
                "{:>14}: half have the board after {:.2} s, all after {last:.2} s, {:.1} s of CPU, {lost} lost{}",
                kind.to_string(),
                quantile(&took, 0.5) / 1e3,
                server.cpu_seconds()? - cpu,
                late.map(|late| format!("; ticks at most {late:.0} ms late")).unwrap_or_default(),
            );
            came.push((kind, last));
            if let Some(late) = late {
                let when = format!("while {CROWD} come at once");
                self.report_latest_tick(&when, Some(late), f64::from(2 * TICK))?;
            }
            crowd.leave().await?;
            self.author = Some(writing.stop().await?);
        }
        let ours = came[0].1;
        for (kind, theirs) in &came[1..] {
            let goal = Goal::AtMost(0.3);
            self.table.add(Finding {
                what: format!("seconds until {CROWD} who come at once have a board of a quarter of a megabyte"),
                unit: "",
                ours,
                beside: kind.to_string(),
                theirs: *theirs,
                ratio: ours / theirs,
                goal,
            });
        }
        let bars = came.iter().map(|(kind, last)| (kind.to_string(), *last)).collect();
        self.table.draw("seconds until 5,000 who come at once have their board", bars);
        Ok(())
    }

    async fn direct(&mut self) -> anyhow::Result<()> {
        println!("\nfrom Kafka to 100 clients without a tick, compared with a bare consumer of the topic");
        self.set_fetch_wait(SHORTEST_FETCH_WAIT);
        self.author()?.publish_all().await?;
        let times = self.author()?.times.clone();
        let bare = Bare::start(&self.ground)?;
        let size = Size { clients: 100, watching: 100, mirroring: 5 };
        let run = self.run(Kind::Gateway(0), size, CHANGES, &mut Frames::default()).await?;
        let (records, steps) = bare.stop(&times).await?;
        let line = |name: &str, sorted: &[u64]| {
            let at = |part| quantile(sorted, part);
            println!("{name:>14}: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", at(0.5), at(0.99), at(1.0));
        };
        line("all records", &records);
        line("whole steps", &steps);
        line("Toteboard", &run.latencies);
        let ours = run.latency(0.99);
        // Whoever shows records as they come can't tell half a step from a whole one.
        for (beside, sorted, goal) in [
            ("a bare consumer that has the whole step", &steps, Goal::AtMost(1.3)),
            ("a bare consumer that has its records", &records, Goal::None),
        ] {
            let (what, theirs) = ("p99 from Kafka to 100 clients without a tick".into(), quantile(sorted, 0.99));
            let (unit, beside) = (" ms", beside.into());
            self.table.add(Finding { what, unit, ours, beside, theirs, ratio: ours / theirs, goal });
        }
        Ok(())
    }

    /// Measures clients over TLS, with and without compression.
    async fn tls(&mut self) -> anyhow::Result<()> {
        self.set_fetch_wait(FETCH_WAIT);
        println!("\n{} clients over TLS, 200 updates a second", SIZE.clients);
        let files = pem_files(&self.ground.folder)?;
        let mut kinds = vec![("without TLS", Security::None), ("its own TLS", Security::Own(files.clone()))];
        kinds.extend(self.caddy.clone().map(|program| ("Caddy in front of it", Security::Caddy(program, files))));
        let mut bars = Vec::new();
        for compression in [false, true] {
            let mut runs = Vec::new();
            for (name, security) in &kinds {
                self.ground.security = security.clone();
                self.ground.compression = compression;
                let run = self.run(Kind::Gateway(TICK), SIZE, CHANGES, &mut Frames::default()).await?;
                println!("{name:>20}: {}", run.shown());
                runs.push((*name, run));
            }
            (self.ground.security, self.ground.compression) = (Security::None, false);
            let micros_an_update = |run: &Run| 1e6 / run.per_cpu_second();
            let how = if compression { "with compression" } else { "not compressed" };
            let own = runs[1].1.clone();
            for (beside, run) in runs.iter().filter(|(name, _)| *name != runs[1].0) {
                let what = |figure: &str| format!("with its own TLS, {} clients, {how}: {figure}", SIZE.clients);
                let beside = (*beside).to_owned();
                let (ours, theirs) = (micros_an_update(&own), micros_an_update(run));
                let (what_cpu, goal) = (what("CPU for an update"), Goal::None);
                let finding =
                    Finding { what: what_cpu, unit: " µs", ours, beside, theirs, ratio: ours / theirs, goal };
                self.table.add(finding.clone());
                let (ours, theirs) = (own.megabytes(), run.megabytes());
                let what = what("memory");
                self.table.add(Finding { what, unit: " MB", ours, theirs, ratio: ours / theirs, ..finding });
            }
            bars.extend(runs.iter().map(|(name, run)| (format!("{name}, {how}"), micros_an_update(run))));
        }
        self.table.draw("CPU seconds of the server for a million updates delivered over TLS", bars);
        Ok(())
    }

    /// Crashes a gateway, and measures how soon its clients have what they missed.
    async fn restart(&mut self) -> anyhow::Result<()> {
        self.set_fetch_wait(SHORTER_FETCH_WAIT);
        let size = Size { clients: 2 * CROWD, ..SIZE };
        println!("\n{} clients that come back at once after a crash, while the board keeps changing", size.clients);
        self.author()?.publish_all().await?;
        let mut server = Server::start(Kind::Gateway(TICK), &self.ground).await?;
        let target = Target { returns: Some(REGION), ..server.target(true) };
        let mut crowd = Crowd::start(&self.ground.binaries, &target, size)?;
        crowd.joined().await?;
        let writing = Writing::start(self.author.take().context("no author")?, CHANGES);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let crashed = micros();
        server.crash().await?;
        let end = crashed + u64::try_from(Duration::from_secs(60).as_micros())?;
        let returned = loop {
            let returned = crowd.returned().await?;
            let back = returned.at.iter().filter(|at| **at >= crashed).count();
            if back == size.clients {
                break returned;
            }
            ensure!(micros() < end, "only {back} of {} clients came back", size.clients);
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let author = writing.stop().await?;
        crowd.shows(author.digest()).await?;
        self.author = Some(author);
        let last = returned.at.iter().max().map_or(f64::NAN, |at| (at - crashed) as f64 / 1e6);
        let late = server.ticks().await?.context("the gateway reports ticks")?.latest_since(&Ticks::default());
        let ready = server.ready_after.as_secs_f64();
        println!(
            "{:>14}: ready after {ready:.2} s, all have what they missed after {last:.2} s, ticks at most {late:.0} ms late, \
             {} got a whole board",
            "Toteboard", returned.boards,
        );
        let what = |what: &str| format!("after a crash with {} clients: {what}", size.clients);
        self.table.at_most(&what("seconds until it is ready"), "", ready, BACK_WITHIN);
        self.table.at_most(&what("seconds until all have what they missed"), "", last, BACK_WITHIN);
        self.table.at_most(&what("how late the latest tick is"), " ms", late, LATEST_TICK);
        ensure!(returned.broken == 0, "{} clients got frames that don't continue from their board", returned.broken);
        crowd.leave().await
    }

    fn count_lost(&mut self, kind: Kind, count: usize) {
        *self.lost.entry(kind).or_default() += count;
    }

    /// Adds this round's lost connections to the table. The goal for Toteboard is none.
    fn report_lost(&mut self) {
        let is_ours = |(kind, _): &(&Kind, &usize)| matches!(kind, Kind::Gateway(_));
        let sum = |is: bool| -> usize { self.lost.iter().filter(|it| is_ours(it) == is).map(|it| it.1).sum() };
        let (ours, theirs) = (sum(true) as f64, sum(false) as f64);
        let others = self.lost.iter().filter(|it| !is_ours(it)).map(|(kind, _)| kind.to_string());
        let beside = others.collect::<Vec<_>>().join("; ");
        let what = "connections that ended or did not come about".into();
        self.table.add(Finding { what, unit: "", ours, beside, theirs, ratio: ours, goal: Goal::AtMost(0.0) });
        self.lost.clear();
    }

    fn author(&mut self) -> anyhow::Result<&mut Author> {
        self.author.as_mut().context("the author is writing in the background")
    }

    /// Measures one server with its clients. The gateway's frames are recorded if `recorded` is empty; servers that
    /// don't read Kafka get the recorded frames.
    async fn run(&mut self, kind: Kind, size: Size, changes: usize, recorded: &mut Frames) -> anyhow::Result<Run> {
        self.author()?.publish_all().await?;
        let server = Server::start(kind, &self.ground).await?;
        let mut crowd = Crowd::start(&self.ground.binaries, &server.target(true), size)?;
        crowd.joined().await?;
        let Some(publisher) = server.publisher().await? else {
            let recorder = match kind {
                Kind::Gateway(_) if recorded.is_empty() && matches!(self.ground.security, Security::None) => {
                    Some(Recorder::start(&server).await?)
                }
                _ => None,
            };
            let author = self.author.take().context("no author")?;
            let times = author.times.clone();
            let writing = Writing::start(author, changes);
            let watched = watch(&server, &mut crowd, self.window).await?;
            let author = writing.stop().await?;
            if let Kind::Gateway(_) | Kind::NodeChanges(_) = kind {
                crowd.shows(author.digest()).await.with_context(|| kind.to_string())?;
            }
            self.author = Some(author);
            if let Some(recorder) = recorder {
                *recorded = recorder.stop();
            }
            let mut run = watched.run(&times, changes);
            if kind == Kind::Node {
                // Each frame is one update. The newest step isn't reliable here: this server reads two partitions in
                // turns, and the cluster may delete records before it has read them.
                run.updates = run.frames;
            }
            self.count_lost(kind, run.lost);
            return Ok(run);
        };
        let replaying = Replaying::start(publisher, recorded.clone());
        let watched = watch(&server, &mut crowd, self.window).await?;
        let run = watched.run(&replaying.stop().await?, changes);
        self.count_lost(kind, run.lost);
        Ok(run)
    }
}

/// Writes a certificate that signs itself, and its key.
fn pem_files(folder: &Path) -> anyhow::Result<PemFiles> {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let files = PemFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, cert.pem())?;
    std::fs::write(&files.key, signing_key.serialize_pem())?;
    Ok(files)
}
