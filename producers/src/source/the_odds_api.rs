//! The client of The Odds API, version 4, and of the simulator, which imitates it. Only this module and `answer` know
//! its paths, JSON and errors.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use odds::{Credits, MarketKey, SportKey, Timestamp};
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tracing::warn;

use super::{
    Answer, Level, OddsQuery, RetryAfter, Source, SourceError, Sport, SportList, StartList, Unreadable,
    answer::{AnswerReader, Field},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole request, including the body of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Far more than the largest answer seen so far, which had 200 kB.
const MAX_BODY: usize = 32 << 20;
/// The longest text and the longest code of upstream's errors that are passed on.
const MAX_MESSAGE: usize = 200;
const MAX_CODE: usize = 64;
/// How much of an unexpected body is logged.
const MAX_LOGGED: usize = 120;

/// An API key. Its debug output doesn't contain the key.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

/// A client of The Odds API.
#[derive(Debug)]
pub struct TheOddsApi {
    name: String,
    base: Url,
    key: ApiKey,
    client: Client,
}

impl TheOddsApi {
    pub const SOURCE: &str = "the-odds-api";
    pub const BASE: &str = "https://api.the-odds-api.com";

    pub fn new(name: impl Into<String>, base: Url, key: ApiKey) -> anyhow::Result<Self> {
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).gzip(true).build()?;
        Ok(Self { name: name.into(), base, key, client })
    }

    /// Sends a request that costs at most `price` credits.
    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        price: f64,
    ) -> Result<Got<T>, SourceError> {
        let outage = |reason, cost| SourceError::Outage { reason, retry_after: None, cost };
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| outage("the address can't have a path".into(), 0.0))?.extend(path);
        let answer = self.client.get(url).query(&[("apiKey", &self.key.0)]).query(query).send().await;
        // Upstream may have charged for a request that it never answered.
        let answer = answer.map_err(|error| {
            let cost = if error.is_connect() { 0.0 } else { price };
            outage(causes(error), cost)
        })?;
        let status = answer.status();
        let credits = credits(answer.headers());
        let reported_cost = number(answer.headers(), "x-requests-last").map(|cost| cost.clamp(0.0, price));
        let retry_after = retry_after(answer.headers());
        let media_type = media_type(answer.headers());
        let body = read(answer).await.map_err(|reason| outage(reason, reported_cost.unwrap_or(price)))?;
        if status.is_success() {
            return match serde_json::from_slice(&body) {
                Ok(value) => Ok(Got { value, credits, cost: reported_cost }),
                Err(error) => {
                    warn!(%status, %error, body = self.excerpt(&body), "an answer is not the expected JSON");
                    let reason = format!("an answer is not the expected JSON{media_type}");
                    Err(outage(reason, reported_cost.unwrap_or(price)))
                }
            };
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct ErrorBody {
            message: Field<String>,
            error_code: Field<String>,
        }
        let ErrorBody { message, error_code } = serde_json::from_slice(&body).unwrap_or_default();
        let code = error_code.value().filter(|code| is_code(code)).unwrap_or_default();
        let message = self.words(&message.value().unwrap_or_default());
        Err(match status {
            StatusCode::UNAUTHORIZED if code == "OUT_OF_USAGE_CREDITS" => SourceError::OutOfCredits(credits),
            // A 401 without a code comes from a proxy: an outage, not a bad key.
            StatusCode::UNAUTHORIZED if !code.is_empty() => SourceError::BadKey { code, message },
            StatusCode::TOO_MANY_REQUESTS => SourceError::TooFast { retry_after },
            StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
                let code = if code.is_empty() { status.as_str().to_owned() } else { code };
                SourceError::Refused { code, message }
            }
            _ => {
                warn!(%status, body = self.excerpt(&body), "the odds API fails");
                let reason = format!("status {}{media_type}", status.as_u16());
                SourceError::Outage { reason, retry_after, cost: reported_cost.unwrap_or(0.0) }
            }
        })
    }

    /// Returns upstream's error message in a form that is safe to show to clients.
    fn words(&self, text: &str) -> String {
        if text.contains(['<', '>']) {
            return "its message is HTML".into();
        }
        let plain: String = text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
        self.hide_key(&plain)
    }

    /// Returns the beginning of a body, for the log only.
    fn excerpt(&self, body: &[u8]) -> String {
        let whole = self.hide_key(&String::from_utf8_lossy(body));
        whole.chars().filter(|c| !c.is_control()).take(MAX_LOGGED).collect()
    }

    fn hide_key(&self, text: &str) -> String {
        if self.key.0.is_empty() { text.to_owned() } else { text.replace(&self.key.0, "[key]") }
    }
}

/// A successful answer.
struct Got<T> {
    value: T,
    credits: Credits,
    /// Credits that the call cost, if upstream reported them.
    cost: Option<f64>,
}

/// Returns an error and its causes as text, without the URL, which contains the key.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(causes)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            return Err(format!("an answer has more than {MAX_BODY} bytes"));
        }
    }
    Ok(body)
}

/// Reads the credits from the headers. Each is a signed decimal and may be missing.
fn credits(headers: &HeaderMap) -> Credits {
    Credits { remaining: number(headers, "x-requests-remaining"), used: number(headers, "x-requests-used") }
}

fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// Reads `Retry-After`: a date, or a number of seconds, which may be too large for 64 bits.
fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(RetryAfter::In(Duration::from_secs(text.parse().unwrap_or(u64::MAX))));
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(RetryAfter::At(Timestamp::from_millis(date.unix_timestamp().saturating_mul(1_000))))
}

/// Returns the body's media type in parentheses, to be appended to a reason.
fn media_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = text.split(';').next().unwrap_or_default().trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'.' | b'-');
    let is_plain = !text.is_empty() && text.len() <= MAX_CODE && text.bytes().all(plain);
    if is_plain { format!(" ({text})") } else { String::new() }
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
                    let entry = self.excerpt(sport.get().as_bytes());
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
                    let entry = self.excerpt(event.get().as_bytes());
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
        let price = self.cost(&query.markets);
        let got: Got<Vec<Box<RawValue>>> = self.get(&path, &parameters, price).await?;
        // An empty answer is free.
        let cost = got.cost.unwrap_or(if got.value.is_empty() { 0.0 } else { price });
        let mut reader = AnswerReader::new(&query);
        got.value.iter().for_each(|event| reader.event(event.get()));
        reader.finish(got.credits, cost)
    }

    fn cost(&self, markets: &[MarketKey]) -> f64 {
        markets.len() as f64
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
