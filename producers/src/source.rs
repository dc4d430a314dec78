//! Where odds come from. Another API is another implementation of [`Source`].

use std::{collections::BTreeMap, future::Future, time::Duration};

use odds::{BookmakerKey, Credits, Details, EventId, Image, MarketKey, Quotes, Region, SportKey, Timestamp};

/// An odds API, asked on behalf of one region.
pub trait Source: Send + Sync + 'static {
    /// As it is called on every marker and on the page.
    fn name(&self) -> &str;

    /// The sports that are in season. Free of charge.
    fn sports(&self) -> impl Future<Output = Result<SportList, SourceError>> + Send;

    /// When a sport's coming and running events start. Free of charge.
    fn starts(&self, sport: &SportKey) -> impl Future<Output = Result<StartList, SourceError>> + Send;

    /// Everything a region's bookmakers offer on a sport.
    fn odds(&self, query: OddsQuery) -> impl Future<Output = Result<Answer, SourceError>> + Send;

    /// What one call of `odds` costs at most.
    fn cost(&self, markets: &[MarketKey]) -> f64;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sport {
    pub key: SportKey,
    /// Only winners of a whole tournament are offered, by the market `outrights`.
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
    /// Events of which the prices could be read, and not everything else.
    pub incomplete: Vec<IncompleteEvent>,
    /// When upstream last looked at each bookmaker.
    pub bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    /// What upstream calls them.
    pub bookmaker_names: BTreeMap<BookmakerKey, String>,
    pub credits: Credits,
    /// What the call cost.
    pub cost: f64,
    /// What was left out, each at the smallest level.
    pub unreadable: Unreadable,
}

/// An event whose details have a field that can't be read.
#[derive(Clone, Debug)]
pub struct IncompleteEvent {
    pub id: EventId,
    pub polled_at: Timestamp,
    pub quotes: Quotes,
    /// Without that field, if the event can be shown without it.
    pub details: Option<Details>,
}

/// What of an answer can't be read.
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

/// How much of an answer could not be read, by level.
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

/// When upstream wants to be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    In(Duration),
    At(Timestamp),
}

/// Why there is no answer; each kind is met in its own way.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// Nothing will work until somebody does something.
    #[error("the odds API refuses the key ({code}): {message}")]
    BadKey { code: String, message: String },
    /// Nothing that costs will work until credits are renewed.
    #[error("the credits are used up")]
    OutOfCredits(Credits),
    /// This sport, or what was asked of it, is not to be had.
    #[error("the odds API refuses the request ({code}): {message}")]
    Refused { code: String, message: String },
    #[error("too many requests")]
    TooFast { retry_after: Option<RetryAfter> },
    /// It may work the next time. `cost`: what the call may have cost all the same.
    #[error("the odds API fails: {reason}")]
    Outage { reason: String, retry_after: Option<RetryAfter>, cost: f64 },
    /// There is an answer, and nothing in it is what was asked for.
    #[error("the odds API's answer has another format: {reason}")]
    WrongFormat { reason: String, credits: Credits, cost: f64 },
}

impl SourceError {
    /// What the call may have cost.
    pub fn cost(&self) -> f64 {
        match self {
            Self::Outage { cost, .. } | Self::WrongFormat { cost, .. } => *cost,
            Self::BadKey { .. } | Self::OutOfCredits(_) | Self::Refused { .. } | Self::TooFast { .. } => 0.0,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<RetryAfter> {
        match self {
            Self::TooFast { retry_after } | Self::Outage { retry_after, .. } => *retry_after,
            Self::BadKey { .. } | Self::OutOfCredits(_) | Self::Refused { .. } | Self::WrongFormat { .. } => None,
        }
    }
}
