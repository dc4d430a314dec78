//! How long it takes from a step's marker to the event `alert` at clients, through Kafka, an alerter, a gateway and
//! Socket.IO; and what ten thousand rules that fire at one step do to memory and to a live client.

mod author;
mod clients;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use accounts::AlertState;
use alerts::RuleId;
use anyhow::{Context, ensure};
use kafka::{Embedded, all_topics};
use odds::Timestamp;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::sleep;
use trials::{
    Part, free_address, metric,
    race::{Table, most_memory, quantile},
};

use self::{
    author::{Author, EVENTS, SPORTS, Writing, event_id, sport_key},
    clients::{Clients, LiveClient, Received},
};
use crate::accounts_of_trial::{Users, rule};

const RULES: usize = 10_000;
const USERS: usize = 100;
/// Milliseconds between two frames of a live client, and between two batches of its room.
const TICK: u32 = 100;
const WARM_UP: Duration = Duration::from_secs(10);
const READY_WITHIN: Duration = Duration::from_secs(120);
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
/// How long a live client is measured before the burst, and from it on.
const BESIDE_BURST: Duration = Duration::from_secs(10);

const MOST_DELAY_MS: f64 = 500.0;
const LEAST_FIRINGS: f64 = 100.0;
const MOST_GROWTH_MB: f64 = 64.0;
/// Two ticks, and as much again for everything else.
const MOST_FRAME_MS: f64 = 400.0;

pub async fn run(binaries: &Path, folder: &Path, seconds: u32) -> anyhow::Result<()> {
    let window = Duration::from_secs(seconds.into());
    let cluster = Embedded::start(&all_topics())?;
    let kafka = cluster.settings();
    let users = Users::create(folder, USERS).await?;
    make_rules(&users, window).await?;
    let burst = make_burst(&users).await?;
    println!("{RULES} rules, and {RULES} on one outcome, of {USERS} users");

    let author = Author::lead(&kafka).await?;
    let admin = free_address()?;
    let admin_setting = format!("--admin={admin}");
    let alerter = crate::alerter(binaries, folder, "alerter", &kafka, &users.url, &[&admin_setting, "--log=warn"])?;
    let (address, gateway) = gateway(binaries, folder, &kafka, &users.url).await?;
    has_rules(&admin).await?;
    let clients = Clients::connect(&users, &address).await?;
    let live = LiveClient::connect(&address, &users.token(&users.ids[0]).await?).await?;

    let writing = Writing::start(author);
    sleep(WARM_UP).await;
    let begin = service::now();
    sleep(window).await;
    let end = service::now();
    let before = [most_memory(alerter.pid())?, most_memory(gateway.pid())?];
    let frames_before = live.during(BESIDE_BURST).await?;
    let fired_at = writing.burst();
    let frames = live.during(BESIDE_BURST).await?;
    let received = delivered(&clients, &burst, fired_at).await?;
    writing.stop().await?;
    let after = [most_memory(alerter.pid())?, most_memory(gateway.pid())?];
    each_once(&users, &received, &burst).await?;

    let mut table = Table::default();
    let of_window: Vec<&Received> = received.iter().filter(|it| (begin..end).contains(&it.at)).collect();
    let mut delays: Vec<u64> = of_window.iter().map(|it| it.delay_ms() * 1_000).collect();
    delays.sort_unstable();
    println!(
        "{} alerts in {seconds} s: {:.0} ms in the median, {:.0} ms at most",
        delays.len(),
        quantile(&delays, 0.5),
        quantile(&delays, 1.0)
    );
    table.at_least("alerts a second", delays.len() as f64 / window.as_secs_f64(), LEAST_FIRINGS);
    table.at_most("p99 from a step's marker to `alert`", " ms", quantile(&delays, 0.99), MOST_DELAY_MS);
    println!(
        "p99 of a live client's frames: {:.0} ms before the burst, {:.0} ms from it on",
        quantile(&frames_before, 0.99),
        quantile(&frames, 0.99)
    );
    table.at_most("p99 of a live client's frames in the burst", " ms", quantile(&frames, 0.99), MOST_FRAME_MS);
    for (name, before, after) in [("the alerter", before[0], after[0]), ("the gateway", before[1], after[1])] {
        println!("{name}: at most {:.0} MB before the burst, {:.0} MB after it", before / 1e6, after / 1e6);
        table.at_most(&format!("growth of {name} in the burst"), " MB", (after - before) / 1e6, MOST_GROWTH_MB);
    }
    println!("\n{}", table.markdown());
    let missed = table.missed();
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// 60 % about prices of outcomes, 20 % about movements, 10 % about lines, 5 % about a sport and 5 % about arbitrages.
/// Events are drawn by a Zipf distribution.
async fn make_rules(users: &Users, window: Duration) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(1);
    for number in 0..RULES {
        let event = event_id(((EVENTS as f64).powf(random.random::<f64>()) as usize).clamp(1, EVENTS) - 1);
        let price = author::price_during(window, random.random());
        let percent = |least: f64, range: f64, random: &mut StdRng| (least + range * random.random::<f64>()).round();
        let json: Value = match number % 20 {
            // Prices rise steadily, so each fires once.
            0..12 => json!({ "kind": "price", "event": event, "market": "h2h", "outcome": "Home", "at_least": price }),
            12..16 => json!({
                "kind": "move", "event": event, "market": "h2h", "outcome": "Home", "minutes": 10,
                "percent": percent(1.0, 5.0, &mut random), "cooldown_minutes": 1,
            }),
            16..18 => json!({ "kind": "line", "event": event, "market": "totals", "by": 0.5, "cooldown_minutes": 1 }),
            18 => json!({
                "kind": "price", "sport": sport_key(number % SPORTS), "market": "h2h", "outcome": "Home",
                "at_least": price, "cooldown_minutes": 1,
            }),
            _ => json!({
                "kind": "arbitrage", "event": event, "market": "h2h",
                "percent": percent(3.0, 10.0, &mut random), "cooldown_minutes": 1,
            }),
        };
        users.create_rule(number, RuleId::new(rand::random()), rule(&json)?, service::now()).await?;
    }
    Ok(())
}

