//! The settings that choose the source of a producer.

use std::{str::FromStr, sync::Arc};

use clap::{Args, ValueEnum};
use odds::{Region, SIMULATOR, SportKey, Timestamp, UnknownRegion};

use super::PollSettings;
use crate::{
    simulator,
    source::{Api, ApiKey, OddsApiIo, OddsApiIoSettings, Source, TheOddsApi},
};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Odds API")]
pub struct SourceSettings {
    /// Where odds come from. Clients see this source beside the odds.
    #[arg(long, value_enum, value_name = "SOURCE")]
    pub source: Option<SourceChoice>,

    /// URL of the simulator.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4100")]
    pub simulator_url: String,

    /// Which API to use of those that the simulator imitates.
    #[arg(long, value_enum, value_name = "API", default_value_t = Api::TheOddsApi)]
    pub simulator_api: Api,

    /// URL of the odds API, if not its public one.
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,

    /// Key for the odds API.
    #[arg(long, value_name = "KEY", hide_env_values = true)]
    pub api_key: Option<String>,

    /// Names of the bookmakers to request from odds-api.io, separated by commas or repeated. With a region in front
    /// (`uk=Bet365`), a name is only for that region.
    #[arg(long = "bookmakers", id = "bookmakers", value_name = "[REGION=]NAME", value_delimiter = ',')]
    pub bookmakers: Vec<BookmakerChoice>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourceChoice {
    /// Made-up odds, from the simulator.
    Simulator,
    /// Real odds from The Odds API. Needs a key.
    TheOddsApi,
    /// Real odds from odds-api.io. Needs a key, `--sports` and `--bookmakers`.
    OddsApiIo,
}

/// A bookmaker to request, in one region or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookmakerChoice {
    region: Option<Region>,
    name: String,
}

impl FromStr for BookmakerChoice {
    type Err = UnknownRegion;

    fn from_str(text: &str) -> Result<Self, UnknownRegion> {
        let (region, name) = match text.split_once('=') {
            Some((region, name)) => (Some(region.trim().parse()?), name),
            None => (None, text),
        };
        Ok(Self { region, name: name.trim().to_owned() })
    }
}

impl SourceSettings {
    /// Opens the source. Fails unless the settings are unambiguous, so that a typing error can't serve made-up odds as
    /// real ones, or spend credits by mistake. The source of a simulation that is faster than reality says so.
    pub fn open(
        &self,
        region: Region,
        polling: &PollSettings,
        clock: fn() -> Timestamp,
    ) -> anyhow::Result<Arc<dyn Source>> {
        let speed = polling.poll_speed;
        let key = self.api_key.as_deref().map(str::trim).filter(|key| !key.is_empty());
        let api_url = |base| ("--api-url", self.api_url.as_deref().unwrap_or(base));
        let (api, name, (flag, url), key) = match (self.source, key) {
            (None, _) => anyhow::bail!("no source of odds: set --source simulator, the-odds-api or odds-api-io"),
            (Some(SourceChoice::Simulator), Some(_)) => {
                anyhow::bail!("--source simulator takes no --api-key: remove the key, or set the source that it is for")
            }
            (Some(SourceChoice::Simulator), None) => {
                let name = if speed == 1.0 { SIMULATOR.to_owned() } else { format!("{SIMULATOR}:{speed}") };
                (self.simulator_api, name, ("--simulator-url", &*self.simulator_url), "simulator")
            }
            (Some(SourceChoice::TheOddsApi), Some(key)) => {
                (Api::TheOddsApi, TheOddsApi::SOURCE.to_owned(), api_url(TheOddsApi::BASE), key)
            }
            (Some(SourceChoice::OddsApiIo), Some(key)) => {
                (Api::OddsApiIo, OddsApiIo::SOURCE.to_owned(), api_url(OddsApiIo::BASE), key)
            }
            (Some(SourceChoice::TheOddsApi), None) => anyhow::bail!("--source the-odds-api needs --api-key"),
            (Some(SourceChoice::OddsApiIo), None) => anyhow::bail!("--source odds-api-io needs --api-key"),
        };
        let base = url.parse().map_err(|error| anyhow::anyhow!("{flag} {url}: {error}"))?;
        let key = ApiKey::new(key.to_owned());
        if api == Api::TheOddsApi {
            anyhow::ensure!(self.bookmakers.is_empty(), "--bookmakers is only for odds-api.io");
            return Ok(Arc::new(TheOddsApi::new(name, base, key)?));
        }
        let here = self.bookmakers.iter().filter(|it| it.region.is_none_or(|only| only == region));
        let mut bookmakers: Vec<String> = here.map(|it| it.name.clone()).collect();
        let mut sports: Vec<SportKey> = polling.sports.clone();
        if self.source == Some(SourceChoice::Simulator) {
            // The simulator has few leagues and bookmakers: without settings, all of them.
            if sports.is_empty() {
                sports = simulator::leagues();
            }
            if self.bookmakers.is_empty() {
                bookmakers = simulator::bookmaker_names(region);
            }
        }
        let markets = polling.markets.clone();
        let settings = OddsApiIoSettings { name, base, key, bookmakers, sports, markets, speed, clock };
        Ok(Arc::new(OddsApiIo::new(settings)?))
    }
}
