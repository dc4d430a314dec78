//! The client of odds-api.io, version 3, and of the simulator, which imitates it. Only this folder knows its paths, JSON
//! and errors.
//!
//! It charges for requests, renews them every hour, and has no regions: a region is a list of bookmakers. An answer has
//! the odds of ten events at thirty bookmakers, so a poll of a league takes a list of its events and one or more
//! answers. While polls follow each other closely, it is cheaper to ask each bookmaker for what has changed; but such an
//! answer doesn't say what was withdrawn, so whole answers are still requested every [`WHOLE_EVERY`].

mod answer;
mod leagues;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use async_trait::async_trait;
use odds::{BookmakerKey, Credits, EventId, MarketKey, SportKey, Timestamp};
use reqwest::{StatusCode, Url, header::HeaderMap};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tracing::warn;

pub(crate) use self::leagues::league;
use self::{
    answer::{Events, ListedEvent, MARKETS, OddsReader, read_listed},
    leagues::League,
};
use super::{
    Answer, ApiKey, Level, OddsQuery, Source, SourceError, Sport, SportList, StartList, Unreadable,
    field::{Field, bookmaker_name},
    http::{ApiClient, number},
};

const HOUR: i64 = 60 * 60 * 1000;
/// The most events and the most bookmakers of one request.
const MAX_EVENTS: usize = 10;
const MAX_BOOKMAKERS: usize = 30;
/// How old a poll may be for a request of what has changed since, in milliseconds. Upstream tells that of a minute.
const CHANGES_SINCE: i64 = 45 * 1000;
/// What changed in this time before the last poll is requested again, in milliseconds: clocks differ.
const OVERLAP: i64 = 10 * 1000;
/// How long changes may be added to a whole answer before the next one, in milliseconds.
const WHOLE_EVERY: i64 = 2 * 60 * 1000;

/// What a client of odds-api.io needs to know.
#[derive(Clone, Debug)]
pub struct OddsApiIoSettings {
    /// The name shown on every marker and on the page.
    pub name: String,
    pub base: Url,
    pub key: ApiKey,
    /// The names of the region's bookmakers.
    pub bookmakers: Vec<String>,
    /// The leagues that may be polled.
    pub sports: Vec<SportKey>,
    pub markets: Vec<MarketKey>,
    /// How many times faster than reality the simulator is.
    pub speed: f64,
    pub clock: fn() -> Timestamp,
}

/// A client of odds-api.io for one region.
#[derive(Debug)]
pub struct OddsApiIo {
    name: String,
    client: ApiClient,
    bookmakers: Vec<Bookmaker>,
    leagues: BTreeMap<SportKey, League>,
    whole_every: i64,
    clock: fn() -> Timestamp,
    state: Mutex<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bookmaker {
    key: BookmakerKey,
    name: String,
}

/// What upstream last told.
#[derive(Debug, Default)]
struct State {
    allowance: Allowance,
    /// The events of each league, as last listed.
    listed: BTreeMap<SportKey, Vec<EventId>>,
    /// Ids that were asked for together, and of which the last answer had no event.
    empty: BTreeSet<(SportKey, String)>,
    polled: BTreeMap<SportKey, Polled>,
}

/// The requests that the key may make, as last reported.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    limit: Option<f64>,
    remaining: Option<f64>,
    /// When all of them are allowed again.
    reset: Option<Timestamp>,
}

/// The last poll of a league.
#[derive(Debug)]
struct Polled {
    events: Events,
    at: Timestamp,
    /// When the last whole answer was requested.
    whole_at: Timestamp,
}

impl OddsApiIo {
    pub const SOURCE: &str = "odds-api-io";
    pub const BASE: &str = "https://api.odds-api.io";

