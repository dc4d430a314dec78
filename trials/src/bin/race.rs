//! The gateway beside others who do the same work: what a frame, a connection, a crowd cost, and how
//! long news takes. Every figure is taken beside its peers in the same run, since machines differ and
//! are shared.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Parser;
use kafka::{Embedded, plan};
use odds::Region;
use trials::race::{
    Author, Bare, Crowd, Finding, Frames, Goal, Ground, Kind, Limits, Recorder, Replaying, Run, Server, Size, Table,
    Writing, micros, quantile, watch,
};

const REGION: Region = Region::Uk;
const TICK: u32 = 100;
const ROUNDS: usize = 2;
/// How many milliseconds consumers let the cluster wait for news: what the gateway asks for. This cluster's
/// poll doesn't wake for news as a broker's does, so where latency is compared, all ask more often.
const FETCH_WAIT: u32 = 100;
const SHORTER_FETCH_WAIT: u32 = 10;
const SHORTEST_FETCH_WAIT: u32 = 5;
/// Of 1,000 clients.
const SIZE: Size = Size { clients: 1_000, watching: 50, mirroring: 5 };
/// In a step, of which there are twenty a second: two hundred updates a second.
const CHANGES: usize = 10;
/// With so many, frames have about one and eight kilobytes.
const SMALL: (usize, &str) = (2, "1 KB");
const LARGE: (usize, &str) = (16, "8 KB");
const CROWD: usize = 5_000;
/// Of those who get nothing so many come first, and what so many more take is the figure.
const FIRST: usize = 2_500;
const MORE: usize = 5_000;

/// Runs the gateway and its peers in turn, and prints what each costs.
#[derive(Debug, Parser)]
#[command(name = "race", version)]
struct Settings {
    /// The folder with the programs.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// The folder with the peers.
    #[arg(long, value_name = "DIR")]
    peers: PathBuf,

    /// Where logs, accounts and results go.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,

    /// For how many seconds each is measured, each time.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    seconds: u64,

    /// Only these legs.
    #[arg(value_name = "LEG")]
    legs: Vec<Leg>,

