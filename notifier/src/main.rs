//! The program `notifier`.

use std::{process::ExitCode, sync::Arc};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};
use fleet::Reporter;
use kafka::{KafkaSettings, Replayed};
use notifier::{Metrics, Notifier, NotifierSettings, ReplayCommand};
use service::{AdminSettings, MetricRegistry, ProgramSettings};

/// Sends messages to people by e-mail and SMS.
///
/// Start any number of them with the same store: they divide the work among each other.
#[derive(Debug, Parser)]
#[command(name = "notifier", version)]
struct Settings {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    notifier: NotifierSettings,

    #[command(flatten)]
    kafka: KafkaSettings,

    #[command(flatten)]
    admin: AdminSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Produces dead letters again, on the topics that they came from.
    Replay(ReplayCommand),
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    if let Some(Command::Replay(command)) = settings.command {
        // A command logs to a file of its own: it may run beside a notifier.
        let _program = settings.program.start("notifier-replay")?;
        let Replayed { produced, refused } = command.execute(&settings.kafka, service::now()).await?;
        println!("{produced} records were produced again");
        anyhow::ensure!(refused == 0, "{refused} records have no value, or don't say where they came from");
        return Ok(());
    }
    let needed = settings.notifier.needed().unwrap_or_else(|missing| {
        Settings::command().error(ErrorKind::MissingRequiredArgument, format!("{missing} is missing")).exit()
    });
    let program = settings.program.start("notifier")?;
    let mut registry = MetricRegistry::default();
    let (outbox, accounts) = (needed.outbox.open().await?, needed.store.open().await?);
    let channels = settings.notifier.messages.open("messages".as_ref(), &needed.links()?)?;
    for channel in channels {
        let metrics = Metrics::new(&mut registry, channel.channel);
        let name = format!("the channel {}", channel.channel);
        let (kafka, outbox, accounts) = (settings.kafka.clone(), outbox.clone(), accounts.clone());
        let notifier = Notifier::new(kafka, outbox, accounts, channel, service::now, metrics);
        program.lifecycle.run(name, notifier.run(program.stopping()));
    }
    let registry = Arc::new(registry);
    program.serve_admin(&settings.admin, registry.clone()).await?;
    let reporter = Reporter::new("notifier", None, &settings.kafka, registry, program.troubles(), service::now)?;
    program.lifecycle.run("reports", reporter.run(program.lifecycle.clone()));
    program.wait().await
}
