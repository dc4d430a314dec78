//! The client of The Odds API, version 4, and of the simulator, which imitates it. Only this folder knows its paths, JSON
//! and errors.

mod answer;

use async_trait::async_trait;
use odds::{Credits, MarketKey, SportKey, Timestamp};
use reqwest::{StatusCode, Url, header::HeaderMap};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tracing::warn;

use self::answer::AnswerReader;
use super::{
    Answer, ApiKey, Level, OddsQuery, Source, SourceError, Sport, SportList, StartList, Unreadable,
    field::Field,
    http::{ApiClient, number},
};

/// The longest code of upstream's errors that is passed on.
const MAX_CODE: usize = 64;

/// A client of The Odds API.
#[derive(Debug)]
pub struct TheOddsApi {
    name: String,
    client: ApiClient,
}

impl TheOddsApi {
    pub const SOURCE: &str = "the-odds-api";
    pub const BASE: &str = "https://api.the-odds-api.com";

    pub fn new(name: impl Into<String>, base: Url, key: ApiKey) -> anyhow::Result<Self> {
        Ok(Self { name: name.into(), client: ApiClient::new(base, key)? })
    }

    /// Sends a request that costs at most `price` credits.
    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        price: f64,
    ) -> Result<Got<T>, SourceError> {
        let outage = |reason, cost| SourceError::Outage { reason, retry_after: None, cost };
        let reported_cost = |headers: &HeaderMap| number(headers, "x-requests-last").map(|cost| cost.clamp(0.0, price));
        let reply = self.client.get(path, query).await.map_err(|failed| {
            // Upstream may have charged for a request that it never answered.
            let cost = reported_cost(&failed.headers).unwrap_or(if failed.was_sent { price } else { 0.0 });
            outage(failed.reason, cost)
        })?;
        let credits = credits(&reply.headers);
        let reported_cost = reported_cost(&reply.headers);
        if reply.status.is_success() {
            let value = self.client.json(&reply).map_err(|reason| outage(reason, reported_cost.unwrap_or(price)))?;
            return Ok(Got { value, credits, cost: reported_cost });
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct ErrorBody {
            message: Field<String>,
            error_code: Field<String>,
        }
        let ErrorBody { message, error_code } = reply.error();
        let code = error_code.value().filter(|code| is_code(code)).unwrap_or_default();
        let message = self.client.words(&message.value().unwrap_or_default());
        let retry_after = reply.retry_after();
        Err(match reply.status {
            StatusCode::UNAUTHORIZED if code == "OUT_OF_USAGE_CREDITS" => {
                SourceError::OutOfCredits { credits, cost: 0.0 }
            }
            // A 401 without a code comes from a proxy: an outage, not a bad key.
            StatusCode::UNAUTHORIZED if !code.is_empty() => SourceError::BadKey { code, message },
            StatusCode::TOO_MANY_REQUESTS => SourceError::TooFast { retry_after, cost: 0.0 },
            status @ (StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST) => {
                let code = if code.is_empty() { status.as_str().to_owned() } else { code };
                SourceError::Refused { code, message, cost: 0.0 }
            }
            _ => {
                let reason = self.client.failure(&reply);
                SourceError::Outage { reason, retry_after, cost: reported_cost.unwrap_or(0.0) }
            }
        })
    }
}

/// A successful answer.
struct Got<T> {
    value: T,
    credits: Credits,
    /// Credits that the call cost, if upstream reported them.
    cost: Option<f64>,
}

/// Reads the credits from the headers. Each is a signed decimal and may be missing.
fn credits(headers: &HeaderMap) -> Credits {
    Credits { remaining: number(headers, "x-requests-remaining"), used: number(headers, "x-requests-used") }
}

/// Returns the beginning of the next month in UTC, when a key's credits are renewed.
pub fn first_of_next_month(now: Timestamp) -> Timestamp {
    let text = now.to_string();
    let year: i32 = text[..4].parse().expect("four digits of a year");
    let month: u32 = text[5..7].parse().expect("two digits of a month");
    let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    format!("{year:04}-{month:02}-01T00:00:00Z").parse().unwrap_or(now)
}

