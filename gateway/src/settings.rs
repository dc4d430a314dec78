//! What a gateway is told.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use odds::Region;

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

    /// Join the groups `gateway-<region>` without the instance's name: for a gateway that is alone.
    #[arg(long)]
    pub alone: bool,

    /// How many consumers read each region's topic.
    #[arg(long, value_name = "REGION=NUMBER", value_delimiter = ',', default_values = ["us=2", "uk=2", "eu=1", "au=1"])]
    pub consumers: Vec<Consumers>,

    /// What changes is collected for so many milliseconds and sent as one frame; 0: at every step.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub tick: u64,

    /// How many clients may be connected.
    #[arg(long, value_name = "NUMBER", default_value_t = 50_000)]
    pub max_connections: usize,

    /// How many of them from one address.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    pub max_connections_per_address: usize,

    /// How many different filters may be in use: each is another room in every region.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    pub max_filters: usize,

    /// The largest message that a client may send, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384)]
    pub max_payload: u64,

    /// How often a client is pinged, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub ping_interval: u64,

    /// A client that doesn't answer a ping within so many seconds is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub ping_timeout: u64,

    /// How many seconds the clients of a gateway that stops are spread over.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(..=15))]
    pub close_over: u64,

    /// Only clients with one of these tokens are let in.
    #[arg(long, value_name = "TOKEN", hide = true, hide_env_values = true)]
    pub token: Vec<String>,
}

/// How many consumers a region has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumers {
    region: Region,
    number: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a region and a number from 1 to 64, such as us=2")]
pub struct InvalidConsumers;

impl FromStr for Consumers {
    type Err = InvalidConsumers;

    fn from_str(text: &str) -> Result<Self, InvalidConsumers> {
        let (region, number) = text.split_once('=').ok_or(InvalidConsumers)?;
        let region = region.parse().map_err(|_| InvalidConsumers)?;
        let number = number.parse().ok().filter(|number| (1..=64).contains(number)).ok_or(InvalidConsumers)?;
        Ok(Self { region, number })
    }
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

    pub(crate) fn consumers(&self, region: Region) -> usize {
        // The last word counts; a region that is not named has one.
        self.consumers.iter().rev().find(|it| it.region == region).map_or(1, |it| it.number)
    }
}

fn hostname() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    anyhow::ensure!(!name.is_empty(), "this host has no name: say --instance");
    Ok(name.to_owned())
}
