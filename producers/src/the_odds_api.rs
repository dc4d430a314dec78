//! The Odds API, version 4, and whatever speaks like it: the only place that knows its paths, its
//! JSON and its errors.

use std::{collections::BTreeMap, fmt, time::Duration};

use odds::{
    BookmakerKey, Credits, Details, EventId, Image, Market, MarketKey, Outcome, Outcomes, Quotes, SportKey, Timestamp,
};
use reqwest::{Client, StatusCode, Url, header::RETRY_AFTER};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::source::{Answer, OddsQuery, Source, SourceError, Sport};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer seen is two hundred kilobytes.
const MAX_BODY: usize = 32 << 20;
/// How much of an upstream's error text is repeated.
const MAX_MESSAGE: usize = 200;

/// A key that can't be printed.
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

#[derive(Debug)]
pub struct TheOddsApi {
    name: &'static str,
    base: Url,
    key: ApiKey,
    client: Client,
}

impl TheOddsApi {
    pub const SOURCE: &str = "the-odds-api";
    pub const BASE: &str = "https://api.the-odds-api.com";

    pub fn new(name: &'static str, base: Url, key: ApiKey) -> anyhow::Result<Self> {
        // The process may have chosen a provider already: then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).gzip(true).build()?;
        Ok(Self { name, base, key, client })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<(T, Credits), SourceError> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| SourceError::Outage("the address can't have a path".into()))?.extend(path);
        let answer =
            self.client.get(url).query(&[("apiKey", &self.key.0)]).query(query).send().await.map_err(outage)?;
        let status = answer.status();
        let credits = credits(answer.headers());
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = read(answer).await?;
        if status.is_success() {
            let json = serde_json::from_slice(&body);
            return json.map(|json| (json, credits)).map_err(|_| SourceError::Outage(self.quote("no JSON", &body)));
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct ErrorBody {
            message: String,
            error_code: String,
        }
        let ErrorBody { message, error_code: code } = serde_json::from_slice(&body).unwrap_or_default();
        let message = self.hide_key(&message.chars().take(MAX_MESSAGE).collect::<String>());
        Err(match status {
            StatusCode::UNAUTHORIZED if code == "OUT_OF_USAGE_CREDITS" => SourceError::OutOfCredits(credits),
            // A proxy's 401 has no code: that is an outage, not a reason to stop.
            StatusCode::UNAUTHORIZED if !code.is_empty() => SourceError::BadKey { code, message },
            StatusCode::TOO_MANY_REQUESTS => SourceError::TooFast { retry_after: retry_after.map(Duration::from_secs) },
            StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
                let code = if code.is_empty() { status.as_str().to_owned() } else { code };
                SourceError::Refused { code, message }
            }
            _ => SourceError::Outage(self.quote(&format!("status {}", status.as_u16()), &body)),
        })
    }

    /// The beginning of a body that should not have come.
    fn quote(&self, what: &str, body: &[u8]) -> String {
        let text: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(60).collect();
        self.hide_key(&format!("{what}: {text:?}"))
    }

    fn hide_key(&self, text: &str) -> String {
        if self.key.0.is_empty() { text.to_owned() } else { text.replace(&self.key.0, "[key]") }
    }
}

/// Errors of the client name the URL, and the URL has the key in it.
fn outage(error: reqwest::Error) -> SourceError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    SourceError::Outage(text)
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, SourceError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(outage)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            return Err(SourceError::Outage(format!("an answer of more than {MAX_BODY} bytes")));
        }
    }
    Ok(body)
}

/// Signed decimals, any of which may be missing.
fn credits(headers: &reqwest::header::HeaderMap) -> Credits {
    let number = |name: &str| -> Option<f64> {
        headers.get(name)?.to_str().ok()?.trim().parse().ok().filter(|number: &f64| number.is_finite())
    };
    Credits { remaining: number("x-requests-remaining"), used: number("x-requests-used") }
}

impl Source for TheOddsApi {
    fn name(&self) -> &str {
        self.name
    }

    async fn sports(&self) -> Result<(Vec<Sport>, Credits), SourceError> {
        #[derive(Deserialize)]
        struct ApiSport {
            key: SportKey,
            #[serde(default = "yes")]
            active: bool,
            #[serde(default)]
            has_outrights: bool,
        }
        fn yes() -> bool {
            true
        }
        let (list, credits): (Vec<Box<RawValue>>, _) = self.get(&["v4", "sports"], &[]).await?;
        let sports = list.iter().filter_map(|sport| serde_json::from_str::<ApiSport>(sport.get()).ok());
        let sports = sports.filter(|sport| sport.active);
        Ok((sports.map(|sport| Sport { key: sport.key, outrights: sport.has_outrights }).collect(), credits))
    }

