//! The gateway's command-line settings.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use accounts::{AccountSettings, RuleLimits, StoreUrl};
use anyhow::Context;
use clap::Args;
use ipnet::IpNet;
use messages::OutboxUrl;
use odds::Region;
use service::Origin;

use crate::transport::HeartbeatTimes;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub struct GatewaySettings {
    /// The address that clients connect to, as host:port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// The certificate as PEM, with those that lead to it, for a gateway without a proxy: it then speaks TLS only. The
    /// file is read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key of `--tls-cert` as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// The folder of the built page; without it, no page is served.
    #[arg(long, value_name = "DIR")]
    pub page: Option<PathBuf>,

    /// A name that no other gateway has. Default: the host's name.
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,

    /// Use the consumer groups `gateway-<region>`, without the instance's name: for a single gateway.
    #[arg(long)]
    pub alone: bool,

    /// The number of consumers for each region's topic.
    #[arg(long, value_name = "REGION=NUMBER", value_delimiter = ',', default_values = ["us=2", "uk=2", "eu=1", "au=1"])]
    pub consumers: Vec<Consumers>,

    /// The least time between two frames of a region, in milliseconds; changes in between are sent as one frame.
    /// 0 sends a frame for every step.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub tick: u64,

    /// The most clients that may be connected.
    #[arg(long, value_name = "NUMBER", default_value_t = 50_000, value_parser = number)]
    pub max_connections: usize,

    /// The most connected clients from one address.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = number)]
    pub max_connections_per_address: usize,

    /// The most connected clients of one user.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = number)]
    pub max_connections_per_user: usize,

    /// The most Socket.IO sessions that have not signed in yet.
    #[arg(long, value_name = "NUMBER", default_value_t = 8_000, value_parser = number)]
    pub max_strangers: usize,

    /// The most Socket.IO sessions from one address that have not signed in yet.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = number)]
    pub max_strangers_per_address: usize,

    /// The most different filters that may be in use; each needs a room in every region.
    #[arg(long, value_name = "NUMBER", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_filters: u64,

    /// The most different filters of one user.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_filters_per_user: u64,

    /// The largest message that a client may send, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u64).range(1_024..=16_777_216))]
    pub max_payload: u64,

    /// Whether clients that ask for compressed frames and responses of Socket.IO get them.
    #[arg(long, value_enum, value_name = "on|off", default_value = "on", hide_possible_values = true)]
    pub compression: Compression,

    /// The time between two pings of a client, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub ping_interval: u64,

    /// A client that doesn't answer a ping within this time is disconnected, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub ping_timeout: u64,

    /// The time over which a stopping gateway sends its clients away, one after the other, in seconds. Whoever is still
    /// there gets odds until then. A second signal ends it.
    #[arg(long, alias = "close-over", value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(..=3_600))]
    pub drain_seconds: u64,

    /// Where the history of prices is stored: sqlite:FILE, or questdb:http://[USER:PASSWORD@]HOST:PORT. Default of the
    /// gateway: there is no history.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub history: Option<history::StoreUrl>,

    /// Where messages to people are stored: mongodb://… or sqlite:FILE, as for the notifier. Default of the gateway:
    /// there are no messages, and nothing can be produced.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub outbox: Option<OutboxUrl>,

    /// The file with the key that signs links in messages, as for the notifier. It is created if it is missing. Necessary
    /// with --outbox.
    #[arg(long, value_name = "FILE")]
    pub signing_key: Option<PathBuf>,

    /// The topics that programs may produce to; repeat for more.
    #[arg(long, value_name = "TOPIC", value_delimiter = ',', default_value = kafka::TRANSACTIONS)]
    pub produce_topics: Vec<String>,

    #[command(flatten)]
    pub accounts: AccountArgs,
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or("from 1 to 1000000".into())
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Accounts")]
pub struct AccountArgs {
    /// Where users, sessions and subscriptions are stored: mongodb://… or sqlite:FILE. Default of the gateway: a
    /// MongoDB on its own host.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub store: Option<StoreUrl>,

    /// Whether anybody may create an account, or only operators, with `gateway user create` or on the page. What operators
    /// decide there comes first. Default: closed.
    #[arg(long, value_name = "WHO")]
    pub registration: Option<Registration>,

    /// The URL at which browsers open the page, as https://host; repeat for more. Cookies from other origins are
    /// refused. Default on loopback: the gateway's own address.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub public_origin: Vec<Origin>,

    /// A proxy whose X-Forwarded-For is trusted, as an address or a network; repeat for more.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub trusted_proxy: Vec<TrustedProxy>,

    /// The most sign-ins, registrations and wrong tokens from one address, per minute.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub attempts_per_minute: u32,

    /// The time after which an unused session ends, in hours.
    #[arg(long, value_name = "HOURS", default_value_t = 168, value_parser = clap::value_parser!(u64).range(1..=8_760))]
    pub session_idle: u64,

    /// The time after which every session ends, in hours.
    #[arg(long, value_name = "HOURS", default_value_t = 720, value_parser = clap::value_parser!(u64).range(1..=8_760))]
    pub session_lifetime: u64,

    /// The time after which every token ends, in days.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    pub token_lifetime: u64,

    /// The time between two checks of connected clients' accounts, and of whether the store accepts writes, in
    /// seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub recheck: u64,

    /// The most rules for alerts of one user.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_rules_per_user: u64,

    /// The most rules of all users.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_rules: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    On,
    Off,
}

/// Who may create an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Registration {
    Open,
    Closed,
}

