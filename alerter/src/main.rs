//! The program `alerter`.

use std::{process::ExitCode, sync::Arc};

use alerter::{Alerter, AlerterSettings, Metrics};
use clap::Parser;
use fleet::Reporter;
use kafka::KafkaSettings;
use service::{AdminSettings, MetricRegistry, ProgramSettings};

/// Watches the boards for what users wait for, records what fires, and publishes it.
///
/// Start any number of them with the same store: they divide the users among each other.
#[derive(Debug, Parser)]
#[command(name = "alerter", version)]
struct Settings {
    #[command(flatten)]
    alerter: AlerterSettings,

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
    let program = settings.program.start("alerter")?;
    let mut registry = MetricRegistry::default();
    let metrics = Metrics::new(&mut registry);
    let store = settings.alerter.store.open().await?;
    let alerter =
        Alerter::new(settings.kafka.clone(), store, service::now, metrics).with_recheck(settings.alerter.recheck());
    program.lifecycle.run("the alerter", alerter.run(program.stopping()));
    let registry = Arc::new(registry);
    program.serve_admin(&settings.admin, registry.clone()).await?;
    let reporter = Reporter::new("alerter", None, &settings.kafka, registry, program.troubles(), service::now)?;
    program.lifecycle.run("reports", reporter.run(program.lifecycle.clone()));
    program.wait().await
}