    async fn starts(&self, sport: &SportKey) -> Result<Vec<Timestamp>, SourceError> {
        #[derive(Deserialize)]
        struct ApiStart {
            commence_time: Timestamp,
        }
        let path = ["v4", "sports", sport.as_str(), "events"];
        let (list, _): (Vec<Box<RawValue>>, _) = self.get(&path, &[("dateFormat", "iso")]).await?;
        let starts = list.iter().filter_map(|event| serde_json::from_str::<ApiStart>(event.get()).ok());
        Ok(starts.map(|start| start.commence_time).collect())
    }

    async fn odds(&self, query: OddsQuery) -> Result<Answer, SourceError> {
        let path = ["v4", "sports", query.sport.as_str(), "odds"];
        let markets = query.markets.iter().map(MarketKey::as_str).collect::<Vec<_>>().join(",");
        let parameters =
            [("regions", query.region.key()), ("markets", &markets), ("oddsFormat", "decimal"), ("dateFormat", "iso")];
        let (list, credits): (Vec<Box<RawValue>>, _) = self.get(&path, &parameters).await?;
        let mut answer = Answer { credits, ..Answer::default() };
        for raw in &list {
            match event(raw.get(), query.now) {
                Ok(event) => answer.take(event),
                Err((id, reason)) => {
                    let event = id.as_ref().map(EventId::as_str).unwrap_or_default();
                    tracing::warn!(sport = %query.sport, event, %reason, "an event can't be read and is skipped");
                    answer.unreadable.push(id);
                }
            }
        }
        Ok(answer)
    }

    fn cost(&self, markets: &[MarketKey]) -> f64 {
        markets.len() as f64
    }
}

struct ReadEvent {
    id: EventId,
    image: Image,
    bookmakers: Vec<(BookmakerKey, Timestamp)>,
}

impl Answer {
    fn take(&mut self, event: ReadEvent) {
        for (bookmaker, last_update) in event.bookmakers {
            let newest = self.bookmakers.entry(bookmaker).or_insert(last_update);
            *newest = last_update.max(*newest);
        }
        self.events.push((event.id, event.image));
    }
}

#[derive(Deserialize)]
struct ApiEvent {
    id: EventId,
    sport_key: SportKey,
    #[serde(default)]
    sport_title: Option<String>,
    commence_time: Timestamp,
    #[serde(default)]
    home_team: Option<String>,
    #[serde(default)]
    away_team: Option<String>,
    #[serde(default)]
    bookmakers: Vec<ApiBookmaker>,
}

#[derive(Deserialize)]
struct ApiBookmaker {
    key: BookmakerKey,
    #[serde(default)]
    last_update: Option<Timestamp>,
    #[serde(default)]
    markets: Vec<ApiMarket>,
}

#[derive(Deserialize)]
struct ApiMarket {
    key: MarketKey,
    #[serde(default)]
    last_update: Option<Timestamp>,
    #[serde(default)]
    outcomes: Vec<Outcome>,
}

/// One event of an answer; without, its id if that much can be read, and why.
fn event(json: &str, now: Timestamp) -> Result<ReadEvent, (Option<EventId>, String)> {
    #[derive(Deserialize)]
    struct JustId {
        id: EventId,
    }
    let event: ApiEvent = serde_json::from_str(json)
        .map_err(|error| (serde_json::from_str::<JustId>(json).ok().map(|it| it.id), error.to_string()))?;
    let mut quotes = Quotes::new();
    let mut seen: BTreeMap<BookmakerKey, Timestamp> = BTreeMap::new();
    for ApiBookmaker { key, last_update: of_bookmaker, markets } in event.bookmakers {
        for ApiMarket { key: market, last_update, outcomes } in markets {
            let last_update = last_update.or(of_bookmaker);
            if let Some(last_update) = last_update {
                let newest = seen.entry(key.clone()).or_insert(last_update);
                *newest = last_update.max(*newest);
            }
            if !outcomes.is_empty() {
                let quote = Market { last_update: last_update.unwrap_or(now), outcomes: Outcomes::new(outcomes) };
                quotes.insert((key.clone(), market), quote);
            }
        }
    }
    let details = Details {
        sport_title: event.sport_title.unwrap_or_else(|| event.sport_key.to_string()),
        sport_key: event.sport_key,
        commence_time: event.commence_time,
        home_team: event.home_team,
        away_team: event.away_team,
    };
    let image = Image { polled_at: now, details, quotes };
    Ok(ReadEvent { id: event.id, image, bookmakers: seen.into_iter().collect() })
}
