//! The settings that choose the source of a producer.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use odds::SIMULATOR;

use super::{ApiKey, Source, TheOddsApi};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Odds API")]
pub struct SourceSettings {
    /// Where odds come from. Clients see this source beside the odds.
    #[arg(long, value_enum, value_name = "SOURCE")]
    pub source: Option<SourceChoice>,

    /// URL of the simulator.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4100")]
    pub simulator_url: String,

    /// URL of The Odds API, if not its public one.
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,

    /// Key for The Odds API.
    #[arg(long, value_name = "KEY", hide_env_values = true)]
    pub api_key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SourceChoice {
    /// Made-up odds, from the simulator.
    Simulator,
    /// Real odds. Needs a key.
    TheOddsApi,
}

impl SourceSettings {
    /// Opens the source. Fails unless the settings are unambiguous, so that a typing error can't serve made-up odds as
    /// real ones, or spend credits by mistake. The source of a simulation that is `speed` times faster than reality says
    /// so.
    pub fn open(&self, speed: f64) -> anyhow::Result<Arc<dyn Source>> {
        let key = self.api_key.as_deref().map(str::trim).filter(|key| !key.is_empty());
        let (name, flag, url, key) = match (self.source, key) {
            (None, _) => anyhow::bail!("no source of odds: set --source simulator or --source the-odds-api"),
            (Some(SourceChoice::TheOddsApi), None) => anyhow::bail!("--source the-odds-api needs --api-key"),
            (Some(SourceChoice::TheOddsApi), Some(key)) => {
                (TheOddsApi::SOURCE.to_owned(), "--api-url", self.api_url.as_deref().unwrap_or(TheOddsApi::BASE), key)
            }
            (Some(SourceChoice::Simulator), Some(_)) => {
                anyhow::bail!("--source simulator takes no --api-key: remove the key, or set --source the-odds-api")
            }
            (Some(SourceChoice::Simulator), None) => {
                let name = if speed == 1.0 { SIMULATOR.to_owned() } else { format!("{SIMULATOR}:{speed}") };
                (name, "--simulator-url", &*self.simulator_url, "simulator")
            }
        };
        let url = url.parse().map_err(|error| anyhow::anyhow!("{flag} {url}: {error}"))?;
        Ok(Arc::new(TheOddsApi::new(name, url, ApiKey::new(key.to_owned()))?))
    }
}