    /// Fails if a setting makes no sense, with a message that names its flag.
    pub fn new(settings: OddsApiIoSettings) -> anyhow::Result<Self> {
        let mut bookmakers: Vec<Bookmaker> = Vec::new();
        for name in &settings.bookmakers {
            let unusable = || anyhow::anyhow!("--bookmakers: {name:?} is no name of a bookmaker");
            let name = bookmaker_name(name).ok_or_else(unusable)?;
            let key = bookmaker_key(&name).ok_or_else(unusable)?;
            if let Some(other) = bookmakers.iter().find(|it| it.key == key) {
                anyhow::ensure!(other.name == name, "--bookmakers: {} and {name} have the same key, {key}", other.name);
                continue;
            }
            bookmakers.push(Bookmaker { key, name });
        }
        anyhow::ensure!(!bookmakers.is_empty(), "odds-api.io needs --bookmakers: the names of the region's bookmakers");
        anyhow::ensure!(!settings.sports.is_empty(), "odds-api.io needs --sports: it has too many leagues to poll all");
        let mut leagues: BTreeMap<SportKey, League> = BTreeMap::new();
        for sport in settings.sports {
            let unknown = || {
                anyhow::anyhow!(
                    "--sports: no league of odds-api.io is known as {sport}: write its slugs, as SPORT:LEAGUE"
                )
            };
            let league = league(&sport).ok_or_else(unknown)?;
            if let Some((other, _)) = leagues.iter().find(|(key, known)| **key != sport && **known == league) {
                anyhow::bail!("--sports: {other} and {sport} are the same league");
            }
            leagues.insert(sport, league);
        }
        if let Some(market) = settings.markets.iter().find(|key| MARKETS.iter().all(|(ours, _)| key.as_str() != *ours))
        {
            let known = MARKETS.map(|(ours, _)| ours).join(", ");
            anyhow::bail!("--markets: from odds-api.io, only {known} can be read, not {market}");
        }
        Ok(Self {
            name: settings.name,
            client: ApiClient::new(settings.base, settings.key)?,
            bookmakers,
            leagues,
            whole_every: (WHOLE_EVERY as f64 / settings.speed) as i64,
            clock: settings.clock,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while holding the lock")
    }

    fn league(&self, sport: &SportKey) -> Result<&League, SourceError> {
        let unknown = || SourceError::Refused {
            code: "UNKNOWN_SPORT".into(),
            message: format!("{sport} is not among the leagues to poll"),
            cost: 0.0,
        };
        self.leagues.get(sport).ok_or_else(unknown)
    }

    /// Sends one request.
    async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, SourceError> {
        let outage = |reason, cost| SourceError::Outage { reason, retry_after: None, cost };
        let reply = self.client.get(path, query).await;
        // Upstream may have counted a request that it never answered.
        let reply = reply.map_err(|failed| outage(failed.reason, f64::from(u8::from(failed.was_sent))))?;
        let allowance = Allowance::read(&reply.headers);
        self.state().allowance.update(allowance, (self.clock)());
        if reply.status.is_success() {
            return self.client.json(&reply).map_err(|reason| outage(reason, 1.0));
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct ErrorBody {
            error: Field<String>,
        }
        let ErrorBody { error } = reply.error();
        let error = error.value().map(|error| self.client.words(&error));
        let message = error.clone().unwrap_or_default();
        let code = reply.status.as_str().to_owned();
        let retry_after = reply.retry_after();
        Err(match reply.status {
            // A 401 or 403 without upstream's error comes from a proxy: an outage, not a bad key.
            StatusCode::UNAUTHORIZED if error.is_some() => SourceError::BadKey { code, message },
            StatusCode::TOO_MANY_REQUESTS if allowance.remaining == Some(0.0) => {
                SourceError::OutOfCredits { credits: self.credits(), cost: 1.0 }
            }
            StatusCode::TOO_MANY_REQUESTS => SourceError::TooFast { retry_after, cost: 1.0 },
            StatusCode::FORBIDDEN if error.is_some() => SourceError::Refused { code, message, cost: 1.0 },
            StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
                SourceError::Refused { code, message, cost: 1.0 }
            }
            _ => SourceError::Outage { reason: self.client.failure(&reply), retry_after, cost: 1.0 },
        })
    }

    /// Lists the events of a league that are neither over nor cancelled. Takes one request.
    async fn list(&self, sport: &SportKey) -> Result<(Vec<ListedEvent>, Unreadable), SourceError> {
        let league = self.league(sport)?;
        let query = [("sport", &*league.sport), ("league", &*league.league), ("status", "pending,live")];
        let entries: Vec<Box<RawValue>> = self.get(&["v3", "events"], &query).await?;
        let (mut events, mut unreadable) = (Vec::new(), Unreadable::default());
        let mut none_is_readable = !entries.is_empty();
        for entry in &entries {
            match read_listed(entry.get()) {
                Ok(event) => {
                    none_is_readable = false;
                    if event.as_ref().is_some_and(|event| event.start.is_none()) {
                        unreadable.add(Level::Start);
                    }
                    events.extend(event);
                }
                Err(()) => {
                    warn!(%sport, entry = self.client.excerpt(entry.get().as_bytes()), "an event can't be read and is left out");
                    unreadable.add(Level::Start);
                }
            }
        }
        if none_is_readable {
            let reason = format!("none of the {} events in a list can be read", entries.len());
            return Err(SourceError::WrongFormat { reason, credits: self.credits(), cost: 1.0 });
        }
        events.sort_by_key(|event| event.start);
        Ok((events, unreadable))
    }

    fn credits(&self) -> Credits {
        self.state().allowance.credits((self.clock)())
    }

    /// The number of requests for all odds of so many events.
    fn requests_for(&self, events: usize) -> usize {
        events.div_ceil(MAX_EVENTS) * self.bookmakers.len().div_ceil(MAX_BOOKMAKERS)
    }

    /// Requests all odds of a league: a list of its events, and their odds.
    async fn whole(&self, query: &OddsQuery) -> Result<(Answer, Events), SourceError> {
        let known = self.state().listed.get(&query.sport).cloned();
        let (listed, unreadable) = self.list(&query.sport).await?;
        let listed: Vec<EventId> = listed.into_iter().map(|event| event.id).collect();
        self.state().listed.insert(query.sport.clone(), listed.clone());
        let Some(known) = known.filter(|known| !known.is_empty() || listed.is_empty()) else {
            // What the odds cost is known only now. A list that was empty by mistake is as good as none.
            let reason = format!("the events of {} had to be listed first", query.sport);
            return Err(SourceError::Outage { reason, retry_after: None, cost: 1.0 });
        };
        // Only the odds of as many events as were known are paid for. If there are more now, new ones wait.
        let paid = known.len().div_ceil(MAX_EVENTS) * MAX_EVENTS;
        let (mut wanted, new): (Vec<&EventId>, Vec<&EventId>) = listed.iter().partition(|id| known.contains(id));
        wanted.extend(new);
        wanted.truncate(paid);
        let (mut cost, mut empty) = (1.0, BTreeSet::new());
        let mut reader = OddsReader::new(query, &self.bookmakers, Events::default());
        for bookmakers in self.bookmakers.chunks(MAX_BOOKMAKERS) {
            let names = bookmakers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(",");
            for events in wanted.chunks(MAX_EVENTS) {
                let ids = events.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(",");
                let parameters = [("eventIds", &*ids), ("bookmakers", &*names)];
                let answer = self.get::<Vec<Box<RawValue>>>(&["v3", "odds", "multi"], &parameters).await;
                let entries = answer.map_err(|error| error.after(cost))?;
                cost += 1.0;
                if entries.is_empty() {
                    let asked = (query.sport.clone(), ids);
                    // It counts if the next poll confirms it.
                    if self.state().empty.insert(asked.clone()) {
                        let reason = format!("an answer has none of the {} events that were asked for", events.len());
                        return Err(SourceError::Outage { reason, retry_after: None, cost });
                    }
                    empty.insert(asked);
                }
                entries.iter().for_each(|event| reader.event(event.get()));
            }
        }
        self.state().empty.retain(|asked| asked.0 != query.sport || empty.contains(asked));
        let (mut answer, events) = reader.finish(self.credits(), cost)?;
        answer.unreadable.merge(&unreadable);
        Ok((answer, events))
    }

    /// Requests what has changed since the last poll, from each bookmaker.
    async fn changes(&self, query: &OddsQuery, polled: Polled) -> Result<(Answer, Events), SourceError> {
        let league = self.league(&query.sport)?;
        let since = polled.at.plus_millis(-OVERLAP).as_millis().div_euclid(1_000).to_string();
        let markets = query.markets.iter().filter_map(|key| answer::upstream_name(key)).collect::<Vec<_>>().join(",");
        let mut cost = 0.0;
        let mut reader = OddsReader::new(query, &self.bookmakers, polled.events);
        for bookmaker in &self.bookmakers {
            let bookmaker = ("bookmaker", &*bookmaker.name);
            let parameters = [("since", &*since), bookmaker, ("sport", &*league.sport), ("markets", &*markets)];
            let answer = self.get::<Vec<Box<RawValue>>>(&["v3", "odds", "updated"], &parameters).await;
            let entries = answer.map_err(|error| error.after(cost))?;
            cost += 1.0;
            entries.iter().for_each(|event| reader.changes(event.get()));
        }
        reader.finish(self.credits(), cost)
    }

    /// Whether it is better to request only what has changed since the last poll.
    fn may_continue(&self, polled: &Polled, query: &OddsQuery, now: Timestamp) -> bool {
        let is_recent =
            now.millis_since(polled.at) <= CHANGES_SINCE && now.millis_since(polled.whole_at) < self.whole_every;
        is_recent && (self.bookmakers.len() as f64) < self.cost(&query.sport, &query.markets)
    }
}

impl Allowance {
    /// Reads the headers of a response. Each may be missing.
    fn read(headers: &HeaderMap) -> Self {
        let reset = headers.get("x-ratelimit-reset").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let (limit, remaining) = (number(headers, "x-ratelimit-limit"), number(headers, "x-ratelimit-remaining"));
        Self { limit, remaining, reset }
    }

    /// Takes a report. If it doesn't tell the next renewal, that is assumed to be an hour away.
    fn update(&mut self, reported: Self, now: Timestamp) {
        self.limit = reported.limit.or(self.limit);
        self.remaining = reported.remaining.or(self.remaining);
        if reported.remaining.is_some() {
            let known = reported.reset.or(self.reset).filter(|reset| *reset > now);
            self.reset = Some(known.unwrap_or_else(|| now.plus_millis(HOUR)));
        }
    }

    fn credits(&self, now: Timestamp) -> Credits {
        let is_renewed = self.reset.is_some_and(|reset| reset <= now);
        let remaining = if is_renewed { self.limit } else { self.remaining };
        Credits { remaining, used: self.limit.zip(remaining).map(|(limit, remaining)| limit - remaining) }
    }
}

/// Returns the key of a bookmaker with this name: its letters and digits, in lower case, with `_` for what is between.
pub(crate) fn bookmaker_key(name: &str) -> Option<BookmakerKey> {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase().parse().ok()
}

#[async_trait]
impl Source for OddsApiIo {
    fn name(&self) -> &str {
        &self.name
    }

    /// Returns the leagues to poll. Takes no request, unless none was made before: then it asks whether upstream answers.
    async fn sports(&self) -> Result<SportList, SourceError> {
        if self.state().allowance.limit.is_none() {
            let reply = self.client.get_without_key(&["v3", "sports"]).await;
            let outage = |reason| SourceError::Outage { reason, retry_after: None, cost: 0.0 };
            let reply = reply.map_err(|failed| outage(failed.reason))?;
            if !reply.status.is_success() {
                return Err(outage(self.client.failure(&reply)));
            }
        }
        let sports = self.leagues.keys().map(|key| Sport { key: key.clone(), outrights: false });
        Ok(SportList { sports: sports.collect(), credits: self.credits(), ..SportList::default() })
    }

    async fn starts(&self, sport: &SportKey) -> Result<StartList, SourceError> {
        let (events, unreadable) = self.list(sport).await?;
        let starts = events.iter().filter_map(|event| event.start).collect();
        self.state().listed.insert(sport.clone(), events.into_iter().map(|event| event.id).collect());
        Ok(StartList { starts, unreadable, cost: 1.0 })
    }

    async fn odds(&self, query: OddsQuery) -> Result<Answer, SourceError> {
        let asked_at = (self.clock)();
        // If this poll fails, the next one is whole.
        let polled = self.state().polled.remove(&query.sport);
        let continued = polled.filter(|polled| self.may_continue(polled, &query, asked_at));
        let whole_at = continued.as_ref().map_or(asked_at, |polled| polled.whole_at);
        let (answer, events) = match continued {
            Some(polled) => self.changes(&query, polled).await?,
            None => self.whole(&query).await?,
        };
        self.state().polled.insert(query.sport, Polled { events, at: asked_at, whole_at });
        Ok(answer)
    }

    /// One request for the list of events, and those for their odds. Ten events if none are listed yet.
    fn cost(&self, sport: &SportKey, _markets: &[MarketKey]) -> f64 {
        let events = self.state().listed.get(sport).map_or(MAX_EVENTS, Vec::len);
        (1 + self.requests_for(events)) as f64
    }

    fn list_cost(&self) -> f64 {
        self.leagues.len() as f64
    }

    /// Returns when upstream said that it will allow all requests again.
    fn renewal(&self, at: Timestamp) -> Timestamp {
        self.state().allowance.reset.unwrap_or(at)
    }
}
