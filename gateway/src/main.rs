//! The program `gateway`, with an operator's commands.

use std::{io::Write, process::ExitCode, sync::Arc};

use accounts::StoreUrl;
use anyhow::Context;
use clap::{Parser, Subcommand};
use fleet::Reporter;
use gateway::{AuditCommand, Gateway, GatewaySettings, MessageParts, Metrics, StatusCommand, UserCommand};
use kafka::KafkaSettings;
use messages::SigningKey;
use service::{AdminSettings, MetricRegistry, ProgramSettings};
use tracing::info;

/// Reads the odds topics and pushes what changes to Socket.IO clients.
#[derive(Debug, Parser)]
#[command(name = "gateway", version)]
struct Settings {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    gateway: GatewaySettings,

    /// The secret token of the account at the SMS provider, with which it signs its reports. Default: they are refused.
    #[arg(long, value_name = "TOKEN", hide_env_values = true, help_heading = "Gateway")]
    sms_token: Option<String>,

    #[command(flatten)]
    kafka: KafkaSettings,

    #[command(flatten)]
    admin: AdminSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accounts, as an operator handles them.
    #[command(subcommand)]
    User(UserCommand),
    /// Prints what is wrong, what to do about it, and all programs. Exits with 1 if users miss something, and
    /// with 2 if no gateway answers.
    Status(StatusCommand),
    /// Prints what operators did as CSV, the newest first.
    Audit(AuditCommand),
    /// Prints the description of the socket's events and of Kafka's records, which is also at /api/asyncapi.json.
    Asyncapi,
}

const STORE: &str = "mongodb://127.0.0.1:27017/toteboard";

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    if let Some(Command::Status(command)) = settings.command {
        return command.execute(&mut std::io::stdout()).await;
    }
    if let Some(Command::Asyncapi) = settings.command {
        writeln!(std::io::stdout(), "{:#}", gateway::asyncapi())?;
        return Ok(ExitCode::SUCCESS);
    }
    // An operator's commands log to their own files: they may run beside a gateway.
    let program = settings.program.start(if settings.command.is_some() { "gateway-user" } else { "gateway" })?;
    let url = match settings.gateway.accounts.store.clone() {
        Some(url) => url,
        None => STORE.parse::<StoreUrl>()?,
    };
    let store = url.open().await?;
    match settings.command {
        Some(Command::User(command)) => {
            command.execute(store, &settings.gateway.accounts, service::now, &mut std::io::stdout()).await?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::Audit(command)) => {
            command.execute(store, &mut std::io::stdout()).await?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let mut registry = MetricRegistry::default();
    let metrics = Metrics::new(&mut registry);
    let registry = Arc::new(registry);
    program.serve_admin(&settings.admin, registry.clone()).await?;
    let instance = Some(settings.gateway.instance()?);
    let reporter = Reporter::new("gateway", instance, &settings.kafka, registry, program.troubles(), service::now)?;
    let GatewaySettings { history, outbox, signing_key, .. } = settings.gateway.clone();
    let mut gateway = Gateway::bind(settings.gateway, settings.kafka, store, service::now, metrics)?;
    if let Some(url) = history {
        gateway = gateway.with_history(url.open().await?);
    }
    if let Some(url) = outbox {
        let file = signing_key.context("--outbox needs --signing-key, for the links in messages")?;
        let key = SigningKey::open(&file).with_context(|| format!("--signing-key {}", file.display()))?;
        let (outbox, sms_token) = (url.open().await?, settings.sms_token);
        gateway = gateway.with_messages(MessageParts { outbox, key, sms_token });
    }
    let reporter = reporter.with_clients(gateway.clients());
    info!(address = %gateway.address()?, "listening");
    gateway.start(&program.lifecycle)?;
    program.lifecycle.run("reports", reporter.run(program.lifecycle.clone()));
    program.wait().await.map(|()| ExitCode::SUCCESS)
}
