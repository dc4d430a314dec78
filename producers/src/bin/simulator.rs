//! The program `simulator`: serves the simulated odds API over HTTP.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use producers::simulator::{Simulator, SimulatorSettings};
use service::ProgramSettings;
use tokio::net::TcpListener;
use tracing::info;

/// Serves made-up odds the way The Odds API serves real ones.
#[derive(Debug, Parser)]
#[command(name = "simulator", version)]
struct Settings {
    /// Where to listen, as host:port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4100")]
    listen: SocketAddr,

    #[command(flatten)]
    simulator: SimulatorSettings,

    #[command(flatten)]
    program: ProgramSettings,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("simulator")?;
    let listener = TcpListener::bind(settings.listen).await.with_context(|| format!("--listen {}", settings.listen))?;
    info!(address = %listener.local_addr()?, "serving made-up odds");
    let simulator = Simulator::new(&settings.simulator, service::now);
    program.lifecycle.run("the simulator", simulator.serve(listener, program.stopping().cancelled_owned()));
    program.wait().await
}
