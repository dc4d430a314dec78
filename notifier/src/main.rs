//! The program `notifier`.

use std::process::ExitCode;

use clap::Parser;
use kafka::KafkaSettings;
use notifier::{Metrics, Notifier, NotifierSettings};
use service::{AdminSettings, MetricRegistry, ProgramSettings};

/// Sends messages to people by e-mail and SMS.
///
/// Start any number of them with the same store: they divide the work among each other.
#[derive(Debug, Parser)]
#[command(name = "notifier", version)]
struct Settings {
    #[command(flatten)]
    notifier: NotifierSettings,

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
    let program = settings.program.start("notifier")?;
    let mut registry = MetricRegistry::default();
    let outbox = settings.notifier.outbox.open().await?;
    let channels = settings.notifier.messages.open("messages".as_ref())?;
    for channel in channels {
        let metrics = Metrics::new(&mut registry, channel.channel);
        let name = format!("the channel {}", channel.channel);
        let notifier = Notifier::new(settings.kafka.clone(), outbox.clone(), channel, service::now, metrics);
        program.lifecycle.run(name, notifier.run(program.stopping()));
    }
    program.serve_admin(&settings.admin, registry).await?;
    program.wait().await
}