/// Rules on one outcome that all fire at one step.
async fn make_burst(users: &Users) -> anyhow::Result<BTreeSet<RuleId>> {
    let mut ids = BTreeSet::new();
    for number in 0..RULES {
        let json = json!({
            "kind": "price", "event": event_id(0), "market": "h2h", "outcome": "Away",
            "at_least": author::BURST_PRICE - 0.5,
        });
        let id = RuleId::new(rand::random());
        users.create_rule(number, id, rule(&json)?, service::now()).await?;
        ids.insert(id);
    }
    Ok(ids)
}

async fn gateway(
    binaries: &Path,
    folder: &Path,
    kafka: &kafka::KafkaSettings,
    store: &str,
) -> anyhow::Result<(String, Part)> {
    let address = free_address()?;
    let mut command = vec![
        binaries.join("gateway").display().to_string(),
        "--instance=trial".to_owned(),
        format!("--listen={address}"),
        format!("--tick={TICK}"),
        format!("--brokers={}", kafka.brokers),
        format!("--store={store}"),
        format!("--max-connections-per-address={}", 2 * USERS),
        format!("--max-strangers={}", 2 * USERS),
        format!("--max-strangers-per-address={}", 2 * USERS),
        "--log=warn".to_owned(),
    ];
    command.extend(kafka.properties.iter().map(|property| format!("--kafka={property}")));
    let mut part = Part::start("gateway", command, BTreeMap::new(), folder.join("gateway.log"))?;
    let end = Instant::now() + READY_WITHIN;
    let url = format!("http://{address}/readyz");
    while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
        part.lives()?;
        ensure!(Instant::now() < end, "the gateway is not ready");
        sleep(Duration::from_millis(100)).await;
    }
    Ok((address, part))
}

/// Waits until the alerter has read all rules.
async fn has_rules(admin: &str) -> anyhow::Result<()> {
    let end = Instant::now() + READY_WITHIN;
    while metric(admin, "toteboard_alerter_rules ").await.unwrap_or_default() < (2 * RULES) as f64 {
        ensure!(Instant::now() < end, "the alerter does not have all rules");
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until clients have all alerts of the burst. Returns all that they received.
async fn delivered(clients: &Clients, burst: &BTreeSet<RuleId>, fired_at: Timestamp) -> anyhow::Result<Vec<Received>> {
    let end = Instant::now() + DELIVERED_WITHIN;
    loop {
        let received = clients.received();
        let of_burst: Vec<&Received> = received.iter().filter(|it| burst.contains(&it.id.rule)).collect();
        if of_burst.len() >= burst.len() {
            let last = of_burst.iter().map(|it| it.received_at).max().context("there are alerts")?;
            println!("{} alerts of one step were delivered in {} ms", of_burst.len(), last.millis_since(fired_at));
            return Ok(received);
        }
        ensure!(Instant::now() < end, "{} of {} alerts of the burst were delivered", of_burst.len(), burst.len());
        sleep(Duration::from_millis(100)).await;
    }
}

/// Fails unless each alert of the burst is notified, and clients received each alert once.
async fn each_once(users: &Users, received: &[Received], burst: &BTreeSet<RuleId>) -> anyhow::Result<()> {
    let ids: BTreeSet<_> = received.iter().map(|it| it.id).collect();
    ensure!(ids.len() == received.len(), "{} alerts were received twice", received.len() - ids.len());
    let of_burst = ids.iter().filter(|id| burst.contains(&id.rule)).count();
    ensure!(of_burst == burst.len(), "{of_burst} alerts of {} rules", burst.len());
    for user in &users.ids {
        let alerts = users.store.alerts_of(user, None, 1_000_000).await?;
        let of_burst = alerts.iter().filter(|alert| burst.contains(&alert.id.rule));
        let open = of_burst.filter(|alert| alert.state != AlertState::Notified).count();
        ensure!(open == 0, "{open} alerts of the burst are not notified");
    }
    Ok(())
}
