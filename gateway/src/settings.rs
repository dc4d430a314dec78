//! What a gateway is told.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use accounts::{AccountSettings, StoreUrl};
use clap::Args;
use ipnet::IpNet;
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

    /// The frames of a region are at least so many milliseconds apart, and what changes meanwhile is one
    /// frame; 0: a frame for every step.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub tick: u64,

    /// How many clients may be connected.
    #[arg(long, value_name = "NUMBER", default_value_t = 50_000, value_parser = number)]
    pub max_connections: usize,

    /// How many of them from one address.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = number)]
    pub max_connections_per_address: usize,

    /// How many of one user.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = number)]
    pub max_connections_per_user: usize,

    /// How many sessions may have begun that nobody has signed in to.
    #[arg(long, value_name = "NUMBER", default_value_t = 8_000, value_parser = number)]
    pub max_strangers: usize,

    /// How many of them from one address.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = number)]
    pub max_strangers_per_address: usize,

    /// How many different filters may be in use: each is another room in every region.
    #[arg(long, value_name = "NUMBER", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_filters: u64,

    /// How many of them one user may have.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_filters_per_user: u64,

    /// The largest message that a client may send, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384, value_parser = clap::value_parser!(u64).range(1_024..=16_777_216))]
    pub max_payload: u64,

    /// How often a client is pinged, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub ping_interval: u64,

    /// A client that doesn't answer a ping within so many seconds is gone.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub ping_timeout: u64,

    /// Clients of a gateway that stops are told to leave over so many seconds.
    #[arg(long, alias = "close-over", value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(..=15))]
    pub drain_seconds: u64,

    #[command(flatten)]
    pub accounts: AccountArgs,
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or("from 1 to 1000000".into())
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Accounts")]
pub struct AccountArgs {
    /// Where users, sessions and subscriptions are: mongodb://… or sqlite:FILE. The gateway looks for a
    /// MongoDB on its own host if not given.
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub store: Option<StoreUrl>,

    /// Whether anybody may make an account, or only the operator: `gateway user create`. Closed if not
    /// given.
    #[arg(long, value_name = "WHO")]
    pub registration: Option<Registration>,

    /// Where people reach the page, as https://host; repeat for more. Browsers are listened to only
    /// from there. On loopback the own address, if not given.
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub public_origin: Vec<Origin>,

    /// A proxy whose X-Forwarded-For is believed, as an address or a network; repeat for more.
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub trusted_proxy: Vec<TrustedProxy>,

    /// How many sign-ins, registrations and wrong tokens a minute are heard of one address.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub attempts_per_minute: u32,

    /// After how many hours a session ends that isn't used.
    #[arg(long, value_name = "HOURS", default_value_t = 168, value_parser = clap::value_parser!(u64).range(1..=8_760))]
    pub session_idle: u64,

    /// After how many hours every session ends.
    #[arg(long, value_name = "HOURS", default_value_t = 720, value_parser = clap::value_parser!(u64).range(1..=8_760))]
    pub session_lifetime: u64,

    /// After how many days every token ends.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=3_650))]
    pub token_lifetime: u64,

    /// How often the accounts of connected clients are compared with the store, and whether the store can be
    /// written is checked, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub recheck: u64,
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Registration {
    Open,
    Closed,
}

/// Scheme, host and port, as browsers say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an origin such as https://odds.example.com, without a path")]
pub struct InvalidOrigin;

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let uri: http::Uri = text.parse().map_err(|_| InvalidOrigin)?;
        let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).ok_or(InvalidOrigin)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(InvalidOrigin)?.to_lowercase();
        if uri.path() != "/" || uri.query().is_some() || uri.authority().is_some_and(|it| it.as_str().contains('@')) {
            return Err(InvalidOrigin);
        }
        // Browsers leave out the scheme's own port.
        let own = if scheme == "https" { 443 } else { 80 };
        Ok(Self(match uri.port_u16().filter(|port| *port != own) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }
}

impl Origin {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn is_secure(&self) -> bool {
        self.0.starts_with("https:")
    }
}

/// An address, or a network.
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
    /// Listening there, it is for whoever sits at this machine: nothing says that a proxy publishes it.
    pub fn is_private(&self, listens_at: SocketAddr) -> bool {
        listens_at.ip().is_loopback() && self.public_origin.is_empty() && self.trusted_proxy.is_empty()
    }

    /// The origins that browsers are listened to from, given the gateway's own address.
    pub(crate) fn origins(&self, own: SocketAddr) -> Vec<Origin> {
        if !self.public_origin.is_empty() || !own.ip().is_loopback() {
            return self.public_origin.clone();
        }
        [format!("http://{own}"), format!("http://localhost:{}", own.port())].map(Origin).to_vec()
    }

    /// Whether cookies are for TLS only.
    pub(crate) fn is_secure(&self) -> anyhow::Result<bool> {
        let secure = self.public_origin.iter().filter(|origin| origin.is_secure()).count();
        anyhow::ensure!(
            secure == 0 || secure == self.public_origin.len(),
            "--public-origin: all with https or none, since a session's cookie is for the one or the other"
        );
        Ok(secure > 0)
    }

    pub(crate) fn account_settings(&self) -> AccountSettings {
        AccountSettings {
            registration: self.registration == Some(Registration::Open),
            attempts_per_minute: self.attempts_per_minute,
            session_idle: Duration::from_secs(self.session_idle * 3_600),
            session_lifetime: Duration::from_secs(self.session_lifetime * 3_600),
            token_lifetime: Duration::from_secs(self.token_lifetime * 24 * 3_600),
        }
    }
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
    fn an_origin_is_as_browsers_say_it() {
        for (given, said) in [
            ("https://Odds.Example.com", "https://odds.example.com"),
            ("https://odds.example.com:443/", "https://odds.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(given.parse::<Origin>().unwrap().as_str(), said);
        }
        for text in ["", "odds.example.com", "ftp://x", "https://x/path", "https://a@x", "null"] {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
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
