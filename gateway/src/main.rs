//! The gateway's process, and an operator's commands.

use accounts::StoreUrl;
use clap::{Parser, Subcommand};
use gateway::{Gateway, GatewaySettings, Metrics, UserCommand};
use kafka::KafkaSettings;
use service::{Admin, AdminSettings, Lifecycle, LogSettings};
use tracing::info;

/// Reads the odds topics and pushes what changes to Socket.IO clients.
#[derive(Debug, Parser)]
#[command(name = "gateway", version)]
struct Settings {
    #[command(subcommand)]
    command: Option<Command>,

    /// A TOML file with settings, by their long names with _ for -. Flags and environment are stronger.
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,

    #[command(flatten)]
    gateway: GatewaySettings,

    #[command(flatten)]
    kafka: KafkaSettings,

    #[command(flatten)]
    admin: AdminSettings,

    #[command(flatten)]
    log: LogSettings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accounts, as an operator handles them.
    #[command(subcommand)]
    User(UserCommand),
}

const STORE: &str = "mongodb://127.0.0.1:27017/toteboard";

#[tokio::main]
async fn main() {
    service::exit(run(service::load()).await)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    // What an operator does to accounts is logged, too, beside a gateway's own files.
    let _logs = settings.log.start(if settings.command.is_some() { "gateway-user" } else { "gateway" })?;
    let url = match settings.gateway.accounts.store.clone() {
        Some(url) => url,
        None => STORE.parse::<StoreUrl>()?,
    };
    let store = url.open().await?;
    if let Some(Command::User(command)) = settings.command {
        return command.execute(store, &settings.gateway.accounts, service::now, &mut std::io::stdout()).await;
    }
    let lifecycle = Lifecycle::new();
    let metrics = Metrics::default();
    if let Some(address) = settings.admin.admin {
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let admin = Admin::bind(address, registry).await?;
        lifecycle.run("the admin port", admin.serve(lifecycle.stopping().cancelled_owned()));
    }
    let gateway = Gateway::bind(settings.gateway, settings.kafka, store, service::now, metrics)?;
    info!(address = %gateway.address()?, "listening");
    gateway.start(&lifecycle)?;
    lifecycle.wait().await
}