/// The address or network of a proxy whose X-Forwarded-For is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address or a network, such as 10.0.0.0/8")]
pub struct InvalidProxy;

impl FromStr for TrustedProxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        address.or_else(|_| text.parse()).map(Self).map_err(|_| InvalidProxy)
    }
}

impl TrustedProxy {
    pub(crate) fn is(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl AccountArgs {
    /// Whether a gateway that listens there serves this machine only: on loopback, with no origin or proxy configured.
    pub fn is_private(&self, listens_at: SocketAddr) -> bool {
        listens_at.ip().is_loopback() && self.public_origin.is_empty() && self.trusted_proxy.is_empty()
    }

    /// Returns the origins whose cookies are accepted, given the gateway's own address and whether it speaks TLS.
    fn origins(&self, own: SocketAddr, over_tls: bool) -> Vec<Origin> {
        if !self.public_origin.is_empty() || !own.ip().is_loopback() {
            return self.public_origin.clone();
        }
        Origin::of_loopback(own, over_tls).to_vec()
    }

    pub(crate) fn account_settings(&self) -> AccountSettings {
        AccountSettings {
            registration: self.registration == Some(Registration::Open),
            attempts_per_minute: self.attempts_per_minute,
            session_idle: Duration::from_secs(self.session_idle * 3_600),
            session_lifetime: Duration::from_secs(self.session_lifetime * 3_600),
            token_lifetime: Duration::from_secs(self.token_lifetime * 24 * 3_600),
            rules: RuleLimits { per_user: self.max_rules_per_user as usize, total: self.max_rules as usize },
        }
    }
}

/// The number of consumers of a region.
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
    pub fn instance(&self) -> anyhow::Result<String> {
        match &self.instance {
            Some(name) => Ok(name.clone()),
            None => service::hostname().context("this host has no name: set --instance"),
        }
    }

    /// Returns the origins whose cookies are accepted, given the gateway's own address.
    pub(crate) fn origins(&self, own: SocketAddr) -> Vec<Origin> {
        self.accounts.origins(own, self.tls_cert.is_some())
    }

    /// The scheme of its own address.
    pub fn scheme(&self) -> &'static str {
        if self.tls_cert.is_some() { "https" } else { "http" }
    }

    /// Whether cookies are for TLS only. Fails if some origins have https and some don't.
    pub(crate) fn is_secure(&self) -> anyhow::Result<bool> {
        let origins = &self.accounts.public_origin;
        let secure = origins.iter().filter(|origin| origin.is_secure()).count();
        anyhow::ensure!(
            secure == 0 || secure == origins.len(),
            "--public-origin: use https for all origins or for none, since a session cookie works with one only"
        );
        anyhow::ensure!(
            self.tls_cert.is_none() || secure == origins.len(),
            "--public-origin: use https, since --tls-cert makes the gateway speak TLS only"
        );
        Ok(secure > 0 || self.tls_cert.is_some())
    }

    pub(crate) fn heartbeat(&self) -> HeartbeatTimes {
        HeartbeatTimes {
            interval: Duration::from_secs(self.ping_interval),
            timeout: Duration::from_secs(self.ping_timeout),
        }
    }

    pub(crate) fn tick(&self) -> Duration {
        Duration::from_millis(self.tick)
    }

    pub(crate) fn consumers(&self, region: Region) -> usize {
        // The last value for a region counts; the default is 1.
        self.consumers.iter().rev().find(|it| it.region == region).map_or(1, |it| it.number)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        _settings: GatewaySettings,
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(Alone::try_parse_from(["gateway", "--max-filters=1", "--max-payload=1024", "--tick=0"]).is_ok());
        for argument in [
            "--max-filters=0",
            "--max-filters-per-user=0",
            "--max-payload=0",
            "--max-connections=0",
            "--max-connections-per-address=0",
            "--max-connections-per-user=-1",
            "--max-strangers=0",
            "--max-strangers-per-address=NaN",
            "--ping-interval=0",
            "--attempts-per-minute=0",
            "--recheck=0",
        ] {
            assert!(Alone::try_parse_from(["gateway", argument]).is_err(), "{argument}");
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let network: TrustedProxy = "10.0.0.0/8".parse().unwrap();
        assert!(network.is("10.1.2.3".parse().unwrap()) && !network.is("11.1.2.3".parse().unwrap()));
        let single: TrustedProxy = "::1".parse().unwrap();
        assert!(single.is("::1".parse().unwrap()) && !single.is("::2".parse().unwrap()));
        assert!("10.0.0.0/33".parse::<TrustedProxy>().is_err());
    }
}
