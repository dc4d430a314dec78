//! Alerters that are killed, suspended and resumed while prices move. At the end, what they recorded and published must
//! be every crossing of the rules, each once.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use accounts::{AlertRecord, AlertState, Shard};
use alerts::{Rule, RuleId, Steps};
use anyhow::{Context, ensure};
use kafka::{ALERTS, Embedded, KafkaSettings, ReadFrom, Role, TopicFollower, all_topics, topic_of};
use odds::Region;
use producers::simulator::{Faults, SimulatorSettings};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};
use service::Lifecycle;
use tokio::time::sleep;
use tracing::info;
use trials::{Fleet, Part, SPEED, serve_simulator};

use crate::{
    accounts_of_trial::{Users, rule},
    compared::{Published, compare},
    crossings::Crossings,
    region_reader::RegionReader,
};

const REGIONS: [Region; 2] = [Region::Uk, Region::Eu];
const SPORTS: [&str; 2] = ["basketball_nba", "tennis_atp_aus_open_singles"];
/// Slower than in other trials: the embedded cluster keeps only a few megabytes, and the alerters that start again must
/// find every step.
const POLL_SPEED: f64 = 20.0;
const FAULT_RATE: f64 = 0.03;
const ALERTERS: usize = 3;
const USERS: usize = 24;
/// The most events of a region with rules of their own.
const EVENTS: usize = 12;
const DISRUPTED_EVERY: Duration = Duration::from_secs(20);
/// Longer than a session in the consumer group, which is six seconds.
const SUSPENDED_FOR: Duration = Duration::from_secs(12);
/// Shorter than it.
const PAUSED_FOR: Duration = Duration::from_secs(4);
const DOWN_FOR: Duration = Duration::from_secs(5);
const LOADED_WITHIN: Duration = Duration::from_secs(60);
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// Nothing is written for this long after the producers have ended.
const QUIET_FOR: Duration = Duration::from_secs(3);

pub async fn run(
    binaries: &Path,
    folder: &Path,
    minutes: u32,
    simulator: SimulatorSettings,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let cluster = Embedded::start(&all_topics())?;
    let kafka = cluster.settings();
    let simulator = SimulatorSettings { speed: SPEED, fault_rate: FAULT_RATE, ..simulator };
    let (simulator, source) = serve_simulator(&simulator, lifecycle).await?;

    // Rules about a sport compare a price with the one before, so they are watched from the first step on.
    let mut of_sports: Vec<(RuleId, Region, Rule)> = Vec::new();
    for region in REGIONS {
        of_sports.extend(sport_rules(region)?.into_iter().map(|rule| (new_id(), region, rule)));
    }
    let readers: Vec<RegionReader> = REGIONS
        .into_iter()
        .map(|region| {
            let mut crossings = Crossings::new(region);
            let here = of_sports.iter().filter(|(_, of, _)| *of == region);
            here.for_each(|(id, _, rule)| crossings.watch(*id, rule.clone()));
            RegionReader::start(&kafka, region, crossings)
        })
        .collect();
    let arguments = [
        "--source=simulator".to_owned(),
        format!("--simulator-url={source}"),
        format!("--poll-speed={POLL_SPEED}"),
        format!("--sports={}", SPORTS.join(",")),
    ];
    let mut fleet = Fleet::start(binaries, folder, &kafka, &REGIONS, |_| arguments.to_vec())?;
    let published = Arc::new(Mutex::new(Published::default()));
    let reading = tokio::spawn(read_alerts(kafka.clone(), published.clone()));
    have_prices(&readers).await?;
    let users = Users::create(folder, USERS).await?;
    let several = make_rules(&users, &readers, of_sports).await?;

    let mut alerters = Vec::new();
    for n in 1..=ALERTERS {
        let name = format!("alerter-{n}");
        alerters.push(crate::alerter(binaries, folder, &name, &kafka, &users.url, &["--recheck=1"])?);
    }
    let disruptions = disrupt(minutes, &mut alerters, &readers, &mut fleet).await?;

    simulator.set_faults(Faults::none());
    simulator.freeze();
    sleep(QUIET_FOR).await;
    fleet.end();
    let ends = read_to_the_end(&readers).await?;
    settled(&users, &ends).await?;
    readers.iter().try_for_each(RegionReader::check)?;
    nothing_was_deleted(&kafka)?;
    sleep(QUIET_FOR).await;
    reading.abort();

    let steps: u64 = readers.iter().map(|reader| reader.read().steps).sum();
    let crossings = readers.iter().flat_map(|reader| reader.read().crossings.found.clone()).collect();
    let published = std::mem::take(&mut *published.lock().expect("no panic while the lock is held"));
    println!("{minutes} minutes, {steps} steps, {disruptions:?}");
    compare(&users, crossings, &several, &published).await
}

