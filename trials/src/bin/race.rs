//! The gateway beside others who do the same work: what a frame, a connection, a crowd cost, and how
//! long news takes. Every figure is taken beside its peers in the same run, since machines differ and
//! are shared.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Parser;
use kafka::{Embedded, plan};
use odds::Region;
use trials::race::{
    Author, Bare, Crowd, Frames, Ground, Kind, Recorder, Replaying, Run, Server, Size, Writing, micros, quantile, watch,
};

const REGION: Region = Region::Uk;
const TICK: u32 = 100;
const ROUNDS: usize = 2;
/// Of 1,000 clients.
const SIZE: Size = Size { clients: 1_000, watching: 50, mirroring: 5 };
/// In a step, of which there are twenty a second: two hundred updates a second.
const CHANGES: usize = 10;
/// With so many, frames have about one and eight kilobytes.
const SMALL: (usize, &str) = (2, "1 KB");
const LARGE: (usize, &str) = (16, "8 KB");
const CROWD: usize = 5_000;

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
        peers: settings.peers.clone(),
        folder: settings.folder.clone(),
        kafka: cluster.settings(),
        region: REGION,
    };
    let author = Author::start(&cluster, REGION).await?;
    let window = Duration::from_secs(settings.seconds);
    let mut race = Race { ground, author: Some(author), window, nchan: !settings.no_nchan };
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
    Ok(())
}

struct Race {
    ground: Ground,
    /// Away while it writes.
    author: Option<Author>,
    window: Duration,
    nchan: bool,
}

impl Race {
    async fn updates(&mut self) -> anyhow::Result<()> {
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
        }
        Ok(())
    }

    async fn frames(&mut self) -> anyhow::Result<()> {
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
            let ours = runs[&kinds[0]].clone();
            for (kind, run) in &runs {
                let ratio = ours.per_million_frames() / run.per_million_frames();
                println!("{:>14}: {}; Toteboard takes {ratio:.2} x its CPU a frame", kind.to_string(), run.shown());
            }
        }
        Ok(())
    }

    async fn idle(&mut self) -> anyhow::Result<()> {
        println!("\nconnections that get nothing");
        let mut kinds = vec![Kind::Gateway(TICK), Kind::Node, Kind::Floor];
        kinds.extend(self.nchan.then_some(Kind::Nchan));
        for kind in kinds {
            self.author()?.publish_all().await?;
            let server = Server::start(kind, &self.ground).await?;
            let goal = server.goal(false);
            let size = |clients| Size { clients, watching: 0, mirroring: 0 };
            // The first ones pay for what is made once.
            let mut first = Crowd::start(&self.ground.binaries, &goal, size(500))?;
            first.joined().await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let before = server.memory()?;
            let mut more = Crowd::start(&self.ground.binaries, &goal, size(2_000))?;
            more.joined().await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let each = (server.memory()? - before) / 2_000.0;
            println!("{:>14}: {:.1} KB a connection", kind.to_string(), each / 1024.0);
            first.leave().await?;
            more.leave().await?;
        }
        Ok(())
    }

    async fn growth(&mut self) -> anyhow::Result<()> {
        println!("\nfrom few clients to many, 200 updates a second");
        let mut recorded = Frames::default();
        let mut fixed = 0.0;
        for clients in [0, 100, 1_000, CROWD, 2 * CROWD] {
            let size = Size { clients, watching: clients.min(50), mirroring: clients.min(2) };
            let mut before = None;
            for kind in [Kind::Gateway(TICK), Kind::Floor] {
                if clients == 0 && kind == Kind::Floor {
                    continue;
                }
                let run = self.run(kind, size, CHANGES, &mut recorded).await?;
                if clients == 0 {
                    fixed = run.cpu / run.seconds;
                    println!("  nobody: {:.1} % of a core to read Kafka and keep the board", fixed * 100.0);
                    continue;
                }
                let own = if kind == Kind::Floor { 0.0 } else { fixed * run.seconds };
                println!(
                    "{:>8} {:>10}: {}; without what it takes for nobody {:.1} s a million frames",
                    clients,
                    kind.to_string(),
                    run.shown(),
                    (run.cpu - own) / run.frames * 1e6
                );
                match before.replace(run.clone()) {
                    None => {}
                    Some(ours) => println!(
                        "         p99 {:.0} ms, the tick and 1.5 x the floor's are {:.0} ms; {:.2} x its CPU a frame",
                        ours.latency(0.99),
                        f64::from(TICK) + 1.5 * run.latency(0.99),
                        ours.per_million_frames() / run.per_million_frames()
                    ),
                }
            }
        }
        Ok(())
    }

    async fn crowd(&mut self) -> anyhow::Result<()> {
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
            let mut crowd = Crowd::start(&self.ground.binaries, &server.goal(true), size)?;
            let mut took = crowd.joined().await?.took;
            let wall = (micros() - begun) as f64 / 1e6;
            took.sort_unstable();
            let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize] as f64 / 1e6;
            let late = server.latest_tick().await?;
            let ticks = late.map(|late| format!("; ticks at most {late:.0} ms late")).unwrap_or_default();
            println!(
                "{:>14}: half have the board after {:.2} s, all after {:.2} s ({:.0} a second), {:.1} s of CPU{ticks}",
                kind.to_string(),
                at(0.5),
                at(1.0),
                CROWD as f64 / wall,
                server.cpu_seconds()? - cpu,
            );
            match ours {
                None => ours = Some(at(1.0)),
                Some(ours) => println!("                Toteboard takes {:.2} x as long", ours / at(1.0)),
            }
            crowd.leave().await?;
            self.author = Some(writing.stop().await?);
        }
        Ok(())
    }

    async fn direct(&mut self) -> anyhow::Result<()> {
        println!("\nfrom Kafka to 100 clients without a tick, beside a bare consumer of the topic");
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
        println!("                p99 is {:.2} x the bare consumer's", run.latency(0.99) / quantile(&records, 0.99));
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
        let before = server.memory()?;
        let mut crowd = Crowd::start(&self.ground.binaries, &server.goal(true), size)?;
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
            return Ok(watched.run(&times, changes, before));
        };
        let replaying = Replaying::start(publisher, recorded.clone());
        let watched = watch(&server, &mut crowd, self.window).await?;
        Ok(watched.run(&replaying.stop().await?, changes, before))
    }
}
