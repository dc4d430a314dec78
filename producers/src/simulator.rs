//! A simulated odds API for development and tests. It has The Odds API's paths, parameters, headers and errors, and
//! odds that are generated from a seed. It can inject faults, and can return the true odds to compare with.

mod catalogue;
mod faults;
mod query;
mod shown;
mod world;

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Args;
use odds::{Region, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_http::compression::CompressionLayer;

pub use faults::{Fault, Faults};
pub use shown::Shown;
pub use world::World;

use self::{catalogue::Sport, query::OddsQuery, world::Event};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Simulator")]
pub struct SimulatorSettings {
    /// Seed of the simulated world: the same seed and the same time give the same odds.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,

    /// How many times faster than in reality events are offered, run and end.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = speed)]
    pub speed: f64,

    /// Credits that each API key starts with.
    #[arg(long, default_value_t = 5_000_000.0, value_name = "CREDITS", value_parser = credits)]
    pub credits: f64,

    /// Share of answers that fail, each with a random fault.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub fault_rate: f64,
}

fn speed(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|speed| (0.1..=1000.0).contains(speed)).ok_or("from 0.1 to 1000".into())
}

fn credits(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|credits| (0.0..=1e12).contains(credits)).ok_or("from 0 to 1000000000000".into())
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or("from 0 to 1".into())
}

/// A simulator, ready to be served.
#[derive(Clone)]
pub struct Simulator(Arc<Inner>);

struct Inner {
    world: World,
    credits: f64,
    clock: fn() -> Timestamp,
    state: Mutex<Changing>,
}

struct Changing {
    /// The time at which the world is frozen.
    frozen: Option<Timestamp>,
    used: HashMap<String, f64>,
    /// API keys that are refused.
    bad_keys: Vec<String>,
    faults: Faults,
    requests: u64,
}

impl Simulator {
    pub fn new(settings: &SimulatorSettings, clock: fn() -> Timestamp) -> Self {
        let state = Changing {
            frozen: None,
            used: HashMap::new(),
            bad_keys: Vec::new(),
            faults: Faults::at_rate(settings.fault_rate),
            requests: 0,
        };
        let world = World { seed: settings.seed, speed: settings.speed };
        Self(Arc::new(Inner { world, credits: settings.credits, clock, state: Mutex::new(state) }))
    }

