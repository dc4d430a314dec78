//! The program `standalone`, which is all of Toteboard in one process: an embedded Kafka cluster, the simulator, four
//! producers, four historians, an alerter, a notifier, and the gateway with the page, on one port on loopback. Instead of
//! live odds, it can show exported histories.

mod replay;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use accounts::{AccountSettings, Accounts, Actor, Password, SignInCode, Store, StoreUrl, UserId, UserName};
use alerter::Alerter;
use anyhow::Context;
use clap::Parser;
use fleet::Reporter;
use gateway::{Gateway, GatewaySettings, MessageParts, Registration};
use historian::{Historian, Retention};
use kafka::{Embedded, KafkaSettings, all_topics};
use messages::{Links, OutboxUrl, SigningKey};
use notifier::{MessageSettings, Notifier};
use odds::Region;
use producers::{
    PollSettings, Producer, SourceChoice, SourceSettings,
    simulator::{Simulator, SimulatorSettings},
};
use replay::ReplaySettings;
use service::{AdminSettings, Lifecycle, MetricRegistry, ProgramSettings};
use tokio::net::TcpListener;
use tracing::{debug, info};

/// Runs all of Toteboard in one process: on made-up odds, or on real ones with a key.
#[derive(Debug, Parser)]
#[command(name = "standalone", version)]
#[command(mut_arg("speed", |speed| speed.default_value(SPEED)), mut_arg("log", |log| log.default_value(LOG)))]
struct Settings {
    /// The folder where accounts, messages and the history of prices are kept.
    #[arg(long, value_name = "DIR", default_value = "toteboard-data")]
    data: PathBuf,

    #[command(flatten)]
    gateway: GatewaySettings,

    #[command(flatten)]
    retention: Retention,

    #[command(flatten)]
    messages: MessageSettings,

    #[command(flatten)]
    polling: PollSettings,

    #[command(flatten)]
    source: SourceSettings,

    #[command(flatten)]
    simulator: SimulatorSettings,

    #[command(flatten)]
    replay: ReplaySettings,

    #[command(flatten)]
    admin: AdminSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

const DEMO: &str = "demo";
/// How many times faster than reality the simulation is, so that a visitor sees something move every second.
const SPEED: &str = "20";
/// How long a reader waits for records. The cluster answers no earlier when one arrives, so this is a delay; with a shorter
/// one, the twenty readers keep a quarter of a core busy although nobody looks.
const FETCH_WAIT: &str = "consumer.fetch.wait.max.ms=25";
/// What is logged by default: so little that the address and the password stay in sight.
const LOG: &str = "warn";

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("standalone")?;
    let lifecycle = &program.lifecycle;

    let replays = settings.replay.open()?;
    let file = settings.data.join("accounts.db");
    let cluster = Embedded::start(&all_topics()).context("the embedded Kafka cluster")?;
    let mut kafka = cluster.settings();
    kafka.properties.push(FETCH_WAIT.parse()?);
    let brokers = kafka.brokers.clone();
    let mut registry = MetricRegistry::default();
    let gateway_metrics = gateway::Metrics::new(&mut registry);
    let alerter_metrics = alerter::Metrics::new(&mut registry);
    let outbox = settings.gateway.outbox.clone().unwrap_or(OutboxUrl::Sqlite(settings.data.join("messages.db")));
    let outbox = outbox.open().await.context("the outbox")?;
    let key = settings.gateway.signing_key.clone().unwrap_or(settings.data.join("signing.key"));
    let key = SigningKey::open(&key).with_context(|| key.display().to_string())?;
    notifier::produce_again(&*outbox, &kafka, service::now()).await?;
    let history = match settings.gateway.history.clone() {
        Some(url) => url,
        None => history::StoreUrl::Sqlite(settings.data.join("history.db")),
    };
    let history = history.open().await.context("the history")?;
    if replays.is_empty() {
        let source = source(&settings, lifecycle).await?;
        for region in Region::ALL {
            let metrics = producers::Metrics::new(&mut registry, region, service::now);
            start_producer(region, &settings, &kafka, &source, metrics, lifecycle)?;
            let metrics = historian::Metrics::new(&mut registry, region);
            let historian = Historian::new(region, kafka.clone(), history.clone(), service::now, metrics)
                .with_retention(settings.retention);
            lifecycle.run("a historian", historian.run(lifecycle.stopping()));
        }
    }
    // In the place of producers. What was recorded once is not recorded again.
    for replay in replays {
        lifecycle.run("a replay", replay.run(kafka.clone(), lifecycle.stopping()));
    }
    let mut gateway_settings = settings.gateway;
    if gateway_settings.accounts.is_private(gateway_settings.listen) {
        gateway_settings.accounts.registration.get_or_insert(Registration::Open);
    }
    let url = gateway_settings.accounts.store.get_or_insert(StoreUrl::Sqlite(file));
    let store = url.open().await?;
    let alerter = Alerter::new(kafka.clone(), store.clone(), service::now, alerter_metrics);
    lifecycle.run("the alerter", alerter.run(lifecycle.stopping()));
    let is_private = gateway_settings.accounts.is_private(gateway_settings.listen);
    let scheme = gateway_settings.scheme();
    let sms_token = settings.messages.sms_token.clone();
    let mut gateway = Gateway::bind(gateway_settings, kafka.clone(), store.clone(), service::now, gateway_metrics)?
        .with_history(history)
        .with_messages(MessageParts { outbox: outbox.clone(), key: key.clone(), sms_token });
    let address = gateway.address()?;
    let links = Links::new(&gateway.public_origin()?.unwrap_or(format!("{scheme}://{address}")), key);
    for channel in settings.messages.open(&settings.data.join("messages"), &links)? {
        let metrics = notifier::Metrics::new(&mut registry, channel.channel);
        let name = format!("the channel {}", channel.channel);
        let (kafka, outbox, store) = (kafka.clone(), outbox.clone(), store.clone());
        let notifier = Notifier::new(kafka, outbox, store, channel, service::now, metrics);
        lifecycle.run(name, notifier.run(lifecycle.stopping()));
    }
    let registry = Arc::new(registry);
    program.serve_admin(&settings.admin, registry.clone()).await?;
    let reporter = Reporter::new("standalone", None, &kafka, registry, program.troubles(), service::now)?;
    let reporter = reporter.with_clients(gateway.clients());
    let demo = demo_account(store, is_private).await?;
    let mut welcome = format!("\nToteboard is at {scheme}://{address}\n");
    if let Some((user, password)) = demo {
        let code = SignInCode::for_user(&user);
        welcome +=
            &format!("Sign in by this link, which works once: {scheme}://{address}/#sign-in={}\n", code.reveal());
        welcome += &format!("or as {DEMO} with the password {}\n", password.reveal());
        gateway = gateway.with_sign_in_code(code);
    }
    welcome += &format!("Its Kafka is at {brokers}\n");
    gateway.start(lifecycle)?;
    lifecycle.run("reports", reporter.run(lifecycle.clone()));
    info!(%address, "running: all of it in this process");
    // Signals count from here on: a script may end the program as soon as it has read the address.
    let waiting = program.wait();
    // Whoever started it may read no further than the address.
    if let Err(error) = writeln!(std::io::stdout(), "{welcome}") {
        debug!(%error, "nobody reads the output");
    }
    waiting.await
}

