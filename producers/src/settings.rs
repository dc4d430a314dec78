//! What a producer is told.

use clap::{Args, ValueEnum};
use odds::{MarketKey, Region, SportKey};

use crate::{ApiKey, TheOddsApi, simulator};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Producer")]
pub struct ProducerSettings {
    /// The region whose bookmakers are asked, and whose topic is written.
    #[arg(long, value_name = "us|uk|eu|au")]
    pub region: Region,

    #[command(flatten)]
    pub polling: PollSettings,

    #[command(flatten)]
    pub source: SourceSettings,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Polling")]
pub struct PollSettings {
    /// Sports to poll, by key; repeat for more, or separate by commas. Without: all that are in season.
    #[arg(long = "sports", id = "sports", value_name = "KEY", value_delimiter = ',')]
    pub sports: Vec<SportKey>,

    /// Markets to ask for. A sport that only has outrights is asked for those.
    #[arg(long = "markets", id = "markets", value_name = "KEY", value_delimiter = ',', default_values = ["h2h", "spreads", "totals"])]
    pub markets: Vec<MarketKey>,

    /// This producer's share of what the API key has left: a quarter where four share a key.
    #[arg(long, default_value_t = 0.25, value_name = "SHARE", value_parser = share)]
    pub credit_share: f64,

    /// Credits that may be used a day (UTC): by each producer, or in `standalone` by all four together.
    #[arg(long, value_name = "CREDITS", value_parser = credits)]
    pub max_credits_per_day: Option<f64>,

    /// Divides every interval between polls, and for how long a poll counts as fresh: for a simulator that runs faster than reality.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", hide = true, value_parser = speed)]
    pub poll_speed: f64,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Odds API")]
pub struct SourceSettings {
    /// Where odds come from. It is said wherever the odds are shown.
    #[arg(long, value_enum, value_name = "SOURCE")]
    pub source: Option<SourceChoice>,

    /// Where the simulator is.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4100")]
    pub simulator_url: String,

    /// Where The Odds API is, if not at its own address.
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,

    /// The key for The Odds API.
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

fn speed(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|speed| (0.001..=100_000.0).contains(speed)).ok_or("from 0.001 to 100000".into())
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or("above 0, at most 1".into())
}

fn credits(text: &str) -> Result<f64, String> {
    let credits: Option<f64> = text.parse().ok();
    credits.filter(|credits| credits.is_finite() && *credits >= 0.0).ok_or("a number, at least 0".into())
}

impl SourceSettings {
    /// A mistyped setting must not serve fiction for fact, nor the other way round.
    pub fn open(&self) -> anyhow::Result<TheOddsApi> {
        let key = self.api_key.as_deref().map(str::trim).filter(|key| !key.is_empty());
        let (name, flag, url, key) = match (self.source, key) {
            (None, _) => anyhow::bail!("say where odds come from: --source simulator or --source the-odds-api"),
            (Some(SourceChoice::TheOddsApi), None) => anyhow::bail!("--source the-odds-api needs --api-key"),
            (Some(SourceChoice::TheOddsApi), Some(key)) => {
                (TheOddsApi::SOURCE, "--api-url", self.api_url.as_deref().unwrap_or(TheOddsApi::BASE), key)
            }
            (Some(SourceChoice::Simulator), Some(_)) => {
                anyhow::bail!("--source simulator goes without --api-key: with a key, say --source the-odds-api")
            }
            (Some(SourceChoice::Simulator), None) => {
                (simulator::SOURCE, "--simulator-url", &*self.simulator_url, "simulator")
            }
        };
        let url = url.parse().map_err(|error| anyhow::anyhow!("{flag} {url}: {error}"))?;
        TheOddsApi::new(name, url, ApiKey::new(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::simulator::SimulatorSettings;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        _polling: PollSettings,
        #[command(flatten)]
        _simulator: SimulatorSettings,
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(Alone::try_parse_from(["producer", "--credit-share=1", "--credits=0", "--speed=20"]).is_ok());
        for flag in ["--credit-share", "--poll-speed", "--max-credits-per-day", "--credits", "--speed", "--fault-rate"]
        {
            for value in ["-1", "NaN", "inf", "much"] {
                let argument = format!("{flag}={value}");
                assert!(Alone::try_parse_from(["producer", &argument]).is_err(), "{argument}");
            }
        }
    }
}