    /// Serves until it is stopped.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        Ok(axum::serve(listener, self.router()).with_graceful_shutdown(stop).await?)
    }

    fn router(self) -> Router {
        let api = Router::new()
            .route("/v4/sports", get(sports))
            .route("/v4/sports/", get(sports))
            .route("/v4/sports/{sport}/events", get(events))
            .route("/v4/sports/{sport}/odds", get(odds))
            .route("/v4/sports/{sport}/events/{event}/odds", get(event_odds))
            .route("/v4/sports/{sport}/scores", get(scores))
            .layer(CompressionLayer::new());
        let control = Router::new()
            .route("/sim/truth", get(truth))
            .route("/sim/freeze", post(freeze))
            .route("/sim/thaw", post(thaw))
            .route("/sim/faults", post(set_faults))
            .route("/sim/credits", post(set_credits))
            .route("/sim/keys", post(set_bad_keys));
        api.merge(control).with_state(self)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Changing> {
        self.0.state.lock().expect("no code panics while holding the lock")
    }

    /// The world's time: the clock's, unless the world is frozen.
    fn now(&self) -> Timestamp {
        self.state().frozen.unwrap_or_else(self.0.clock)
    }

    /// Freezes the world, and returns the time at which it is frozen.
    pub fn freeze(&self) -> Timestamp {
        let now = (self.0.clock)();
        *self.state().frozen.get_or_insert(now)
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// All odds of a region: the board that a correct reader would have.
    pub fn truth(&self, region: Region) -> Value {
        let now = self.now();
        let all = |sport| self.0.world.events(sport, region, now);
        let events: Vec<Event> = self.0.world.sports().iter().flat_map(all).collect();
        json!({ "at": now, "events": events })
    }

    fn sport(&self, key: &str) -> Result<&'static Sport, Refusal> {
        let unknown = || Refusal(StatusCode::NOT_FOUND, "UNKNOWN_SPORT", format!("Unknown sport: {key}"));
        self.0.world.sports().iter().find(|sport| sport.key == key).ok_or_else(unknown)
    }

    /// Checks the key, and applies the next fault if one is due.
    async fn admit(&self, query: &HashMap<String, String>) -> Result<Admitted, Response> {
        let key = query.get("apiKey").filter(|key| !key.is_empty()).cloned();
        let refuse = |code, text: &str| Refusal(StatusCode::UNAUTHORIZED, code, text.to_owned()).into_response();
        let key = key.ok_or_else(|| refuse("MISSING_KEY", "API key is missing"))?;
        let (fault, bad) = {
            let mut state = self.state();
            state.requests += 1;
            (state.faults.next(), state.bad_keys.contains(&key))
        };
        if bad {
            return Err(refuse("INVALID_KEY", "API key is not valid"));
        }
        match fault {
            None => Ok(Admitted { key, fault: None }),
            Some(Fault::TooFast) => Err(Refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "EXCEEDED_FREQ_LIMIT",
                "Requests are too frequent. Please try again later".into(),
            )
            .into_response()),
            Some(Fault::ServerError) => Err((StatusCode::BAD_GATEWAY, "upstream is down\n").into_response()),
            Some(Fault::Garbage) => {
                Err(([(CONTENT_TYPE, "text/html")], "<html><body>We'll be right back</body></html>").into_response())
            }
            Some(Fault::Slow) => {
                tokio::time::sleep(Duration::from_secs(15)).await;
                Ok(Admitted { key, fault: None })
            }
            Some(fault @ (Fault::CutOff | Fault::Empty)) => Ok(Admitted { key, fault: Some(fault) }),
        }
    }

    /// Charges credits to a key, and returns the credit headers. Fails if no credits are left.
    fn charge(&self, key: &str, cost: f64) -> Result<HeaderMap, Refusal> {
        let mut state = self.state();
        let limit = self.0.credits;
        let used = state.used.entry(key.to_owned()).or_default();
        let out = cost > 0.0 && *used >= limit;
        if !out {
            *used += cost;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in [("remaining", limit - *used), ("used", *used), ("last", if out { 0.0 } else { cost })] {
            let name: axum::http::HeaderName = format!("x-requests-{name}").parse().expect("a valid header name");
            // Upstream sometimes writes whole numbers with a fraction.
            headers.insert(name, format!("{value:.1}").parse().expect("a valid header value"));
        }
        if out {
            let text = "Usage quota has been reached. See usage plans".to_owned();
            return Err(Refusal(StatusCode::UNAUTHORIZED, "OUT_OF_USAGE_CREDITS", text));
        }
        Ok(headers)
    }
}

struct Admitted {
    key: String,
    fault: Option<Fault>,
}

/// An error response in upstream's format.
struct Refusal(StatusCode, &'static str, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        let details =
            format!("https://the-odds-api.com/liveapi/guides/v4/api-error-codes.html#{}", code.to_lowercase());
        (status, Json(json!({ "message": message, "error_code": code, "details_url": details }))).into_response()
    }
}

