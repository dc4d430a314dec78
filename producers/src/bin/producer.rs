//! The program `producer`: one leading process per region, and any number of stand-bys.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use fleet::Reporter;
use kafka::KafkaSettings;
use producers::{Metrics, Producer, ProducerSettings};
use service::{AdminSettings, MetricRegistry, ProgramSettings};

/// Polls an odds API for one region and publishes changes to Kafka.
///
/// Start any number of them for a region: one leads, the others stand by.
#[derive(Debug, Parser)]
#[command(name = "producer", version)]
struct Settings {
    #[command(flatten)]
    producer: ProducerSettings,

    #[command(flatten)]
    kafka: KafkaSettings,

    #[command(flatten)]
    admin: AdminSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let ProducerSettings { region, polling, source } = settings.producer;
    let program = settings.program.start(&format!("producer-{region}"))?;
    let mut registry = MetricRegistry::default();
    let metrics = Metrics::new(&mut registry, region, service::now);
    let registry = Arc::new(registry);
    program.serve_admin(&settings.admin, registry.clone()).await?;
    let source = source.open(region, &polling, service::now)?;
    let (instance, troubles) = (Some(format!("{region}-{}", Reporter::instance())), program.troubles());
    let reporter = Reporter::new("producer", instance, &settings.kafka, registry, troubles, service::now)?;
    let producer = Producer::new(region, polling, settings.kafka, source, service::now, metrics);
    program.lifecycle.run("the producer", producer.run(program.stopping()));
    program.lifecycle.run("reports", reporter.run(program.lifecycle.clone()));
    program.wait().await
}
