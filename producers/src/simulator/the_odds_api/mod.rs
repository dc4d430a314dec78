//! The simulator's imitation of The Odds API: its paths, parameters, headers and errors.

mod query;

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use odds::Region;
use serde_json::{Value, json};

use self::query::OddsQuery;
use super::{
    Admitted, Denied, Params, Simulator,
    catalogue::{Contest, Sport},
    world::Event,
};

pub(super) fn router() -> Router<Simulator> {
    Router::new()
        .route("/v4/sports", get(sports))
        .route("/v4/sports/", get(sports))
        .route("/v4/sports/{sport}/events", get(events))
        .route("/v4/sports/{sport}/odds", get(odds))
        .route("/v4/sports/{sport}/events/{event}/odds", get(event_odds))
        .route("/v4/sports/{sport}/scores", get(scores))
}

impl Simulator {
    fn sport(&self, key: &str) -> Result<&'static Sport, Refusal> {
        let unknown = || Refusal(StatusCode::NOT_FOUND, "UNKNOWN_SPORT", format!("Unknown sport: {key}"));
        self.0.world.sports().iter().find(|sport| sport.key == key).ok_or_else(unknown)
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

    async fn admitted(&self, query: &HashMap<String, String>) -> Result<Admitted, Response> {
        self.admit(query).await.map_err(|denied| match denied {
            Denied::NoKey => Refusal(StatusCode::UNAUTHORIZED, "MISSING_KEY", "API key is missing".into()).into(),
            Denied::BadKey => Refusal(StatusCode::UNAUTHORIZED, "INVALID_KEY", "API key is not valid".into()).into(),
            Denied::TooFast => {
                let text = "Requests are too frequent. Please try again later";
                Refusal(StatusCode::TOO_MANY_REQUESTS, "EXCEEDED_FREQ_LIMIT", text.into()).into()
            }
            Denied::Broken(response) => response,
        })
    }
}

/// An error response in upstream's format.
struct Refusal(StatusCode, &'static str, String);

impl From<Refusal> for Response {
    fn from(Refusal(status, code, message): Refusal) -> Self {
        let details =
            format!("https://the-odds-api.com/liveapi/guides/v4/api-error-codes.html#{}", code.to_lowercase());
        (status, Json(json!({ "message": message, "error_code": code, "details_url": details }))).into_response()
    }
}

async fn sports(State(simulator): State<Simulator>, Query(query): Params) -> Result<Response, Response> {
    let admitted = simulator.admitted(&query).await?;
    let headers = simulator.charge(&admitted.key, 0.0)?;
    let list: Vec<Value> = (simulator.0.world.sports().iter())
        .map(|sport| {
            json!({
                "key": sport.key,
                "group": sport.group,
                "title": sport.title,
                "description": sport.description,
                "active": true,
                "has_outrights": sport.contest == Contest::Outright,
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
    let admitted = simulator.admitted(&query).await?;
    let wanted = OddsQuery::read(&query, false)?;
    let sport = simulator.sport(&sport)?;
    let headers = simulator.charge(&admitted.key, 0.0)?;
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
    let admitted = simulator.admitted(&query).await?;
    let wanted = OddsQuery::read(&query, true)?;
    let now = simulator.now();
    let events = if sport == "upcoming" {
        let mut all: Vec<Event> =
            simulator.0.world.sports().iter().flat_map(|sport| wanted.events(&simulator.0.world, sport, now)).collect();
        all.sort_by_key(|event| event.commence_time);
        all.truncate(8);
        all
    } else {
        wanted.events(&simulator.0.world, simulator.sport(&sport)?, now)
    };
    let cost = if events.is_empty() { 0.0 } else { wanted.cost() };
    let headers = simulator.charge(&admitted.key, cost)?;
    let list: Vec<Value> = events.iter().map(|event| wanted.write(event)).collect();
    Ok(admitted.answer(headers, &json!(list)))
}

async fn event_odds(
    State(simulator): State<Simulator>,
    Path((sport, id)): Path<(String, String)>,
    Query(query): Params,
) -> Result<Response, Response> {
    let admitted = simulator.admitted(&query).await?;
    let wanted = OddsQuery::read(&query, true)?;
    let sport = simulator.sport(&sport)?;
    let events = wanted.events(&simulator.0.world, sport, simulator.now());
    let unknown = || Refusal(StatusCode::NOT_FOUND, "EVENT_NOT_FOUND", format!("Event not found: {id}"));
    let event = events.into_iter().find(|event| event.id == id).ok_or_else(unknown)?;
    let headers = simulator.charge(&admitted.key, wanted.cost())?;
    Ok(admitted.answer(headers, &wanted.write(&event)))
}

async fn scores(
    State(simulator): State<Simulator>,
    Path(sport): Path<String>,
    Query(query): Params,
) -> Result<Response, Response> {
    let admitted = simulator.admitted(&query).await?;
    let sport = simulator.sport(&sport)?;
    let cost = if query.contains_key("daysFrom") { 2.0 } else { 1.0 };
    let headers = simulator.charge(&admitted.key, cost)?;
    let now = simulator.now();
    let list = simulator.0.world.scores(sport, now);
    Ok(admitted.answer(headers, &json!(list)))
}
