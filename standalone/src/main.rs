//! All of Toteboard in one process, with nothing installed: an embedded Kafka cluster, the
//! simulator, four producers and the gateway with the page, on one port on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use accounts::{AccountSettings, Accounts, Password, Store, StoreUrl, UserName};
use anyhow::Context;
use clap::Parser;
use gateway::{Gateway, GatewaySettings, Registration};
use kafka::{Embedded, KafkaSettings, all_topics};
use odds::Region;
use producers::{
    PollSettings, Producer, SourceChoice, SourceSettings,
    simulator::{Simulator, SimulatorSettings},
};
use prometheus_client::registry::Registry;
use service::{Admin, AdminSettings, Lifecycle, LogSettings};
use tokio::net::TcpListener;
use tracing::info;

/// Runs all of Toteboard in one process: on made-up odds, or on real ones with a key.
#[derive(Debug, Parser)]
#[command(name = "standalone", version)]
struct Settings {
    /// A TOML file with settings, by their long names with _ for -. Flags and environment are stronger.
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,

    /// The folder where accounts are kept.
    #[arg(long, value_name = "DIR", default_value = "toteboard-data")]
    data: PathBuf,

    #[command(flatten)]
    gateway: GatewaySettings,

    #[command(flatten)]
    polling: PollSettings,

    #[command(flatten)]
    source: SourceSettings,

    #[command(flatten)]
    simulator: SimulatorSettings,

    #[command(flatten)]
    admin: AdminSettings,

    #[command(flatten)]
    log: LogSettings,
}

const DEMO: &str = "demo";

#[tokio::main]
async fn main() {
    service::exit(run(service::load()).await)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let _logs = settings.log.start("standalone")?;
    let lifecycle = Lifecycle::new();

    let file = settings.data.join("accounts.db");
    let cluster = Embedded::start(&all_topics()).context("the embedded Kafka cluster")?;
    let kafka = cluster.settings();
    let brokers = kafka.brokers.clone();
    let source = source(&settings, &lifecycle).await?;
    let mut registry = Registry::default();
    let gateway_metrics = gateway::Metrics::default();
    gateway_metrics.register(&mut registry);
    for region in Region::ALL {
        let metrics = producers::Metrics::default();
        let labelled = registry.sub_registry_with_label(("region".into(), region.key().into()));
        metrics.register(labelled, service::now);
        start_producer(region, &settings, &kafka, &source, metrics, &lifecycle)?;
    }
    if let Some(address) = settings.admin.admin {
        let admin = Admin::bind(address, registry).await?;
        lifecycle.run("the admin port", admin.serve(lifecycle.stopping().cancelled_owned()));
    }
    let mut settings = settings.gateway;
    if settings.accounts.is_private(settings.listen) {
        settings.accounts.registration.get_or_insert(Registration::Open);
    }
    let url = settings.accounts.store.get_or_insert(StoreUrl::Sqlite(file));
    let store = url.open().await?;
    let is_private = settings.accounts.is_private(settings.listen);
    let gateway = Gateway::bind(settings, kafka, store.clone(), service::now, gateway_metrics)?;
    let address = gateway.address()?;
    let demo = demo_account(store, is_private).await?;
    gateway.start(&lifecycle)?;
    info!(%address, "running: all of it in this process");
    // Whoever reads where it is may end it at once.
    let waiting = lifecycle.wait();
    println!("Toteboard is at http://{address}");
    println!("Its Kafka is at {brokers}");
    if let Some(password) = demo {
        println!("Sign in as {DEMO} with the password {}", password.reveal());
    }
    waiting.await
}

/// An account to look around with, for who sits at this machine: made with an empty store, and given another password
/// at every start. Where others could reach it, it is disabled; and what an operator disabled stays so.
async fn demo_account(store: Arc<dyn Store>, is_private: bool) -> anyhow::Result<Option<Password>> {
    let accounts = Accounts::new(store.clone(), AccountSettings::default(), service::now);
    let name: UserName = DEMO.parse()?;
    let known = store.user_and_password(&name).await?.map(|(user, _)| user);
    let password = Password::random();
    match known {
        Some(user) if !is_private && !user.disabled => drop(accounts.set_disabled(&user.id, true).await?),
        Some(user) if is_private && !user.disabled => {
            accounts.reset_password(&user, &password).await?;
            return Ok(Some(password));
        }
        None if is_private && store.users().await?.is_empty() => {
            accounts.create(DEMO, password.reveal(), Region::ALL.into()).await?;
            return Ok(Some(password));
        }
        _ => {}
    }
    Ok(None)
}

/// What is asked for, or the simulator, started on a port of its own.
async fn source(settings: &Settings, lifecycle: &Lifecycle) -> anyhow::Result<SourceSettings> {
    let asked = settings.source.clone();
    if asked.source == Some(SourceChoice::TheOddsApi) {
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
    // What may be spent a day is for all of them.
    polling.max_credits_per_day = polling.max_credits_per_day.map(|credits| credits / Region::ALL.len() as f64);
    let producer = Producer::new(region, polling, kafka.clone(), source.open()?, service::now, metrics);
    let producer = producer.with_spending_file(settings.data.join(format!("credits-{region}.json")));
    lifecycle.run("a producer", producer.run(lifecycle.stopping()));
    Ok(())
}
