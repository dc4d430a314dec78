//! Where odds come from. Another API is another implementation of [`Source`].

use std::{collections::BTreeMap, future::Future, time::Duration};

use odds::{BookmakerKey, Credits, EventId, Image, MarketKey, Region, SportKey, Timestamp};

/// An odds API, asked on behalf of one region.
pub trait Source: Send + Sync + 'static {
    /// As it is called on every marker and on the page.
    fn name(&self) -> &str;

    /// The sports that are in season. Free of charge.
    fn sports(&self) -> impl Future<Output = Result<(Vec<Sport>, Credits), SourceError>> + Send;

    /// When a sport's coming and running events start. Free of charge.
    fn starts(&self, sport: &SportKey) -> impl Future<Output = Result<Vec<Timestamp>, SourceError>> + Send;

    /// Everything a region's bookmakers offer on a sport.
    fn odds(&self, query: OddsQuery) -> impl Future<Output = Result<Answer, SourceError>> + Send;

    /// What one call of `odds` costs.
    fn cost(&self, markets: &[MarketKey]) -> f64;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sport {
    pub key: SportKey,
    /// Only winners of a whole tournament are offered, by the market `outrights`.
    pub outrights: bool,
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
    /// Events that could not be read, by id where that could.
    pub unreadable: Vec<Option<EventId>>,
    /// When upstream last looked at each bookmaker.
    pub bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    pub credits: Credits,
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
    TooFast { retry_after: Option<Duration> },
    /// It may work the next time.
    #[error("the odds API fails: {0}")]
    Outage(String),
}
