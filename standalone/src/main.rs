//! All of Toteboard in one process, with nothing installed: an embedded Kafka cluster, the
//! simulator, four producers and the gateway with the page, on one port on loopback.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use clap::Parser;
use gateway::{Gateway, GatewaySettings};
use kafka::{Embedded, KafkaSettings, plan};
use odds::Region;
use process::{Admin, AdminSettings, Lifecycle, LogSettings};
use producers::{
    PollSettings, Producer, SourceChoice, SourceSettings,
    simulator::{Simulator, SimulatorSettings},
};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tracing::info;

/// Runs all of Toteboard in one process, on made-up odds.
#[derive(Debug, Parser)]
#[command(name = "standalone", version)]
struct Settings {
    /// A TOML file with settings, by their long names with _ for -. Flags and environment are stronger.
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,

    #[command(flatten)]
    gateway: GatewaySettings,

    #[command(flatten)]
    polling: PollSettings,

    #[command(flatten)]
    simulator: SimulatorSettings,

    #[command(flatten)]
    admin: AdminSettings,

    #[command(flatten)]
    log: LogSettings,
}

#[tokio::main]
async fn main() {
    process::exit(run(process::load()).await)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let _logs = settings.log.start("standalone")?;
    let lifecycle = Lifecycle::new();

    let cluster = Embedded::start(&plan()).context("the embedded Kafka cluster")?;
    let kafka = cluster.settings();
    let source = simulate(&settings, &lifecycle).await?;
    let mut registry = Registry::default();
    let gateway_metrics = gateway::Metrics::default();
    gateway_metrics.register(&mut registry);
    for region in Region::ALL {
        let metrics = producers::Metrics::default();
        let labelled = registry.sub_registry_with_label(("region".into(), region.key().into()));
        metrics.register(labelled, process::now);
        start_producer(region, &settings, &kafka, &source, metrics, &lifecycle)?;
    }
    if let Some(address) = settings.admin.admin {
        let admin = Admin::bind(address, registry).await?;
        lifecycle.run("the admin port", admin.serve(lifecycle.stopping().cancelled_owned()));
    }
    let gateway = Gateway::bind(settings.gateway, kafka, process::now, gateway_metrics)?;
    let address = gateway.address()?;
    gateway.start(&lifecycle)?;
    info!(%address, "running: all of it in this process");
    println!("Toteboard is at http://{address}");
    lifecycle.wait().await
}

/// Starts the simulator on a port of its own, and says how to reach it.
async fn simulate(settings: &Settings, lifecycle: &Lifecycle) -> anyhow::Result<SourceSettings> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let simulator = Simulator::new(&settings.simulator, process::now);
    lifecycle.run("the simulator", simulator.serve(listener, lifecycle.stopping().cancelled_owned()));
    Ok(SourceSettings { source: SourceChoice::Simulator, source_url: Some(url), api_key: None })
}

fn start_producer(
    region: Region,
    settings: &Settings,
    kafka: &KafkaSettings,
    source: &SourceSettings,
    metrics: producers::Metrics,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let polling = settings.polling.clone();
    let producer = Producer::new(region, polling, kafka.clone(), source.open()?, process::now, metrics);
    lifecycle.run("a producer", producer.run(lifecycle.stopping()));
    Ok(())
}
