//! A drill on real engines: three brokers, a MongoDB, producers, two gateways and clients, over TLS and SASL. Each
//! server is killed in turn and restarted, and at the end every client must show the truth.

use std::{
    collections::BTreeMap,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use client::{BoardMirrors, Client, ClientError, MirrorUpdate, ServerMessage};
use futures::future::try_join_all;
use history::{Moment, Playback, Played, StoreUrl};
use kafka::{KEEP_CHANGES, KafkaSettings, region_topic};
use odds::{Region, StepId, Timestamp};
use producers::simulator::{Shown, Simulator, SimulatorSettings};
use rand::seq::IndexedRandom;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use serde_json::json;
use service::{Lifecycle, ProgramSettings};
use tokio::sync::watch;
use trials::{
    Engine, Engines, Fleet, Forger, Gateway, Parts, RECOVERS_WITHIN, SPEED, TrialSettings, Watcher, forgeries,
    serve_simulator, simulated, token, truth,
};

const CLIENTS: usize = 6;
/// How many boards of the past are compared.
const LOOKS_BACK: usize = 100;
/// Time limit for a region to be live again after a forged record.
const LIVE_WITHIN: Duration = Duration::from_secs(20);
/// How long a killed process stays down.
const DEAD_FOR: Duration = Duration::from_secs(8);

/// Starts a whole system, kills its servers one after the other, and checks that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "drill", version)]
struct Settings {
    #[command(flatten)]
    trial: TrialSettings,

    #[command(flatten)]
    simulator: SimulatorSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("drill")?;
    trials::run(program, async move |lifecycle| drill(settings, &lifecycle).await).await
}

async fn drill(settings: Settings, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let engines = Engines::read(&settings.trial.engines)?;
    let kafka = engines.kafka()?;
    let Engines { brokers, mongodb, mongodb_url, tools, tools_bootstrap, .. } = engines;
    let mut brokers = try_join_all(brokers.into_iter().map(Engine::start)).await?;
    let mut mongodb = Engine::start(mongodb).await?;
    println!("three brokers and a store are up");
    let parts = settings.trial.parts(&kafka);
    parts.topics().await?;
    parts.another_topic().await?;

    let simulator = SimulatorSettings { speed: SPEED, ..settings.simulator };
    let (simulator, source) = serve_simulator(&simulator, lifecycle).await?;
    let mut fleet = Fleet::start(&settings.trial.binaries, &settings.trial.logs, &kafka, &Region::ALL, |region| {
        simulated(&source, region)
    })?;
    let mut watchers: Vec<Watcher> = Region::ALL.into_iter().map(|region| Watcher::start(&kafka, region)).collect();
    let mut historians = [parts.historian("one")?, parts.historian("two")?];
    let mut gateways = [parts.gateway("one", &mongodb_url)?, parts.gateway("two", &mongodb_url)?];
    for gateway in &mut gateways {
        gateway.is_ready().await?;
    }
    let addresses: Vec<String> = gateways.iter().map(|gateway| gateway.address.clone()).collect();
    let token = token(&addresses[0], "trial").await?;
    for gateway in &mut gateways {
        gateway.token.clone_from(&token);
    }
    let clients: Vec<Mirroring> = (0..CLIENTS).map(|n| Mirroring::start(n, addresses.clone(), token.clone())).collect();
    goes_on(&Region::ALL, &mut watchers, &clients).await?;
    println!("{CLIENTS} clients at two gateways mirror what eight producers publish, over TLS and SASL/SCRAM");

    for (n, broker) in brokers.iter_mut().enumerate() {
        broker.kill()?;
        tokio::time::sleep(DEAD_FOR).await;
        let began = Instant::now();
        // A region with one replica gets no updates until its broker is back.
        let replicated = Region::ALL.into_iter().filter(|region| replicas(*region) > 1).collect::<Vec<_>>();
        goes_on(&replicated, &mut watchers, &clients)
            .await
            .with_context(|| format!("while broker {} is dead", n + 1))?;
        let without = began.elapsed();
        broker.revive().await?;
        parts.in_sync().await.with_context(|| format!("after broker {} came back", n + 1))?;
        goes_on(&Region::ALL, &mut watchers, &clients).await?;
        let without = without.as_secs();
        println!("broker {}: killed; updates continued after another {without} s; back and in sync", n + 1);
    }

    fleet.kill_leader(Region::Uk).await?;
    goes_on(&Region::ALL, &mut watchers, &clients).await.context("after a producer died")?;
    fleet.revive()?;
    println!("a leading producer: killed; its standby leads");

    for historian in &mut historians {
        historian.kill()?;
        tokio::time::sleep(DEAD_FOR).await;
        historian.revive()?;
    }
    println!("two historians: each killed, and back");

    let before = resumes(&clients);
    gateways[0].part.kill()?;
    tokio::time::sleep(DEAD_FOR).await;
    goes_on(&Region::ALL, &mut watchers, &clients).await.context("while a gateway is dead")?;
    gateways[0].part.revive()?;
    gateways[0].is_ready().await?;
    let resumed = resumes(&clients) - before;
    ensure!(resumed > 0, "no client resumed at the other gateway");
    println!("a gateway: killed; {resumed} boards resumed at the other gateway; back");

    fence(&parts, &mongodb_url, &mut gateways).await?;
    goes_on(&Region::ALL, &mut watchers, &clients).await.context("after an instance was fenced")?;

    mongodb.kill()?;
    tokio::time::sleep(DEAD_FOR).await;
    goes_on(&Region::ALL, &mut watchers, &clients).await.context("while the store is dead")?;
    let status = me(&addresses[1], &token).await?;
    ensure!(status == 503, "without a store, a request for an account returns {status}, not 503");
    mongodb.revive().await?;
    let end = Instant::now() + RECOVERS_WITHIN;
    while me(&addresses[1], &token).await? != 200 {
        ensure!(Instant::now() < end, "accounts are not available after the store is back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("the store: killed; odds continued, requests for accounts returned 503; back");

    let before = resumes(&clients);
    let zone = (&mut brokers[2], &mut gateways[1].part, &mut historians[1]);
    fleet.kill_leader(Region::Us).await?;
    fleet.kill_leader(Region::Uk).await?;
    zone.0.kill()?;
    zone.1.kill()?;
    zone.2.kill()?;
    tokio::time::sleep(DEAD_FOR).await;
    // Those with one replica may have it there.
    goes_on(&[Region::Us, Region::Uk], &mut watchers, &clients).await.context("without a zone")?;
    ensure!(resumes(&clients) > before, "no client resumed at the other gateway");
    zone.0.revive().await?;
    zone.1.revive()?;
    zone.2.revive()?;
    fleet.revive()?;
    parts.in_sync().await.context("after a zone came back")?;
    gateways[1].is_ready().await?;
    goes_on(&Region::ALL, &mut watchers, &clients).await.context("after a zone came back")?;
    println!("a zone (a broker, a gateway, two leading producers, a historian): killed; updates continued; back");

    for watcher in &watchers {
        watcher.tolerate();
    }
    let (forged, growing) = (Region::Uk, Region::Au);
    forge(&kafka, forged, &mut watchers, &clients, &mut fleet, &mut gateways).await?;

    let watcher = watchers.iter_mut().find(|watcher| watcher.region == growing).expect("each region has one");
    let before = watcher.seen.borrow().newest.term;
    let partitions = grow(&kafka, growing).await?;
    let began = Instant::now();
    // Its leader begins a new term, which uses the new partitions.
    tokio::time::timeout(RECOVERS_WITHIN, watcher.seen.wait_for(|seen| seen.newest.term > before))
        .await
        .with_context(|| format!("{growing}: no leader has noticed the new partitions"))??;
    live_again(growing, RECOVERS_WITHIN, &mut watchers, &clients, &gateways).await.context("with more partitions")?;
    let live_after = began.elapsed();
    gateways[0].part.kill()?;
    gateways[0].part.revive()?;
    gateways[0].is_ready().await?;
    live_again(growing, RECOVERS_WITHIN, &mut watchers, &clients, &gateways).await.context("at a new gateway")?;
    println!(
        "{growing}: grown to {partitions} partitions; live after {} s, and at a restarted gateway",
        live_after.as_secs()
    );

    fleet.lives()?;
    for gateway in &mut gateways {
        gateway.part.lives()?;
    }
    let frozen = simulator.freeze();
    println!("the simulated world is frozen at {frozen}");
    for watcher in &mut watchers {
        watcher.wait_for(&simulator).await?;
    }
    for client in &clients {
        client.shows(&simulator).await?;
    }
    for watcher in &watchers {
        let seen = watcher.seen.borrow();
        let region = watcher.region;
        println!("{region}: {} steps in {} terms, {} quotes, all true", seen.steps, seen.terms, seen.quotes);
    }
    for historian in &mut historians {
        historian.lives()?;
    }
    recorded(&parts, &watchers).await?;
    let frames: u64 = clients.iter().map(|client| client.counts.frames.load(Ordering::Relaxed)).sum();
    println!("{frames} frames; every client shows the truth; {} boards resumed", resumes(&clients));
    lag(&tools, &tools_bootstrap).await?;
    fleet.end();
    Ok(())
}

/// Fails unless the history has each step that the watchers saw, exactly, and the boards of some at random.
async fn recorded(parts: &Parts, watchers: &[Watcher]) -> anyhow::Result<()> {
    let store = StoreUrl::Sqlite(parts.history()).open().await?;
    for watcher in watchers {
        let (region, all) = (watcher.region, watcher.seen.borrow().all.clone());
        let newest = all.iter().map(|(id, ..)| *id).max().context("no step was seen")?;
        let end = Instant::now() + RECOVERS_WITHIN;
        while store.board_at(region, Moment::Step(newest)).await.is_err() {
            ensure!(Instant::now() < end, "{region}: the newest step {newest} is not recorded");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        // A playback compares each board with the digest of its step.
        let begin = Moment::At(Timestamp::default());
        let (mut playback, _) = Playback::start(store.clone(), region, begin, None).await?;
        let mut steps = BTreeMap::new();
        loop {
            steps.insert(playback.step(), (playback.marker().at, playback.marker().digest));
            if let Played::End(_) = playback.next().await? {
                break;
            }
        }
        for (id, at, digest) in &all {
            let found = steps.get(id);
            ensure!(found == Some(&(*at, *digest)), "{region}: of step {id}, the history has {found:?}");
        }
        let chosen: Vec<_> = all.sample(&mut rand::rng(), LOOKS_BACK).copied().collect();
        for (id, at, digest) in chosen {
            for moment in [Moment::Step(id), Moment::At(at)] {
                let board = store.board_at(region, moment).await.with_context(|| format!("{region}: {moment:?}"))?;
                let found = (board.id, board.marker.digest, board.board.digest());
                ensure!(found == (id, digest, digest), "{region}: at step {id}, the history has {found:?}");
            }
        }
    }
    println!("the history has every step, and {LOOKS_BACK} random boards of each region, exactly");
    Ok(())
}

/// Starts a second gateway with the instance name of the first. Kafka fences the first, which must log why and exit.
async fn fence(parts: &Parts, store: &str, gateways: &mut [Gateway]) -> anyhow::Result<()> {
    let older = &mut gateways[0];
    let mut newer = parts.namesake("one", store)?;
    let began = Instant::now();
    let (code, log) = older.part.ends(RECOVERS_WITHIN).await?;
    let after = began.elapsed().as_secs();
    ensure!(code == Some(1), "a fenced instance exits with {code:?}, not 1");
    ensure!(log.contains("another process is instance \"one\" of group"), "a fenced instance logs no reason: {log}");
    newer.is_ready().await?;
    // What an operator would do: stop the wrong gateway and restart the right one.
    newer.part.kill()?;
    older.part.revive()?;
    older.is_ready().await?;
    println!("two gateways with one name: after {after} s the older logged the reason and exited; the newer was ready");
    Ok(())
}

/// Writes all forged records, one by one. Fails if a process ends, or if the region is not live again each time.
async fn forge(
    kafka: &KafkaSettings,
    region: Region,
    watchers: &mut [Watcher],
    clients: &[Mirroring],
    fleet: &mut Fleet,
    gateways: &mut [Gateway],
) -> anyhow::Result<()> {
    let forger = Forger::new(kafka, region)?;
    let partitions = region_topic(region, KEEP_CHANGES).partitions;
    let at = watchers.iter().position(|watcher| watcher.region == region).context("the region has no watcher")?;
    let (count, mut longest) = (forgeries(StepId::default()).len(), Duration::ZERO);
    for n in 0..count {
        let newest = watchers[at].seen.borrow().newest;
        let forgery = &forgeries(newest)[n];
        let began = Instant::now();
        forger.write(forgery, partitions).await?;
        live_again(region, LIVE_WITHIN, watchers, clients, gateways).await.with_context(|| forgery.what)?;
        longest = longest.max(began.elapsed());
        fleet.lives()?;
        for gateway in &mut *gateways {
            gateway.part.lives()?;
        }
    }
    let anew = watchers[at].seen.borrow().anew;
    let longest = longest.as_secs_f64();
    println!("{count} forged records: no process ended; {region} reread {anew} times, live within {longest:.1} s");
    Ok(())
}

/// Waits until there is a new step, every client has received it, and every gateway reports the region as live.
async fn live_again(
    region: Region,
    within: Duration,
    watchers: &mut [Watcher],
    clients: &[Mirroring],
    gateways: &[Gateway],
) -> anyhow::Result<()> {
    let waiting = async {
        goes_on(&[region], watchers, clients).await?;
        for gateway in gateways {
            while !gateway.is_live(region).await? {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(within, waiting).await.context("the region is not live again in time")?
}

/// Adds two partitions to a region's topic, and returns the new number.
async fn grow(kafka: &KafkaSettings, region: Region) -> anyhow::Result<usize> {
    let admin: AdminClient<DefaultClientContext> = kafka.client(None, &[]).create()?;
    let partitions = region_topic(region, KEEP_CHANGES).partitions as usize + 2;
    let topic = NewPartitions::new(kafka::topic_of(region), partitions);
    for done in admin.create_partitions(&[topic], &AdminOptions::new()).await? {
        done.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(partitions)
}

fn replicas(region: Region) -> i32 {
    region_topic(region, KEEP_CHANGES).replication
}

/// Waits until each of these regions has a new step, and every client has a new frame of each region.
async fn goes_on(regions: &[Region], watchers: &mut [Watcher], clients: &[Mirroring]) -> anyhow::Result<()> {
    let waiting = async {
        for watcher in watchers.iter_mut().filter(|watcher| regions.contains(&watcher.region)) {
            let before = watcher.seen.borrow().steps;
            watcher.seen.wait_for(|seen| seen.wrong.is_some() || seen.steps > before).await?;
            watcher.check()?;
        }
        for client in clients {
            let mut seen = client.seen.clone();
            let before = seen.borrow().frames.clone();
            let all_new = |now: &Showing| {
                now.wrong.is_some() || regions.iter().all(|region| now.frames.get(region) > before.get(region))
            };
            let now = seen.wait_for(all_new).await?;
            if let Some(wrong) = &now.wrong {
                bail!("{wrong}");
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(RECOVERS_WITHIN, waiting).await.context("no new odds in time")?
}

fn resumes(clients: &[Mirroring]) -> u64 {
    clients.iter().map(|client| client.counts.resumed.load(Ordering::Relaxed)).sum()
}

/// Requests the token's account, and returns the HTTP status.
async fn me(address: &str, token: &str) -> anyhow::Result<u16> {
    let asked = reqwest::Client::new().get(format!("http://{address}/api/me")).bearer_auth(token).send().await?;
    Ok(asked.status().as_u16())
}

/// A client that mirrors all regions, and resumes at the next gateway when a connection ends.
struct Mirroring {
    n: usize,
    counts: Arc<Counts>,
    seen: watch::Receiver<Showing>,
}

#[derive(Debug, Default)]
struct Counts {
    frames: AtomicU64,
    resumed: AtomicU64,
}

#[derive(Debug, Default)]
struct Showing {
    /// Number of frames of each region.
    frames: BTreeMap<Region, u64>,
    boards: BTreeMap<Region, Shown>,
    wrong: Option<String>,
}

impl Mirroring {
    fn start(n: usize, addresses: Vec<String>, token: String) -> Self {
        let (send, seen) = watch::channel(Showing::default());
        let counts = Arc::new(Counts::default());
        let counting = counts.clone();
        tokio::spawn(async move {
            let mut mirrors = BoardMirrors::default();
            for turn in n.. {
                let ended = follow(&addresses[turn % addresses.len()], &token, &mut mirrors, &counting, &send).await;
                if let Err(error @ (ClientError::Refused(_) | ClientError::Unexpected(_))) = ended {
                    let text = error.to_string();
                    // A gateway that is stopping or has no store refuses with these codes; the client tries again.
                    if !["stopping", "store_unavailable"].iter().any(|code| text.contains(code)) {
                        send.send_modify(|showing| showing.wrong = Some(format!("client {n}: {text}")));
                        return;
                    }
                }
                mirrors.disconnected();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        Self { n, counts, seen }
    }

    async fn shows(&self, simulator: &Simulator) -> anyhow::Result<()> {
        for region in Region::ALL {
            let truth = truth(simulator, region)?;
            let mut seen = self.seen.clone();
            let right = |showing: &Showing| showing.wrong.is_some() || showing.boards.get(&region) == Some(&truth);
            let waited = tokio::time::timeout(RECOVERS_WITHIN, seen.wait_for(right)).await;
            let showing = self.seen.borrow();
            if let Some(wrong) = &showing.wrong {
                bail!("{wrong}");
            }
            if waited.is_err() {
                let differences = showing.boards.get(&region).map(|board| board.differences(&truth, 3));
                bail!("client {} does not show the truth of {region}: {differences:?}", self.n);
            }
        }
        Ok(())
    }
}

async fn follow(
    address: &str,
    token: &str,
    mirrors: &mut BoardMirrors,
    counts: &Counts,
    send: &watch::Sender<Showing>,
) -> Result<(), ClientError> {
    let had = mirrors.cursors();
    let auth = json!({ "v": 1, "token": token, "regions": Region::ALL, "resume": had });
    let mut client = Client::connect(address, &auth).await?;
    let mut first: Vec<Region> = had.into_keys().collect();
    loop {
        let ServerMessage::Event { name, payload } = client.next().await? else { continue };
        match mirrors.take(&name, &payload) {
            MirrorUpdate::Board(region) => {
                counts.frames.fetch_add(1, Ordering::Relaxed);
                if let Some(at) = first.iter().position(|it| *it == region) {
                    first.remove(at);
                    counts.resumed.fetch_add(u64::from(name == "odds"), Ordering::Relaxed);
                }
                let shown = Shown::of_mirror(&mirrors.boards[&region]);
                send.send_modify(|showing| {
                    *showing.frames.entry(region).or_default() += 1;
                    showing.boards.insert(region, shown);
                });
            }
            MirrorUpdate::Resync(region, cursor) => {
                client.ask("resync", &json!({ "region": region, "cursor": cursor })).await?;
            }
            MirrorUpdate::Feed(_) | MirrorUpdate::Regions | MirrorUpdate::Nothing => {}
        }
    }
}

/// Checks, with Kafka's own tool, that every consumer group has committed offsets and is not behind.
async fn lag(tools: &[String], bootstrap: &str) -> anyhow::Result<()> {
    let (program, arguments) = tools.split_first().context("Kafka's tools")?;
    let describe = || -> anyhow::Result<String> {
        let mut tool = Command::new(program);
        tool.args(arguments).arg("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        let output = tool.args(["--bootstrap-server", bootstrap, "--describe", "--all-groups"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "Kafka's tool failed: {} {text}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    };
    let end = Instant::now() + RECOVERS_WITHIN;
    loop {
        let text = tokio::task::block_in_place(describe)?;
        let mut groups: BTreeMap<String, i64> = BTreeMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG …
            let [group, topic, _, _, _, lag, ..] = words[..] else { continue };
            if group.starts_with("gateway-") && topic.starts_with("odds.") {
                // A dash means that no offset is committed.
                *groups.entry(group.to_owned()).or_default() += lag.parse::<i64>().unwrap_or(i64::from(u16::MAX));
            }
        }
        // Two gateways, each with a group for each region. Markers are still being written, so the lag is rarely 0.
        if groups.len() == 2 * Region::ALL.len() && groups.values().all(|lag| *lag < 50) {
            println!("consumer groups and their lag in records, by Kafka's own tool: {groups:?}");
            return Ok(());
        }
        ensure!(Instant::now() < end, "Kafka's tool shows groups with a large lag or without offsets:\n{text}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