impl Admitted {
    fn answer(&self, headers: HeaderMap, body: &Value) -> Response {
        match self.fault {
            Some(Fault::Empty) => (headers, Json(json!([]))).into_response(),
            Some(Fault::CutOff) => {
                // Declares the full length but sends only half.
                let text = body.to_string();
                let half = bytes_of(&text[..text.floor_char_boundary(text.len() / 2)]);
                let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "cut off on demand");
                let stream = futures::stream::iter([Ok(half), Err(broken)]);
                (headers, [(CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response()
            }
            _ => (headers, Json(body)).into_response(),
        }
    }
}

fn bytes_of(text: &str) -> axum::body::Bytes {
    axum::body::Bytes::copy_from_slice(text.as_bytes())
}

type Params = Query<HashMap<String, String>>;

async fn sports(State(simulator): State<Simulator>, Query(query): Params) -> Result<Response, Response> {
    let admitted = simulator.admit(&query).await?;
    let headers = simulator.charge(&admitted.key, 0.0).map_err(IntoResponse::into_response)?;
    let list: Vec<Value> = (simulator.0.world.sports().iter())
        .map(|sport| {
            json!({
                "key": sport.key,
                "group": sport.group,
                "title": sport.title,
                "description": sport.description,
                "active": true,
                "has_outrights": sport.contest == catalogue::Contest::Outright,
            })
        })
        .collect();
    Ok(admitted.answer(headers, &json!(list)))
}

async fn events(
    State(simulator): State<Simulator>,
    Path(sport): Path<String>,
    Query(query): Params,
) -> Result<Response, Response> {
    let admitted = simulator.admit(&query).await?;
    let wanted = OddsQuery::read(&query, false).map_err(IntoResponse::into_response)?;
    let sport = simulator.sport(&sport).map_err(IntoResponse::into_response)?;
    let headers = simulator.charge(&admitted.key, 0.0).map_err(IntoResponse::into_response)?;
    let events = simulator.0.world.events(sport, Region::Us, simulator.now());
    let events = events.into_iter().filter(|event| wanted.wants_event(event));
    let list: Vec<Value> = events
        .map(|event| {
            let mut value = wanted.write(&event);
            value.as_object_mut().expect("an event is an object").remove("bookmakers");
            value
        })
        .collect();
    Ok(admitted.answer(headers, &json!(list)))
}

async fn odds(
    State(simulator): State<Simulator>,
    Path(sport): Path<String>,
    Query(query): Params,
) -> Result<Response, Response> {
    let admitted = simulator.admit(&query).await?;
    let wanted = OddsQuery::read(&query, true).map_err(IntoResponse::into_response)?;
    let now = simulator.now();
    let events = if sport == "upcoming" {
        let mut all: Vec<Event> =
            simulator.0.world.sports().iter().flat_map(|sport| wanted.events(&simulator.0.world, sport, now)).collect();
        all.sort_by_key(|event| event.commence_time);
        all.truncate(8);
        all
    } else {
        wanted.events(&simulator.0.world, simulator.sport(&sport).map_err(IntoResponse::into_response)?, now)
    };
    let cost = if events.is_empty() { 0.0 } else { wanted.cost() };
    let headers = simulator.charge(&admitted.key, cost).map_err(IntoResponse::into_response)?;
    let list: Vec<Value> = events.iter().map(|event| wanted.write(event)).collect();
    Ok(admitted.answer(headers, &json!(list)))
}

async fn event_odds(
    State(simulator): State<Simulator>,
    Path((sport, id)): Path<(String, String)>,
    Query(query): Params,
) -> Result<Response, Response> {
    let admitted = simulator.admit(&query).await?;
    let wanted = OddsQuery::read(&query, true).map_err(IntoResponse::into_response)?;
    let sport = simulator.sport(&sport).map_err(IntoResponse::into_response)?;
    let events = wanted.events(&simulator.0.world, sport, simulator.now());
    let unknown =
        || Refusal(StatusCode::NOT_FOUND, "EVENT_NOT_FOUND", format!("Event not found: {id}")).into_response();
    let event = events.into_iter().find(|event| event.id == id).ok_or_else(unknown)?;
    let headers = simulator.charge(&admitted.key, wanted.cost()).map_err(IntoResponse::into_response)?;
    Ok(admitted.answer(headers, &wanted.write(&event)))
}

async fn scores(
    State(simulator): State<Simulator>,
    Path(sport): Path<String>,
    Query(query): Params,
) -> Result<Response, Response> {
    let admitted = simulator.admit(&query).await?;
    let sport = simulator.sport(&sport).map_err(IntoResponse::into_response)?;
    let cost = if query.contains_key("daysFrom") { 2.0 } else { 1.0 };
    let headers = simulator.charge(&admitted.key, cost).map_err(IntoResponse::into_response)?;
    let now = simulator.now();
    let list = simulator.0.world.scores(sport, now);
    Ok(admitted.answer(headers, &json!(list)))
}

async fn truth(State(simulator): State<Simulator>, Query(query): Params) -> Result<Json<Value>, Response> {
    let region = query.get("region").map(String::as_str).unwrap_or_default();
    let region: Region = region.parse().map_err(|error: odds::UnknownRegion| bad_request(&error.to_string()))?;
    Ok(Json(simulator.truth(region)))
}

async fn freeze(State(simulator): State<Simulator>) -> Json<Value> {
    Json(json!({ "at": simulator.freeze() }))
}

async fn thaw(State(simulator): State<Simulator>) -> Json<Value> {
    simulator.state().frozen = None;
    Json(json!({ "at": simulator.now() }))
}

async fn set_faults(State(simulator): State<Simulator>, Json(faults): Json<Faults>) -> Json<Value> {
    simulator.set_faults(faults);
    Json(json!({ "ok": true }))
}

#[derive(Deserialize)]
struct CreditsOrder {
    key: String,
    remaining: f64,
}

async fn set_credits(State(simulator): State<Simulator>, Json(order): Json<CreditsOrder>) -> Json<Value> {
    let used = simulator.0.credits - order.remaining;
    simulator.state().used.insert(order.key, used);
    Json(json!({ "ok": true }))
}

async fn set_bad_keys(State(simulator): State<Simulator>, Json(keys): Json<Vec<String>>) -> Json<Value> {
    simulator.state().bad_keys = keys;
    Json(json!({ "ok": true }))
}

fn bad_request(text: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{text}\n")).into_response()
}