    /// Without this peer, where it can't be had.
    #[arg(long)]
    no_nchan: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Leg {
    /// A thousand clients, two hundred updates a second.
    Updates,
    /// The same frames through all who can send them.
    Frames,
    /// A connection that gets nothing.
    Idle,
    /// From a hundred clients to ten thousand.
    Growth,
    /// Five thousand who come at once.
    Crowd,
    /// From Kafka to the client, without a tick.
    Direct,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings: Settings = process::load();
    // Whoever set one before set the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    std::fs::create_dir_all(&settings.folder)?;
    let cluster = Embedded::start(&plan())?;
    let ground = Ground {
        binaries: settings.binaries.clone(),
        gateway: settings.binaries.join("gateway"),
        peers: settings.peers.clone(),
        folder: settings.folder.clone(),
        kafka: cluster.settings(),
        fetch_wait: FETCH_WAIT,
        region: REGION,
        limits: Limits::Lifted,
        settings: Vec::new(),
        environment: BTreeMap::new(),
    };
    let author = Author::start(&cluster, REGION).await?;
    let window = Duration::from_secs(settings.seconds);
    let mut race =
        Race { ground, author: Some(author), window, nchan: !settings.no_nchan, table: Table::default(), alone: None };
    let all = [Leg::Updates, Leg::Frames, Leg::Idle, Leg::Growth, Leg::Crowd, Leg::Direct];
    let legs = if settings.legs.is_empty() { &all[..] } else { &settings.legs };
    for leg in legs {
        match leg {
            Leg::Updates => race.updates().await?,
            Leg::Frames => race.frames().await?,
            Leg::Idle => race.idle().await?,
            Leg::Growth => race.growth().await?,
            Leg::Crowd => race.crowd().await?,
            Leg::Direct => race.direct().await?,
        }
    }
    let (met, goals) = race.table.met();
    println!("\n{}\n{met} of {goals} goals met", race.table.markdown());
    race.table.write(&settings.folder)
}

struct Race {
    ground: Ground,
    /// Away while it writes.
    author: Option<Author>,
    window: Duration,
    nchan: bool,
    table: Table,
    /// What the gateway takes of a core for nobody, once it is known.
    alone: Option<f64>,
}

impl Race {
    async fn updates(&mut self) -> anyhow::Result<()> {
        self.ask_every(FETCH_WAIT);
        println!("\n{} clients, 200 updates a second, a tick of {TICK} ms", SIZE.clients);
        let kinds = [Kind::Gateway(TICK), Kind::Node, Kind::NodeBatched(TICK)];
        let mut runs: BTreeMap<Kind, Run> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for kind in kinds {
                let run = self.run(kind, SIZE, CHANGES, &mut Frames::default()).await?;
                runs.entry(kind).or_default().add(run);
            }
        }
        let ours = runs[&kinds[0]].clone();
        for (kind, run) in &runs {
            let ratio = ours.per_cpu_second() / run.per_cpu_second();
            println!(
                "{:>14}: {}; Toteboard delivers {ratio:.1} x as many per CPU second",
                kind.to_string(),
                run.shown()
            );
            let goal = match kind {
                Kind::Gateway(_) => continue,
                Kind::Node => Goal::AtLeast(20.0),
                _ => Goal::AtLeast(1.5),
            };
            self.table.add(Finding {
                what: format!("updates delivered a CPU second, {} clients, 200 updates a second", SIZE.clients),
                ours: format!("{:.0}", ours.per_cpu_second()),
                beside: format!("{kind}: {:.0}", run.per_cpu_second()),
                ratio,
                goal,
            });
            self.table.add(Finding {
                what: "bytes an update".into(),
                ours: format!("{:.0}", ours.bytes / ours.updates),
                beside: format!("{kind}: {:.0}", run.bytes / run.updates),
                ratio: (ours.bytes / ours.updates) / (run.bytes / run.updates),
                goal: Goal::None,
            });
            self.table.add(Finding {
                what: format!("memory of the server with {} clients", SIZE.clients),
                ours: format!("{:.0} MB", ours.megabytes()),
                beside: format!("{kind}: {:.0} MB", run.megabytes()),
                ratio: ours.megabytes() / run.megabytes(),
                goal: Goal::None,
            });
        }
        let bars = runs.iter().map(|(kind, run)| (kind.to_string(), 1e6 / run.per_cpu_second())).collect();
        self.table.draw("CPU seconds of the server for a million updates delivered", bars);
        Ok(())
    }

    async fn frames(&mut self) -> anyhow::Result<()> {
        self.ask_every(FETCH_WAIT);
        for (changes, name) in [SMALL, LARGE] {
            println!("\n{} clients, ten frames of about {name} a second", SIZE.clients);
            let mut kinds = vec![Kind::Gateway(TICK), Kind::Floor];
            kinds.extend(self.nchan.then_some(Kind::Nchan));
            let mut runs: BTreeMap<Kind, Run> = BTreeMap::new();
            let mut recorded = Frames::default();
            for _ in 0..ROUNDS {
                for kind in &kinds {
                    let run = self.run(*kind, SIZE, changes, &mut recorded).await?;
                    runs.entry(*kind).or_default().add(run);
                }
            }
            let alone = self.alone().await?;
            let ours = runs[&kinds[0]].clone();
            let sending = ours.per_million_frames_beyond(alone);
            for (kind, run) in &runs {
                let theirs = run.per_million_frames();
                let (ratio, all) = (sending / theirs, ours.per_million_frames() / theirs);
                println!(
                    "{:>14}: {}; Toteboard takes {ratio:.2} x its CPU to send a frame",
                    kind.to_string(),
                    run.shown()
                );
                let goal = match (kind, changes) {
                    (Kind::Gateway(_), _) => continue,
                    (Kind::Nchan, _) if (changes, name) == SMALL => Goal::AtMost(1.0),
                    (Kind::Nchan, _) => Goal::AtMost(1.3),
                    _ if (changes, name) == SMALL => Goal::AtMost(1.5),
                    _ => Goal::None,
                };
                self.table.add(Finding {
                    what: format!("CPU seconds to send a million frames of {name}, {} clients", SIZE.clients),
                    ours: format!("{sending:.1}"),
                    beside: format!("{kind}: {theirs:.1} ({all:.2} x with reading Kafka and keeping the board)"),
                    ratio,
                    goal,
                });
            }
            let one = |(kind, run): (&Kind, &Run)| match kind {
                Kind::Gateway(_) => (kind.to_string(), sending),
                _ => (kind.to_string(), run.per_million_frames()),
            };
            let title = if (changes, name) == SMALL {
                "CPU seconds to send a million frames of 1 KB"
            } else {
                "CPU seconds to send a million frames of 8 KB"
            };
            self.table.draw(title, runs.iter().map(one).collect());
        }
        Ok(())
    }

