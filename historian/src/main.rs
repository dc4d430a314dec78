//! The program `historian`: records all regions, with commands for what was recorded.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::{CommandFactory, Parser, error::ErrorKind};
use fleet::Reporter;
use historian::{Historian, HistorianSettings, HistoryCommand, Metrics};
use kafka::KafkaSettings;
use service::{AdminSettings, MetricRegistry, ProgramSettings};

/// Records every verified step of the boards, so that any board can be retrieved as it was.
///
/// Start any number of them with the same store: one leads for each region, the others stand by.
#[derive(Debug, Parser)]
#[command(name = "historian", version)]
struct Settings {
    #[command(subcommand)]
    command: Option<HistoryCommand>,

    #[command(flatten)]
    historian: HistorianSettings,

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

async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    let Some(history) = settings.historian.history.clone() else {
        Settings::command().error(ErrorKind::MissingRequiredArgument, "--history <URL> is missing").exit()
    };
    if let Some(command) = settings.command {
        let program = settings.program.start(command.log_name())?;
        let stop = program.stopping();
        // A signal cancels `stop`.
        tokio::spawn(program.wait());
        return command.execute(&history, stop).await;
    }
    let program = settings.program.start("historian")?;
    let mut registry = MetricRegistry::default();
    let store = history.open().await.context("the history")?;
    for region in settings.historian.regions() {
        let metrics = Metrics::new(&mut registry, region);
        let historian = Historian::new(region, settings.kafka.clone(), store.clone(), service::now, metrics)
            .with_retention(settings.historian.retention);
        program.lifecycle.run("a historian", historian.run(program.stopping()));
    }
    let registry = Arc::new(registry);
    program.serve_admin(&settings.admin, registry.clone()).await?;
    let reporter = Reporter::new("historian", None, &settings.kafka, registry, program.troubles(), service::now)?;
    program.lifecycle.run("reports", reporter.run(program.lifecycle.clone()));
    program.wait().await.map(|()| ExitCode::SUCCESS)
}
