//! What a gateway is told.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub struct GatewaySettings {
    /// Where clients connect, as host:port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// The folder with the built page; no page is served without.
    #[arg(long, value_name = "DIR")]
    pub page: Option<PathBuf>,

    /// This gateway's name among others; each has its own. The host's name if not given.
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,

    /// What changes is collected for so many milliseconds and sent as one frame; 0: at every step.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub tick: u64,
}

impl GatewaySettings {
    pub(crate) fn instance(&self) -> anyhow::Result<String> {
        match &self.instance {
            Some(name) => Ok(name.clone()),
            None => hostname(),
        }
    }

    pub(crate) fn tick(&self) -> Duration {
        Duration::from_millis(self.tick)
    }
}

fn hostname() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    anyhow::ensure!(!name.is_empty(), "this host has no name: say --instance");
    Ok(name.to_owned())
}