    async fn idle(&mut self) -> anyhow::Result<()> {
        println!("\nconnections that get nothing");
        let mut kinds = vec![Kind::Gateway(TICK), Kind::Node, Kind::Floor];
        kinds.extend(self.nchan.then_some(Kind::Nchan));
        let mut bars = Vec::new();
        for kind in kinds {
            self.author()?.publish_all().await?;
            let server = Server::start(kind, &self.ground).await?;
            let target = server.target(false);
            let size = |clients| Size { clients, watching: 0, mirroring: 0 };
            let empty = server.memory()?;
            // The first ones pay for what is made once, and leave the holes of their handshakes to the next.
            let mut first = Crowd::start(&self.ground.binaries, &target, size(FIRST))?;
            first.joined().await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let before = server.memory()?;
            let mut more = Crowd::start(&self.ground.binaries, &target, size(MORE))?;
            more.joined().await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let each = (server.memory()? - before) / MORE as f64;
            let first_each = (before - empty) / FIRST as f64;
            println!(
                "{:>14}: {:.1} KB a connection; each of the first {FIRST} {:.1} KB",
                kind.to_string(),
                each / 1024.0,
                first_each / 1024.0
            );
            bars.push((kind.to_string(), each / 1024.0));
            first.leave().await?;
            more.leave().await?;
        }
        let others: Vec<String> = bars[1..].iter().map(|(name, each)| format!("{name}: {each:.1} KB")).collect();
        self.table.add(Finding {
            what: "memory of a connection that gets nothing, beside 20 KB".into(),
            ours: format!("{:.1} KB", bars[0].1),
            beside: others.join(", "),
            ratio: bars[0].1 / 20.0,
            goal: Goal::AtMost(1.0),
        });
        self.table.draw("KB of memory for a connection that gets nothing", bars);
        Ok(())
    }

