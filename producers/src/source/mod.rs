//! Where odds come from. To support another API, implement [`Source`] and add a `SourceChoice`: see `docs/sources.md`.

mod error;
mod field;
mod http;
mod odds_api_io;
mod the_odds_api;

use std::{collections::BTreeMap, fmt::Debug};

use async_trait::async_trait;
use clap::ValueEnum;
use odds::{BookmakerKey, Credits, Details, EventId, Image, MarketKey, Quotes, Region, SportKey, Timestamp};
use serde::Deserialize;

pub(crate) use self::odds_api_io::{bookmaker_key, league};
pub use self::{
    error::{RetryAfter, SourceError},
    http::ApiKey,
    odds_api_io::{OddsApiIo, OddsApiIoSettings},
    the_odds_api::{TheOddsApi, first_of_next_month},
};

/// The odds APIs that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    TheOddsApi,
    OddsApiIo,
}

/// An odds API, as the producer of one region uses it. What it charges is counted in its own unit: credits or requests.
#[async_trait]
pub trait Source: Debug + Send + Sync {
    /// The name shown on every marker and on the page.
    fn name(&self) -> &str;

    /// Returns the sports in season. Costs nothing: it is also asked for the remaining credits.
    async fn sports(&self) -> Result<SportList, SourceError>;

    /// Returns the starts of a sport's upcoming and running events.
    async fn starts(&self, sport: &SportKey) -> Result<StartList, SourceError>;

    /// Returns all odds that a region's bookmakers offer on a sport.
    async fn odds(&self, query: OddsQuery) -> Result<Answer, SourceError>;

    /// Returns the most credits that the next call of `odds` for this sport and these markets costs.
    fn cost(&self, sport: &SportKey, markets: &[MarketKey]) -> f64;

    /// Returns the most credits that listing the sports and the starts of each of them costs.
    fn list_cost(&self) -> f64 {
        0.0
    }

    /// Returns when the credits that remained at a time are renewed. A source that can't know returns that time.
    fn renewal(&self, at: Timestamp) -> Timestamp;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sport {
    pub key: SportKey,
    /// Whether the sport only has odds on the winner of a whole tournament, in the market `outrights`.
    pub outrights: bool,
}

#[derive(Clone, Debug, Default)]
pub struct SportList {
    pub sports: Vec<Sport>,
    pub credits: Credits,
    pub unreadable: Unreadable,
}

#[derive(Clone, Debug, Default)]
pub struct StartList {
    pub starts: Vec<Timestamp>,
    /// Credits that the call cost.
    pub cost: f64,
    pub unreadable: Unreadable,
}

#[derive(Clone, Debug)]
pub struct OddsQuery {
    pub sport: SportKey,
    pub region: Region,
    pub markets: Vec<MarketKey>,
    pub now: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub events: Vec<(EventId, Image)>,
    /// Events whose prices could be read, but not all of their details.
    pub incomplete: Vec<IncompleteEvent>,
    /// When upstream last saw each bookmaker's prices.
    pub bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    /// The bookmakers' names as upstream writes them.
    pub bookmaker_names: BTreeMap<BookmakerKey, String>,
    pub credits: Credits,
    /// Credits that the call cost.
    pub cost: f64,
    /// Counts of the parts that couldn't be read and were left out.
    pub unreadable: Unreadable,
}

/// An event with details that can't all be read.
#[derive(Clone, Debug)]
pub struct IncompleteEvent {
    pub id: EventId,
    pub polled_at: Timestamp,
    pub quotes: Quotes,
    /// The details without the unreadable fields, if the event can be shown without them.
    pub details: Option<Details>,
}

/// The level of an answer's part that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Sport,
    Start,
    Event,
    Details,
    Bookmaker,
    Market,
    Outcome,
}

impl Level {
    pub fn key(self) -> &'static str {
        match self {
            Self::Sport => "sport",
            Self::Start => "start",
            Self::Event => "event",
            Self::Details => "details",
            Self::Bookmaker => "bookmaker",
            Self::Market => "market",
            Self::Outcome => "outcome",
        }
    }
}

/// Counts of an answer's unreadable parts, by level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unreadable(BTreeMap<Level, u64>);

impl Unreadable {
    pub fn add(&mut self, level: Level) {
        *self.0.entry(level).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (level, count) in other.iter() {
            *self.0.entry(level).or_default() += count;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Level, u64)> {
        self.0.iter().map(|(level, count)| (*level, *count))
    }

    pub fn count(&self, level: Level) -> u64 {
        self.0.get(&level).copied().unwrap_or_default()
    }

    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
