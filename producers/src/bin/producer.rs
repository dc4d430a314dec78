//! The producer: one process per region and as many stand-bys as you like.

use clap::Parser;
use kafka::KafkaSettings;
use producers::{Metrics, Producer, ProducerSettings};
use service::{Admin, AdminSettings, Lifecycle, LogSettings};

/// Polls an odds API for one region and publishes what changed to Kafka.
///
/// Start as many as you like for a region: one leads, the others stand by.
#[derive(Debug, Parser)]
#[command(name = "producer", version)]
struct Settings {
    /// A TOML file with settings, by their long names with _ for -. Flags and environment are stronger.
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,

    #[command(flatten)]
    producer: ProducerSettings,

    #[command(flatten)]
    kafka: KafkaSettings,

    #[command(flatten)]
    admin: AdminSettings,

    #[command(flatten)]
    log: LogSettings,
}

#[tokio::main]
async fn main() {
    service::exit(run(service::load()).await)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let ProducerSettings { region, polling, source } = settings.producer;
    let _logs = settings.log.start(&format!("producer-{region}"))?;
    let metrics = Metrics::default();
    let lifecycle = Lifecycle::new();
    if let Some(address) = settings.admin.admin {
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry, service::now);
        let admin = Admin::bind(address, registry).await?;
        lifecycle.run("the admin port", admin.serve(lifecycle.stopping().cancelled_owned()));
    }
    let producer = Producer::new(region, polling, settings.kafka, source.open()?, service::now, metrics);
    lifecycle.run("the producer", producer.run(lifecycle.stopping()));
    lifecycle.wait().await
}
