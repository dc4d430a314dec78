//! A soak test of producers: processes of all regions on one embedded cluster, with an odds API that sometimes fails.
//! Every minute, a leader is killed or suspended or the cluster fails. At the end, the boards must equal the truth.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Parser;
use kafka::{Embedded, KafkaSettings, Role, all_topics, from_message, topic_of};
use odds::{EventId, RecordKind, Region, StepId, Term};
use producers::simulator::{Faults, SimulatorSettings};
use rand::RngExt;
use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Message,
};
use service::ProgramSettings;
use tokio::process::{Child, Command};
use tracing::{info, warn};
use trials::{Fleet, SPEED, Watcher, serve_simulator, simulated};

const FAULT_RATE: f64 = 0.05;
/// How long a leader is suspended: longer than its session in the consumer group.
const STOPPED_FOR: Duration = Duration::from_secs(15);
const OUTAGE: Duration = Duration::from_secs(12);
/// How long the reader in Python may take to come to the last step.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// Kills, suspends and disconnects producers for a while, and compares the boards with the truth.
#[derive(Debug, Parser)]
#[command(name = "soak", version)]
struct Settings {
    /// Minutes to run, with one disruption per minute.
    #[arg(long, default_value_t = 10, value_name = "MINUTES")]
    minutes: u64,

    /// Folder with the program `producer`.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,

    /// Folder for the producers' logs.
    #[arg(long, value_name = "DIR")]
    logs: PathBuf,

    /// A Python and the example that reads topics: it must come to the same boards.
    #[arg(long, num_args = 2, value_names = ["PYTHON", "SCRIPT"])]
    reader: Vec<PathBuf>,

    #[command(flatten)]
    simulator: SimulatorSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("soak")?;
    std::fs::create_dir_all(&settings.logs)?;
    let lifecycle = &program.lifecycle;
    let cluster = Embedded::start(&all_topics())?;
    let simulator = SimulatorSettings { speed: SPEED, fault_rate: FAULT_RATE, ..settings.simulator };
    let (simulator, source) = serve_simulator(&simulator, lifecycle).await?;

    let mut watchers: Vec<Watcher> =
        Region::ALL.into_iter().map(|region| Watcher::start(&cluster.settings(), region)).collect();
    let mut fleet = Fleet::start(&settings.binaries, &settings.logs, &cluster.settings(), &Region::ALL, |region| {
        simulated(&source, region)
    })?;

    let readers = match &*settings.reader {
        [python, script] => {
            let start = |region| TopicReader::start(python, script, &cluster.settings(), region, &settings.logs);
            Region::ALL.into_iter().map(start).collect::<anyhow::Result<_>>()?
        }
        _ => Vec::new(),
    };

    let begun = Instant::now();
    let mut disruptions: BTreeMap<&'static str, u32> = BTreeMap::new();
    for minute in 0..settings.minutes {
        let minute_ends = begun + Duration::from_secs(60 * (minute + 1));
        fleet.revive()?;
        move_leaders(&cluster)?;
        let region = Region::ALL[minute as usize % Region::ALL.len()];
        let disruption = ["kill", "stop", "outage"][minute as usize % 3];
        let done = match disruption {
            "kill" => fleet.kill_leader(region).await,
            "stop" => fleet.stop_leader(region, STOPPED_FOR).await,
            _ => outage(&cluster).await,
        };
        match done {
            Ok(()) => *disruptions.entry(disruption).or_default() += 1,
            Err(error) => warn!(%region, %error, disruption, "disruption failed"),
        }
        for watcher in &mut watchers {
            watcher.check()?;
        }
        info!(minute = minute + 1, disruption, %region, steps = ?steps(&watchers), "all digests correct so far");
        tokio::time::sleep(minute_ends.saturating_duration_since(Instant::now())).await;
    }

    fleet.revive()?;
    simulator.set_faults(Faults::none());
    let frozen = simulator.freeze();
    info!(%frozen, "simulated world frozen, waiting for the boards to converge");
    for watcher in &mut watchers {
        watcher.wait_for(&simulator).await?;
    }
    for (reader, watcher) in readers.into_iter().zip(&watchers) {
        let newest = watcher.seen.borrow().newest;
        println!("{}: the reader in Python has {}", watcher.region, reader.comes_to(newest).await?);
    }
    // Without writers, the cluster deletes no records while the topics are read below.
    fleet.end();
    let mut alternating = 0;
    for region in [Region::Us, Region::Uk] {
        alternating += check_alternation(&cluster.settings(), region)?;
    }
    for watcher in &mut watchers {
        watcher.check()?;
        let seen = watcher.seen.borrow();
        println!(
            "{}: {} steps in {} terms, {} events, {} quotes, all true",
            watcher.region, seen.steps, seen.terms, seen.events, seen.quotes
        );
    }
    println!("images alternate strictly between the partitions of odds.us and odds.uk: {alternating} images");
    println!("all digests correct; {} minutes with {disruptions:?}", settings.minutes);
    lifecycle.stop();
    program.wait().await
}