fn new_id() -> RuleId {
    RuleId::new(rand::random())
}

/// Rules about a whole sport.
fn sport_rules(region: Region) -> anyhow::Result<Vec<Rule>> {
    let mut all = Vec::new();
    for sport in SPORTS {
        let mut add = |fields: Value| {
            let mut json = json!({ "sport": sport, "regions": [region], "market": "h2h", "cooldown_minutes": 1 });
            for (name, value) in fields.as_object().into_iter().flatten() {
                json[name] = value.clone();
            }
            all.push(rule(&json));
        };
        for price in [1.3, 1.6, 1.9, 2.2, 3.0, 5.0] {
            add(json!({ "kind": "price", "at_least": price }));
            add(json!({ "kind": "price", "at_most": price }));
        }
        for percent in [1, 2, 5] {
            add(json!({ "kind": "move", "percent": percent, "minutes": 1, "min_bookmakers": 2 }));
        }
        add(json!({ "kind": "arbitrage", "percent": 0.5 }));
        add(json!({ "kind": "line", "market": "totals", "by": 0.5 }));
        add(json!({ "kind": "line", "market": "spreads", "by": 1 }));
    }
    all.into_iter().collect()
}

/// Rules about an outcome whose best price is this.
fn outcome_rules(event: &str, outcome: &str, price: f64, regions: &[Region]) -> anyhow::Result<Vec<Rule>> {
    let value = |factor: f64| (price * factor * 100.0).round().max(102.0) / 100.0;
    let mut all = Vec::new();
    let mut add = |limit: &str, factor: f64, is_once: bool| {
        let mut json = json!({
            "kind": "price", "event": event, "market": "h2h", "outcome": outcome, "regions": regions,
            (limit): value(factor),
        });
        if !is_once {
            json["cooldown_minutes"] = json!(1);
        }
        all.push(rule(&json));
    };
    for factor in [0.97, 1.01, 1.03, 1.1] {
        add("at_least", factor, false);
    }
    for factor in [1.03, 0.99, 0.97, 0.9] {
        add("at_most", factor, false);
    }
    add("at_least", 1.02, true);
    add("at_most", 0.98, true);
    all.into_iter().collect()
}