    async fn growth(&mut self) -> anyhow::Result<()> {
        println!("\nfrom few clients to many, 200 updates a second");
        self.ask_every(SHORTER_FETCH_WAIT);
        let alone = self.alone().await?;
        println!("  nobody: {:.1} % of a core to read Kafka and keep the board", alone * 100.0);
        let mut recorded = Frames::default();
        let sizes = [SIZE.clients, 100, CROWD, 2 * CROWD];
        let kinds = [Kind::Gateway(TICK), Kind::Floor];
        let mut runs: BTreeMap<(usize, Kind), Run> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for clients in sizes {
                for kind in kinds {
                    let run = self.run(kind, Size { clients, ..SIZE }, CHANGES, &mut recorded).await?;
                    runs.entry((clients, kind)).or_default().add(run);
                }
            }
        }
        // By what more of them take, so that what a server has without clients is left out.
        let memory_each = |kind| {
            let [few, many] = [SIZE.clients, 2 * CROWD].map(|clients| (clients as f64, runs[&(clients, kind)].memory));
            (many.1 - few.1) / (many.0 - few.0) / 1024.0
        };
        let [ours, floor] = kinds.map(memory_each);
        self.table.add(Finding {
            what: format!("memory of a connection that gets all, of {}", 2 * CROWD),
            ours: format!("{ours:.1} KB"),
            beside: format!("floor: {floor:.1} KB"),
            ratio: ours / floor,
            goal: Goal::None,
        });
        let flat = runs[&(SIZE.clients, kinds[0])].per_million_frames_beyond(alone);
        for clients in sizes {
            let [ours, floor] = kinds.map(|kind| &runs[&(clients, kind)]);
            let sending = ours.per_million_frames_beyond(alone);
            println!("{clients:>8}  Toteboard: {}; {sending:.1} CPU s to send a million frames", ours.shown());
            println!("{clients:>8}      floor: {}", floor.shown());
            // A hundred are lost in what reading Kafka takes now and then.
            if clients > SIZE.clients {
                self.table.add(Finding {
                    what: format!("CPU seconds to send a million frames to {clients} clients"),
                    ours: format!("{sending:.1}"),
                    beside: format!("to {} clients: {flat:.1}; floor: {:.1}", SIZE.clients, floor.per_million_frames()),
                    ratio: sending / flat,
                    goal: Goal::AtMost(1.25),
                });
            }
            if clients == CROWD {
                let limit = f64::from(TICK) + 1.5 * floor.latency(0.99);
                self.table.add(Finding {
                    what: format!("p99 from Kafka to {clients} clients, beside the tick and 1.5 x the floor's"),
                    ours: format!("{:.0} ms", ours.latency(0.99)),
                    beside: format!("{limit:.0} ms"),
                    ratio: ours.latency(0.99) / limit,
                    goal: Goal::AtMost(1.0),
                });
            }
            if let Some(late) = ours.latest_tick.filter(|_| clients == 2 * CROWD) {
                self.table.add(Finding {
                    what: format!("the latest tick with {clients} clients, beside a tick"),
                    ours: format!("{late:.0} ms late"),
                    beside: format!("{TICK} ms"),
                    ratio: late / f64::from(TICK),
                    goal: Goal::AtMost(1.0),
                });
            }
        }
        Ok(())
    }

    fn ask_every(&mut self, fetch_wait: u32) {
        if self.ground.fetch_wait != fetch_wait {
            self.ground.fetch_wait = fetch_wait;
            self.alone = None;
        }
    }

    /// What the gateway takes of a core without a client: to read Kafka and to keep the board.
    async fn alone(&mut self) -> anyhow::Result<f64> {
        if let Some(alone) = self.alone {
            return Ok(alone);
        }
        let nobody = Size { clients: 0, watching: 0, mirroring: 0 };
        let mut all = Run::default();
        for _ in 0..ROUNDS {
            let mut nothing = Frames::default();
            all.add(self.run(Kind::Gateway(TICK), nobody, CHANGES, &mut nothing).await?);
        }
        Ok(*self.alone.insert(all.cpu / all.seconds))
    }

    async fn crowd(&mut self) -> anyhow::Result<()> {
        self.ask_every(SHORTER_FETCH_WAIT);
        println!("\n{CROWD} who come at once, while the board goes on changing");
        let mut ours = None;
        for kind in [Kind::Gateway(TICK), Kind::NodeBatched(TICK)] {
            self.author()?.publish_all().await?;
            let server = Server::start(kind, &self.ground).await?;
            let author = self.author.take().context("no author")?;
            let writing = Writing::start_at(author, CHANGES, 2);
            tokio::time::sleep(Duration::from_secs(2)).await;
            let size = Size { clients: CROWD, watching: 0, mirroring: 0 };
            let (cpu, begun) = (server.cpu_seconds()?, micros());
            let mut crowd = Crowd::start(&self.ground.binaries, &server.target(true), size)?;
            let mut took = crowd.joined().await?.took;
            let rate = CROWD as f64 * 1e6 / (micros() - begun) as f64;
            took.sort_unstable();
            let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize] as f64 / 1e6;
            let late = server.latest_tick().await?;
            let ticks = late.map(|late| format!("; ticks at most {late:.0} ms late")).unwrap_or_default();
            println!(
                "{:>14}: half have the board after {:.2} s, all after {:.2} s ({:.0} a second), {:.1} s of CPU{ticks}",
                kind.to_string(),
                at(0.5),
                at(1.0),
                rate,
                server.cpu_seconds()? - cpu,
            );
            match ours {
                None => ours = Some((at(1.0), late, rate)),
                Some((ours, late, our_rate)) => {
                    println!("                Toteboard takes {:.2} x as long", ours / at(1.0));
                    self.table.add(Finding {
                        what: format!("seconds until {CROWD} who come at once have a board of a quarter of a megabyte"),
                        ours: format!("{ours:.1}"),
                        beside: format!("{kind}: {:.1}", at(1.0)),
                        ratio: ours / at(1.0),
                        goal: Goal::AtMost(0.5),
                    });
                    self.table.add(Finding {
                        what: "handshakes a second, each with its board".into(),
                        ours: format!("{our_rate:.0}"),
                        beside: format!("{kind}: {rate:.0}"),
                        ratio: our_rate / rate,
                        goal: Goal::None,
                    });
                    let late = late.unwrap_or(f64::NAN);
                    self.table.add(Finding {
                        what: "the latest tick meanwhile, beside two ticks".into(),
                        ours: format!("{late:.0} ms late"),
                        beside: format!("{} ms", 2 * TICK),
                        ratio: late / f64::from(2 * TICK),
                        goal: Goal::AtMost(1.0),
                    });
                    let bars = vec![("Toteboard".into(), ours), (kind.to_string(), at(1.0))];
                    self.table.draw("seconds until 5,000 who come at once have their board", bars);
                }
            }
            crowd.leave().await?;
            self.author = Some(writing.stop().await?);
        }
        Ok(())
    }

    async fn direct(&mut self) -> anyhow::Result<()> {
        println!("\nfrom Kafka to 100 clients without a tick, beside a bare consumer of the topic");
        self.ask_every(SHORTEST_FETCH_WAIT);
        self.author()?.publish_all().await?;
        let times = self.author()?.times.clone();
        let bare = Bare::start(&self.ground)?;
        let size = Size { clients: 100, watching: 100, mirroring: 5 };
        let run = self.run(Kind::Gateway(0), size, CHANGES, &mut Frames::default()).await?;
        let (records, markers) = bare.stop(&times).await?;
        let line = |name: &str, sorted: &[u64]| {
            let at = |part| quantile(sorted, part);
            println!("{name:>14}: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", at(0.5), at(0.99), at(1.0));
        };
        line("all records", &records);
        line("and the marker", &markers);
        line("Toteboard", &run.latencies);
        let (ours, bare) = (run.latency(0.99), quantile(&records, 0.99));
        self.table.add(Finding {
            what: "p99 from Kafka to 100 clients without a tick".into(),
            ours: format!("{ours:.1} ms"),
            beside: format!("a bare consumer: {bare:.1} ms"),
            ratio: ours / bare,
            goal: Goal::AtMost(2.0),
        });
        Ok(())
    }

    fn author(&mut self) -> anyhow::Result<&mut Author> {
        self.author.as_mut().context("the author is away")
    }

    /// One server with its clients, for the length of the window. What the gateway sends is recorded, if
    /// nothing is yet; it is what those are handed who make no frames.
    async fn run(&mut self, kind: Kind, size: Size, changes: usize, recorded: &mut Frames) -> anyhow::Result<Run> {
        self.author()?.publish_all().await?;
        let server = Server::start(kind, &self.ground).await?;
        let mut crowd = Crowd::start(&self.ground.binaries, &server.target(true), size)?;
        crowd.joined().await?;
        let Some(publisher) = server.publisher().await? else {
            let recorder = match kind {
                Kind::Gateway(_) if recorded.is_empty() => Some(Recorder::start(&server).await?),
                _ => None,
            };
            let author = self.author.take().context("no author")?;
            let times = author.times.clone();
            let writing = Writing::start(author, changes);
            let watched = watch(&server, &mut crowd, self.window).await?;
            let author = writing.stop().await?;
            if let Kind::Gateway(_) = kind {
                crowd.shows(author.digest()).await?;
            }
            self.author = Some(author);
            if let Some(recorder) = recorder {
                *recorded = recorder.stop();
            }
            let mut run = watched.run(&times, changes);
            if kind == Kind::Node {
                // Each frame is one update. What the newest step is says little where two partitions are read in
                // turns, and nothing once the log is lost from under a reader.
                run.updates = run.frames;
            }
            return Ok(run);
        };
        let replaying = Replaying::start(publisher, recorded.clone());
        let watched = watch(&server, &mut crowd, self.window).await?;
        Ok(watched.run(&replaying.stop().await?, changes))
    }
}
