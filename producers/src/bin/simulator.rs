//! The simulator as a server of its own.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use producers::simulator::{Simulator, SimulatorSettings};
use service::{Lifecycle, LogSettings};
use tokio::net::TcpListener;
use tracing::info;

/// Serves made-up odds the way The Odds API serves real ones.
#[derive(Debug, Parser)]
#[command(name = "simulator", version)]
struct Settings {
    /// A TOML file with settings, by their long names with _ for -. Flags and environment are stronger.
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,

    /// Where to listen, as host:port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4100")]
    listen: SocketAddr,

    #[command(flatten)]
    simulator: SimulatorSettings,

    #[command(flatten)]
    log: LogSettings,
}

#[tokio::main]
async fn main() {
    service::exit(run(service::load()).await)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let _logs = settings.log.start("simulator")?;
    let listener = TcpListener::bind(settings.listen).await.with_context(|| format!("--listen {}", settings.listen))?;
    info!(address = %listener.local_addr()?, "serving made-up odds");
    let lifecycle = Lifecycle::new();
    let simulator = Simulator::new(&settings.simulator, service::now);
    lifecycle.run("the simulator", simulator.serve(listener, lifecycle.stopping().cancelled_owned()));
    lifecycle.wait().await
}