async fn have_prices(readers: &[RegionReader]) -> anyhow::Result<()> {
    let end = Instant::now() + LOADED_WITHIN;
    while readers.iter().any(|reader| reader.read().prices.len() < EVENTS) {
        readers.iter().try_for_each(RegionReader::check)?;
        ensure!(Instant::now() < end, "a region has few prices");
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Makes all rules. Returns those over several regions.
async fn make_rules(
    users: &Users,
    readers: &[RegionReader],
    of_sports: Vec<(RuleId, Region, Rule)>,
) -> anyhow::Result<Vec<RuleId>> {
    let (mut several, mut number) = (Vec::new(), 0);
    for (id, region, rule) in of_sports {
        let reader = readers.iter().find(|reader| reader.region == region).context("it was started")?;
        create(users, Some(reader), number, id, rule).await?;
        number += 1;
    }
    for reader in readers {
        let prices = reader.read().prices.clone();
        for ((event, outcome), price) in prices.iter().take(2 * EVENTS) {
            for rule in outcome_rules(event.as_str(), outcome, *price, &[reader.region])? {
                let id = new_id();
                reader.read().crossings.watch(id, rule.clone());
                create(users, Some(reader), number, id, rule).await?;
                number += 1;
            }
            if reader.region == REGIONS[0] {
                for rule in outcome_rules(event.as_str(), outcome, *price, &REGIONS)? {
                    let id = new_id();
                    several.push(id);
                    create(users, None, number, id, rule).await?;
                    number += 1;
                }
            }
        }
    }
    println!("{number} rules of {USERS} users, {} over two regions", several.len());
    Ok(several)
}

/// Makes a rule. No step after its edit is read before the crossings know of it.
async fn create(
    users: &Users,
    reader: Option<&RegionReader>,
    number: usize,
    id: RuleId,
    rule: Rule,
) -> anyhow::Result<()> {
    let at = match reader {
        Some(reader) => {
            let mut read = reader.read();
            let at = service::now();
            read.crossings.begin(id, at);
            at
        }
        None => service::now(),
    };
    users.create_rule(number, id, rule, at).await
}

/// Disrupts the alerters until the time is over. Returns how often each was done.
async fn disrupt(
    minutes: u32,
    alerters: &mut [Part],
    readers: &[RegionReader],
    fleet: &mut Fleet,
) -> anyhow::Result<BTreeMap<&'static str, u32>> {
    let begun = Instant::now();
    let mut done: BTreeMap<&'static str, u32> = BTreeMap::new();
    let disruptions = 60 * minutes / u32::try_from(DISRUPTED_EVERY.as_secs())?;
    for n in 0..disruptions {
        sleep((begun + DISRUPTED_EVERY * n).saturating_duration_since(Instant::now())).await;
        let (first, second) = (n as usize % ALERTERS, (n as usize + 1) % ALERTERS);
        let what = match n % 6 {
            0 => "one killed",
            1 => "one suspended",
            2 => "one paused",
            3 => "one suspended and another killed",
            4 => "all killed",
            _ => "two suspended",
        };
        match what {
            "one killed" => {
                alerters[first].kill()?;
                sleep(DOWN_FOR).await;
                alerters[first].revive()?;
            }
            "one suspended" | "one paused" => {
                alerters[first].signal("-STOP")?;
                sleep(if what == "one paused" { PAUSED_FOR } else { SUSPENDED_FOR }).await;
                alerters[first].signal("-CONT")?;
            }
            "one suspended and another killed" => {
                alerters[first].signal("-STOP")?;
                alerters[second].kill()?;
                alerters[second].revive()?;
                sleep(SUSPENDED_FOR).await;
                alerters[first].signal("-CONT")?;
            }
            "all killed" => {
                alerters.iter_mut().try_for_each(Part::kill)?;
                sleep(DOWN_FOR).await;
                alerters.iter_mut().try_for_each(Part::revive)?;
            }
            _ => {
                alerters[first].signal("-STOP")?;
                alerters[second].signal("-STOP")?;
                sleep(SUSPENDED_FOR).await;
                alerters[second].signal("-CONT")?;
                alerters[first].signal("-CONT")?;
            }
        }
        *done.entry(what).or_default() += 1;
        readers.iter().try_for_each(RegionReader::check)?;
        alerters.iter_mut().try_for_each(Part::lives)?;
        fleet.lives()?;
        let crossings: usize = readers.iter().map(|reader| reader.read().crossings.found.len()).sum();
        info!(disruption = what, crossings, "all alerters run again");
    }
    sleep((begun + DISRUPTED_EVERY * disruptions).saturating_duration_since(Instant::now())).await;
    Ok(done)
}

/// Waits until nothing more is read. Returns the newest steps.
async fn read_to_the_end(readers: &[RegionReader]) -> anyhow::Result<Steps> {
    let newest = || -> Vec<_> { readers.iter().map(|reader| (reader.region, reader.read().newest)).collect() };
    let mut before = newest();
    loop {
        sleep(QUIET_FOR).await;
        let now = newest();
        if now == before {
            return Ok(now.into_iter().filter_map(|(region, newest)| Some((region, newest?))).collect());
        }
        before = now;
    }
}

/// Waits until every shard is decided up to these steps, and nothing waits to be settled or published.
async fn settled(users: &Users, ends: &Steps) -> anyhow::Result<()> {
    let end = Instant::now() + SETTLED_WITHIN;
    for shard in Shard::all() {
        loop {
            let progress = users.store.progress(shard).await?.steps();
            let mut pending = 0;
            for state in [AlertState::Late, AlertState::Waiting] {
                pending += users.store.pending_alerts(shard, state, 10).await?.len();
            }
            let is_decided = ends.iter().all(|(region, step)| progress.get(region) >= Some(step));
            if is_decided && pending == 0 {
                break;
            }
            ensure!(Instant::now() < end, "shard {shard} is not settled: {pending} pending, {progress:?} of {ends:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

/// Fails if the cluster has deleted steps. Alerters that started later could not read them.
fn nothing_was_deleted(kafka: &KafkaSettings) -> anyhow::Result<()> {
    let consumer: BaseConsumer = kafka.client(Role::Consumer, &[("group.id", "toteboard-none")]).create()?;
    for topic in all_topics().iter().filter(|topic| REGIONS.map(topic_of).contains(&topic.name.as_str())) {
        for partition in 0..topic.partitions {
            let (begin, _) = consumer.fetch_watermarks(&topic.name, partition, Duration::from_secs(10))?;
            ensure!(begin == 0, "the cluster deleted steps of {}: run for fewer minutes", topic.name);
        }
    }
    Ok(())
}

async fn read_alerts(kafka: KafkaSettings, published: Arc<Mutex<Published>>) -> anyhow::Result<()> {
    let mut follower = TopicFollower::<AlertRecord>::new(&kafka, ALERTS, ReadFrom::Beginning)?;
    loop {
        let record = follower.next().await;
        published.lock().expect("no panic while the lock is held").note(record.alert.get())?;
    }
}
