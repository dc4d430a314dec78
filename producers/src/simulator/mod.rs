//! Simulated odds APIs for development and tests. They have the paths, parameters, headers and errors of The Odds API and
//! of odds-api.io, and odds of the same world, which is generated from a seed. The simulator can inject faults, and can
//! return the true odds to compare with.

mod catalogue;
mod faults;
mod odds_api_io;
mod shown;
mod the_odds_api;
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
    extract::{Query, State},
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

pub(crate) use self::odds_api_io::{bookmaker_names, leagues};
use self::world::Event;
pub use self::{
    faults::{Fault, Faults},
    shown::Shown,
    world::World,
};
use crate::source::Api;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Simulator")]
pub struct SimulatorSettings {
    /// Seed of the simulated world: the same seed and the same time give the same odds.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,

    /// How many times faster than in reality events are offered, run and end.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = speed)]
    pub speed: f64,

    /// Credits that each API key of The Odds API starts with.
    #[arg(long, default_value_t = 5_000_000.0, value_name = "CREDITS", value_parser = credits)]
    pub credits: f64,

    /// Requests that each API key of odds-api.io may make per hour.
    #[arg(long, default_value_t = 1_000_000.0, value_name = "REQUESTS", value_parser = credits)]
    pub requests_per_hour: f64,

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
    requests_per_hour: f64,
    clock: fn() -> Timestamp,
    state: Mutex<Changing>,
}

struct Changing {
    /// The time at which the world is frozen.
    frozen: Option<Timestamp>,
    /// The credits that each key of The Odds API has used.
    used: HashMap<String, f64>,
    /// The requests that each key of odds-api.io has made in an hour, and when that hour ends.
    asked: HashMap<String, (Timestamp, f64)>,
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
            asked: HashMap::new(),
            bad_keys: Vec::new(),
            faults: Faults::at_rate(settings.fault_rate),
            requests: 0,
        };
        let world = World { seed: settings.seed, speed: settings.speed };
        let (credits, requests_per_hour) = (settings.credits, settings.requests_per_hour);
        Self(Arc::new(Inner { world, credits, requests_per_hour, clock, state: Mutex::new(state) }))
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
        let api = the_odds_api::router().merge(odds_api_io::router()).layer(CompressionLayer::new());
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
        self.truth_of(Api::TheOddsApi, region)
    }

    /// All odds of a region as this API names them: the board that a correct reader would have.
    pub fn truth_of(&self, api: Api, region: Region) -> Value {
        let now = self.now();
        let all = |sport| self.0.world.events(sport, region, now);
        let events: Vec<Event> = self.0.world.sports().iter().flat_map(all).collect();
        let events = match api {
            Api::TheOddsApi => json!(events),
            Api::OddsApiIo => odds_api_io::truth(&events),
        };
        json!({ "at": now, "events": events })
    }

    /// Checks the key, and applies the next fault if one is due.
    async fn admit(&self, query: &HashMap<String, String>) -> Result<Admitted, Denied> {
        let key = query.get("apiKey").filter(|key| !key.is_empty()).cloned().ok_or(Denied::NoKey)?;
        let (fault, bad) = {
            let mut state = self.state();
            state.requests += 1;
            (state.faults.next(), state.bad_keys.contains(&key))
        };
        if bad {
            return Err(Denied::BadKey);
        }
        match fault {
            None => Ok(Admitted { key, fault: None }),
            Some(Fault::TooFast) => Err(Denied::TooFast),
            Some(Fault::ServerError) => {
                Err(Denied::Broken((StatusCode::BAD_GATEWAY, "upstream is down\n").into_response()))
            }
            Some(Fault::Garbage) => {
                let page = ([(CONTENT_TYPE, "text/html")], "<html><body>We'll be right back</body></html>");
                Err(Denied::Broken(page.into_response()))
            }
            Some(Fault::Slow) => {
                tokio::time::sleep(Duration::from_secs(15)).await;
                Ok(Admitted { key, fault: None })
            }
            Some(fault @ (Fault::CutOff | Fault::Empty)) => Ok(Admitted { key, fault: Some(fault) }),
        }
    }
}

struct Admitted {
    key: String,
    fault: Option<Fault>,
}

/// Why a request gets no answer. Each API has its own words for the first three.
enum Denied {
    NoKey,
    BadKey,
    TooFast,
    Broken(Response),
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

#[derive(Deserialize)]
struct TruthOrder {
    region: Region,
    #[serde(default)]
    api: Option<Api>,
}

async fn truth(State(simulator): State<Simulator>, Query(order): Query<TruthOrder>) -> Json<Value> {
    Json(simulator.truth_of(order.api.unwrap_or(Api::TheOddsApi), order.region))
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