fn is_code(text: &str) -> bool {
    text.len() <= MAX_CODE && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[async_trait]
impl Source for TheOddsApi {
    fn name(&self) -> &str {
        &self.name
    }

    async fn sports(&self) -> Result<SportList, SourceError> {
        #[derive(Deserialize)]
        struct ApiSport {
            key: SportKey,
            #[serde(default)]
            active: Field<bool>,
            #[serde(default)]
            has_outrights: Field<bool>,
        }
        let got: Got<Vec<Box<RawValue>>> = self.get(&["v4", "sports"], &[], 0.0).await?;
        let mut list = SportList { credits: got.credits, ..SportList::default() };
        for sport in &got.value {
            match serde_json::from_str::<ApiSport>(sport.get()) {
                Ok(sport) if sport.active == Field::Is(false) => {}
                Ok(ApiSport { key, has_outrights, .. }) => {
                    list.sports.push(Sport { key, outrights: has_outrights.value().unwrap_or(false) });
                }
                Err(error) => {
                    let entry = self.client.excerpt(sport.get().as_bytes());
                    warn!(%error, entry, "a sport can't be read and is left out");
                    list.unreadable.add(Level::Sport);
                }
            }
        }
        none_is_readable(got.value.len(), &list.unreadable, "no sport can be read", got.credits)?;
        Ok(list)
    }

    async fn starts(&self, sport: &SportKey) -> Result<StartList, SourceError> {
        #[derive(Deserialize)]
        struct ApiStart {
            commence_time: Timestamp,
        }
        let path = ["v4", "sports", sport.as_str(), "events"];
        let got: Got<Vec<Box<RawValue>>> = self.get(&path, &[("dateFormat", "iso")], 0.0).await?;
        let mut list = StartList::default();
        for event in &got.value {
            match serde_json::from_str::<ApiStart>(event.get()) {
                Ok(start) => list.starts.push(start.commence_time),
                Err(error) => {
                    let entry = self.client.excerpt(event.get().as_bytes());
                    warn!(%sport, %error, entry, "an event's start can't be read and is left out");
                    list.unreadable.add(Level::Start);
                }
            }
        }
        none_is_readable(got.value.len(), &list.unreadable, "no event's start can be read", got.credits)?;
        Ok(list)
    }

    async fn odds(&self, query: OddsQuery) -> Result<Answer, SourceError> {
        let path = ["v4", "sports", query.sport.as_str(), "odds"];
        let markets = query.markets.iter().map(MarketKey::as_str).collect::<Vec<_>>().join(",");
        let parameters =
            [("regions", query.region.key()), ("markets", &markets), ("oddsFormat", "decimal"), ("dateFormat", "iso")];
        let price = self.cost(&query.sport, &query.markets);
        let got: Got<Vec<Box<RawValue>>> = self.get(&path, &parameters, price).await?;
        // An empty answer is free.
        let cost = got.cost.unwrap_or(if got.value.is_empty() { 0.0 } else { price });
        let mut reader = AnswerReader::new(&query);
        got.value.iter().for_each(|event| reader.event(event.get()));
        reader.finish(got.credits, cost)
    }

    fn cost(&self, _sport: &SportKey, markets: &[MarketKey]) -> f64 {
        markets.len() as f64
    }

    fn renewal(&self, at: Timestamp) -> Timestamp {
        first_of_next_month(at)
    }
}

/// Fails if no entry of a list that isn't empty can be read.
fn none_is_readable(
    entries: usize,
    unreadable: &Unreadable,
    reason: &str,
    credits: Credits,
) -> Result<(), SourceError> {
    if entries > 0 && unreadable.total() == entries as u64 {
        return Err(SourceError::WrongFormat { reason: reason.into(), credits, cost: 0.0 });
    }
    Ok(())
}