/// An account for the user of this machine, created in an empty store, with a new password at every start. It is
/// disabled where others could reach it, and stays disabled if an operator disabled it.
async fn demo_account(store: Arc<dyn Store>, is_private: bool) -> anyhow::Result<Option<(UserId, Password)>> {
    let accounts = Accounts::new(store.clone(), AccountSettings::default(), service::now);
    let actor = Actor::at_console(&service::hostname().unwrap_or_default(), "standalone");
    let name: UserName = DEMO.parse()?;
    let known = store.user_and_password(&name).await?.map(|(user, _)| user);
    let password = Password::random();
    match known {
        Some(user) if !is_private && !user.disabled => {
            accounts.set_disabled(&user, true, &actor).await?;
        }
        Some(user) if is_private && !user.disabled => {
            accounts.reset_password(&user, &password, &actor).await?;
            return Ok(Some((user.id, password)));
        }
        None if is_private && store.users().await?.is_empty() => {
            let user = accounts.create(DEMO, password.reveal(), Region::ALL.into(), &actor).await?;
            // Whoever runs it may see everything.
            accounts.set_operator(&user, true, &actor).await?;
            return Ok(Some((user.id, password)));
        }
        _ => {}
    }
    Ok(None)
}

/// The source that the settings name, or else the simulator, which is started on a free port.
async fn source(settings: &Settings, lifecycle: &Lifecycle) -> anyhow::Result<SourceSettings> {
    let asked = settings.source.clone();
    if !matches!(asked.source, None | Some(SourceChoice::Simulator)) {
        return Ok(asked);
    }
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let simulator = Simulator::new(&settings.simulator, service::now);
    lifecycle.run("the simulator", simulator.serve(listener, lifecycle.stopping().cancelled_owned()));
    Ok(SourceSettings { source: Some(SourceChoice::Simulator), simulator_url: url, ..asked })
}

fn start_producer(
    region: Region,
    settings: &Settings,
    kafka: &KafkaSettings,
    source: &SourceSettings,
    metrics: producers::Metrics,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let mut polling = settings.polling.clone();
    if source.source == Some(SourceChoice::Simulator) {
        polling.poll_speed *= settings.simulator.speed;
    }
    // The limit is for all four together.
    polling.max_credits_per_day = polling.max_credits_per_day.map(|credits| credits / Region::ALL.len() as f64);
    let source = source.open(region, &polling, service::now)?;
    let producer = Producer::new(region, polling, kafka.clone(), source, service::now, metrics);
    let producer = producer.with_spending_file(settings.data.join(format!("credits-{region}.json")));
    lifecycle.run("a producer", producer.run(lifecycle.stopping()));
    Ok(())
}
