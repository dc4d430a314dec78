//! What a gateway's start costs when the topics keep an hour of changes: on real brokers, a topic gets a board and the
//! changes of an hour, and gateways are started before and after that.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::ensure;
use clap::Parser;
use futures::future::try_join_all;
use kafka::KafkaSettings;
use odds::Region;
use service::ProgramSettings;
use tokio::time::Instant;
use trials::{
    Engine, Engines, TrialSettings,
    past::{Past, STEPS_A_SECOND, Written},
    race::{Ground, Kind, Limits, Security, Server},
};

const REGION: Region = Region::Uk;
const HOUR: Duration = Duration::from_secs(3_600);
const TICK: u32 = 100;
const STARTS: usize = 3;
const MB: f64 = 1e6;

/// Measures how long a gateway takes to be ready, with a board alone and with an hour of changes.
#[derive(Debug, Parser)]
#[command(name = "loading", version)]
struct Settings {
    /// Quotes that change in a second of the hour.
    #[arg(long, value_name = "CHANGES", value_parser = clap::value_parser!(u32).range(i64::from(STEPS_A_SECOND)..))]
    changes: u32,

    /// The most seconds until the gateway is ready with the hour of changes.
    #[arg(long, value_name = "SECONDS")]
    goal: Option<f64>,

    #[command(flatten)]
    trial: TrialSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

/// What a start costs.
#[derive(Clone, Copy, Debug)]
struct Start {
    ready: Duration,
    cpu_seconds: f64,
    memory: f64,
    most_memory: f64,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("loading")?;
    trials::run(program, async move |_| loading(settings).await).await
}

async fn loading(settings: Settings) -> anyhow::Result<()> {
    let engines = Engines::read(&settings.trial.engines)?;
    let kafka = KafkaSettings { brokers: engines.tools_bootstrap.clone(), properties: Vec::new() };
    let parts = settings.trial.parts(&kafka);
    let _brokers = try_join_all(engines.brokers.into_iter().map(Engine::start)).await?;
    parts.topics().await?;
    let ground = Ground {
        gateway: settings.trial.binaries.join("gateway"),
        binaries: settings.trial.binaries,
        peers: PathBuf::new(),
        folder: settings.trial.logs,
        kafka: kafka.clone(),
        fetch_wait: None,
        region: REGION,
        limits: Limits::Lifted,
        compression: false,
        security: Security::None,
        settings: Vec::new(),
        environment: BTreeMap::new(),
    };
    let hour_ago = service::now().plus_millis(-i64::try_from(HOUR.as_millis())?);
    let mut past = Past::start(&kafka, REGION, hour_ago).await?;
    println!("| topic | ready after | CPU | memory then | most memory |\n|---|---|---|---|---|");
    let alone = start(&ground).await?;
    print("a board alone", alone);
    let began = Instant::now();
    let written = past.write(HOUR, settings.changes.div_ceil(STEPS_A_SECOND) as usize).await?;
    let took = began.elapsed();
    parts.in_sync().await?;
    let hour = start(&ground).await?;
    print(&format!("and an hour with {} changes a second", settings.changes), hour);
    let Written { records, bytes } = written;
    println!("{records} records with {:.0} MB, written in {took:.0?}", bytes as f64 / MB);
    let goal = settings.goal.unwrap_or(f64::INFINITY);
    ensure!(hour.ready.as_secs_f64() <= goal, "the gateway was ready after {:.1?}, not within {goal} s", hour.ready);
    Ok(())
}

/// Starts a gateway several times. Returns the start with the median time.
async fn start(ground: &Ground) -> anyhow::Result<Start> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let server = Server::start(Kind::Gateway(TICK), ground).await?;
        starts.push(Start {
            ready: server.ready_after,
            cpu_seconds: server.cpu_seconds()?,
            memory: server.memory()?,
            most_memory: server.most_memory()?,
        });
    }
    starts.sort_by_key(|start| start.ready);
    Ok(starts[STARTS / 2])
}

fn print(topic: &str, start: Start) {
    let Start { ready, cpu_seconds, memory, most_memory } = start;
    println!("| {topic} | {ready:.1?} | {cpu_seconds:.1} s | {:.0} MB | {:.0} MB |", memory / MB, most_memory / MB);
}
