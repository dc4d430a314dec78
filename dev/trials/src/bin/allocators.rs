//! Compares the gateway's memory and CPU time with different allocators or allocator settings, for connections, frames
//! and sign-ins. Each stage starts a new gateway.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use kafka::{Embedded, all_topics};
use odds::Region;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};
use trials::race::{Author, Crowd, Ground, Kind, Limits, Security, Server, Size, Writing, watch};

const REGION: Region = Region::Uk;
const TICK: u32 = 100;
const FETCH_WAIT: u32 = 100;
const CONNECTIONS: Size = Size { clients: 10_000, watching: 0, mirroring: 0 };
const READERS: Size = Size { clients: 1_000, watching: 50, mirroring: 5 };
/// Changes per step; there are twenty steps a second.
const CHANGES: usize = 10;
const SETTLE: Duration = Duration::from_secs(3);
const SIGN_IN_FOR: Duration = Duration::from_secs(20);
/// The number of clients that sign in repeatedly, and of those that download a file repeatedly. All sign in as one
/// user, who may make ten attempts at once.
const VISITORS: usize = 8;
/// About the size of the page's largest file.
const FILE_BYTES: usize = 600_000;

/// Compares gateways with different allocators, and prints a table.
#[derive(Debug, Parser)]
#[command(name = "allocators", version)]
struct Settings {
    /// Folder with the programs.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// Folder for logs and accounts.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,

    /// Seconds to count frames.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,

    /// Variants to compare: a name, another program, environment variables: NAME[,FILE][,VARIABLE=VALUE]…
    #[arg(value_name = "GATEWAY", required = true)]
    gateways: Vec<Variant>,
}

#[derive(Clone, Debug)]
struct Variant {
    name: String,
    program: Option<PathBuf>,
    environment: BTreeMap<String, String>,
}

impl FromStr for Variant {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = text.split(',');
        let name = parts.next().filter(|name| !name.is_empty()).context("a gateway needs a name")?.to_owned();
        let (mut program, mut environment) = (None, BTreeMap::new());
        for part in parts {
            match part.split_once('=') {
                Some((variable, value)) => drop(environment.insert(variable.to_owned(), value.to_owned())),
                None => program = Some(part.into()),
            }
        }
        Ok(Self { name, program, environment })
    }
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let page = settings.folder.join("page");
    std::fs::create_dir_all(page.join("assets"))?;
    std::fs::write(page.join("index.html"), "<!doctype html><title>A page</title>")?;
    std::fs::write(page.join("assets/large.wasm"), vec![7; FILE_BYTES])?;
    let cluster = Embedded::start(&all_topics())?;
    let mut author = Some(Author::start(&cluster.settings(), REGION).await?);
    println!("{HEAD}");
    for variant in &settings.gateways {
        let ground = Ground {
            binaries: settings.binaries.clone(),
            gateway: variant.program.clone().unwrap_or_else(|| settings.binaries.join("gateway")),
            peers: PathBuf::new(),
            folder: settings.folder.clone(),
            kafka: cluster.settings(),
            fetch_wait: Some(FETCH_WAIT),
            region: REGION,
            limits: Limits::Lifted,
            compression: false,
            security: Security::None,
            settings: vec![format!("--page={}", page.display()), "--attempts-per-minute=100000".into()],
            environment: variant.environment.clone(),
        };
        let connections = connections(&ground).await?;
        let frames = frames(&ground, &mut author, Duration::from_secs(settings.seconds)).await?;
        let sign_ins = sign_ins(&ground).await?;
        println!("| {} | {connections} | {frames} | {sign_ins} |", variant.name);
    }
    Ok(())
}

const HEAD: &str = "\
| allocator | memory at first; of a connection; left by 10,000 | updates a CPU second; p99; memory | sign-ins a second; files a \
second; most memory; left |
|---|---|---|---|";

const MIB: f64 = 1024.0 * 1024.0;

async fn connections(ground: &Ground) -> anyhow::Result<String> {
    let server = Server::start(Kind::Gateway(TICK), ground).await?;
    let before = server.memory()?;
    let mut crowd = Crowd::start(&ground.binaries, &server.target(false), CONNECTIONS)?;
    crowd.joined().await?;
    tokio::time::sleep(SETTLE).await;
    let of_one = (server.memory()? - before) / CONNECTIONS.clients as f64;
    crowd.leave().await?;
    tokio::time::sleep(SETTLE).await;
    let left = server.memory()? - before;
    Ok(format!("{:.0} MB; {:.1} KB; {:.0} MB", before / MIB, of_one / 1024.0, left / MIB))
}

async fn frames(ground: &Ground, author: &mut Option<Author>, window: Duration) -> anyhow::Result<String> {
    let mut writer = author.take().context("a failed stage has lost the author")?;
    writer.publish_all().await?;
    let server = Server::start(Kind::Gateway(TICK), ground).await?;
    let mut crowd = Crowd::start(&ground.binaries, &server.target(true), READERS)?;
    crowd.joined().await?;
    let times = writer.times.clone();
    let writing = Writing::start(writer, CHANGES);
    let watched = watch(&server, &mut crowd, window).await?;
    let writer = writing.stop().await?;
    crowd.shows(writer.digest()).await?;
    crowd.leave().await?;
    *author = Some(writer);
    let run = watched.run(&times, CHANGES);
    Ok(format!("{:.0}; {:.0} ms; {:.0} MB", run.per_cpu_second(), run.latency(0.99), run.megabytes()))
}

async fn sign_ins(ground: &Ground) -> anyhow::Result<String> {
    let server = Server::start(Kind::Gateway(TICK), ground).await?;
    let before = server.memory()?;
    let (signed_in, loaded) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let end = Instant::now() + SIGN_IN_FOR;
    let http = reqwest::Client::new();
    let mut visitors = JoinSet::new();
    for number in 0..2 * VISITORS {
        let (http, origin) = (http.clone(), format!("http://{}", server.address()));
        let (signs_in, count) = (number < VISITORS, if number < VISITORS { &signed_in } else { &loaded }.clone());
        visitors.spawn(async move {
            while Instant::now() < end {
                let request = match signs_in {
                    true => http
                        .post(format!("{origin}/api/login"))
                        .header("origin", &origin)
                        .header("content-type", "application/json")
                        .body(json!({ "name": "trial", "password": trials::PASSWORD }).to_string()),
                    false => http.get(format!("{origin}/assets/large.wasm")),
                };
                let answer = request.send().await?.error_for_status()?;
                answer.bytes().await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    let mut most = before;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(server.memory()?);
    }
    while let Some(visitor) = visitors.join_next().await {
        visitor??;
    }
    tokio::time::sleep(SETTLE).await;
    let left = server.memory()?;
    let a_second = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64 / SIGN_IN_FOR.as_secs_f64();
    Ok(format!("{:.1}; {:.0}; {:.0} MB; {:.0} MB", a_second(&signed_in), a_second(&loaded), most / MIB, left / MIB))
}
