//! A producer's settings.

mod source;

use clap::Args;
use odds::{MarketKey, Region, SportKey};

pub use self::source::{BookmakerChoice, SourceChoice, SourceSettings};

/// The market of sports that only have odds on the winner of a whole tournament.
const OUTRIGHTS: &str = "outrights";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Producer")]
pub struct ProducerSettings {
    /// The region whose odds are polled and whose topic is written.
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
    /// Keys of the sports to poll, separated by commas or repeated. Without any: all sports in season. At odds-api.io,
    /// other leagues than the best known ones are written as the slugs of their sport and their own:
    /// `football:norway-eliteserien`.
    #[arg(long = "sports", id = "sports", value_name = "KEY", value_delimiter = ',')]
    pub sports: Vec<SportKey>,

    /// Markets to request. For a sport that only has outrights, those are requested instead.
    #[arg(long = "markets", id = "markets", value_name = "KEY", value_delimiter = ',', default_values = ["h2h", "spreads", "totals"])]
    pub markets: Vec<MarketKey>,

    /// This producer's share of the API key's remaining credits: a quarter if four producers share a key.
    #[arg(long, default_value_t = 0.25, value_name = "SHARE", value_parser = share)]
    pub credit_share: f64,

    /// Credits that may be spent per day (UTC): by each producer, or in `standalone` by all four together. At
    /// odds-api.io, a request is a credit.
    #[arg(long, value_name = "CREDITS", value_parser = credits)]
    pub max_credits_per_day: Option<f64>,

    /// Divides the intervals between polls and the time that a poll counts as fresh, for a fast simulator.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", hide = true, value_parser = speed)]
    pub poll_speed: f64,
}

impl PollSettings {
    /// Whether this sport should be polled.
    pub(crate) fn wants(&self, sport: &SportKey) -> bool {
        self.sports.is_empty() || self.sports.contains(sport)
    }

    /// Returns the markets to request for a sport.
    pub(crate) fn markets_of(&self, outrights: bool) -> Vec<MarketKey> {
        if outrights { vec![OUTRIGHTS.parse().expect("a valid key")] } else { self.markets.clone() }
    }
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
