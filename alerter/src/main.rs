//! The program `alerter`.

use std::process::ExitCode;

use alerter::{Alerter, AlerterSettings, Metrics};
use clap::Parser;
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
    let alerter = Alerter::new(settings.kafka, store, service::now, metrics).with_recheck(settings.alerter.recheck());
    program.lifecycle.run("the alerter", alerter.run(program.stopping()));
    program.serve_admin(&settings.admin, registry).await?;
    program.wait().await
}