/// The example that reads topics, as a process.
struct TopicReader {
    process: Child,
    output: PathBuf,
    errors: PathBuf,
}

impl TopicReader {
    fn start(python: &Path, script: &Path, kafka: &KafkaSettings, region: Region, logs: &Path) -> anyhow::Result<Self> {
        let [output, errors] = ["out", "log"].map(|end| logs.join(format!("reader-{region}.{end}")));
        let process = Command::new(python)
            .arg(script)
            .args(["--brokers", &kafka.brokers, "--region", region.key()])
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?)
            .kill_on_drop(true)
            .spawn()
            .context("the reader in Python")?;
        Ok(Self { process, output, errors })
    }

    /// Waits until it has verified this step. Returns how many steps it has verified, and how often it started over.
    async fn comes_to(mut self, step: StepId) -> anyhow::Result<String> {
        let end = Instant::now() + READ_WITHIN;
        loop {
            let output = std::fs::read_to_string(&self.output)?;
            let errors = std::fs::read_to_string(&self.errors)?;
            if output.lines().any(|line| line.starts_with(&format!("{step} at "))) {
                let over = errors.lines().filter(|line| line.ends_with("starting over")).count();
                return Ok(format!("verified {} steps, and started over {over} times", output.lines().count()));
            }
            ensure!(self.process.try_wait()?.is_none(), "the reader in Python has ended: {errors}");
            ensure!(Instant::now() < end, "the reader in Python does not come to {step}: {errors}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn steps(watchers: &[Watcher]) -> Vec<u64> {
    watchers.iter().map(|watcher| watcher.seen.borrow().steps).collect()
}

/// Moves partition leaders and group coordinators to random brokers, as Kafka does when a broker fails.
fn move_leaders(cluster: &Embedded) -> anyhow::Result<()> {
    let mut random = rand::rng();
    for topic in all_topics() {
        for partition in 0..topic.partitions {
            cluster.move_leader(&topic.name, partition, random.random_range(1..=3))?;
        }
    }
    for region in Region::ALL {
        cluster.move_coordinator(&format!("producer-{region}"), random.random_range(1..=3))?;
    }
    Ok(())
}

/// Disconnects all clients from the cluster for a while.
async fn outage(cluster: &Embedded) -> anyhow::Result<()> {
    for broker in 1..=3 {
        cluster.broker_down(broker)?;
    }
    tokio::time::sleep(OUTAGE).await;
    for broker in 1..=3 {
        cluster.broker_up(broker)?;
    }
    Ok(())
}

/// Reads a whole topic and returns the number of images. Fails if the images of a term's complete steps don't alternate
/// between the partitions.
fn check_alternation(kafka: &KafkaSettings, region: Region) -> anyhow::Result<u64> {
    let topic = topic_of(region);
    let consumer: BaseConsumer =
        kafka.client(Role::Consumer, &[("group.id", "toteboard-none"), ("auto.offset.reset", "earliest")]).create()?;
    let mut list = TopicPartitionList::new();
    let mut ends = Vec::new();
    // The embedded cluster keeps only a few megabytes of each partition.
    let mut lost_beginning = false;
    for partition in 0..2 {
        list.add_partition_offset(topic, partition, rdkafka::Offset::Beginning)?;
        let (begin, end) = consumer.fetch_watermarks(topic, partition, Duration::from_secs(10))?;
        ends.push(end);
        lost_beginning |= begin > 0;
    }
    consumer.assign(&list)?;
    // A lost acknowledgement may have repeated a record: each event counts once in a partition and step.
    let mut images: BTreeMap<StepId, BTreeSet<(i32, EventId)>> = BTreeMap::new();
    let mut markers: BTreeMap<StepId, BTreeSet<i32>> = BTreeMap::new();
    let mut positions = [0, 0];
    while positions.iter().zip(&ends).any(|(position, end)| position < end) {
        let message = consumer.poll(Duration::from_secs(10)).context("cannot read the topic to its end")??;
        let partition = message.partition();
        positions[partition as usize] = message.offset() + 1;
        let record = from_message(&message)?;
        match record.kind {
            RecordKind::Image(event, _) => drop(images.entry(record.id).or_default().insert((partition, event))),
            RecordKind::Marker(_) => drop(markers.entry(record.id).or_default().insert(partition)),
            RecordKind::Removal(_) | RecordKind::Fence(_) => {}
        }
    }
    let mut counts: BTreeMap<Term, [u64; 2]> = BTreeMap::new();
    let cut = markers.keys().next().filter(|_| lost_beginning).map(|first| first.term);
    for (step, partitions) in markers {
        if partitions.len() < 2 || cut == Some(step.term) {
            continue;
        }
        let counts = counts.entry(step.term).or_default();
        for (partition, _) in images.get(&step).into_iter().flatten() {
            counts[*partition as usize] += 1;
        }
        ensure!(
            counts[0] == counts[1] || counts[0] == counts[1] + 1,
            "{topic}: images do not alternate at {step}: {counts:?}"
        );
    }
    Ok(counts.values().flatten().sum())
}
