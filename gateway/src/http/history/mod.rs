//! Serves what was recorded: any board as it was, every change after it, prices over time, the events, and what moved.

mod changes;
mod closing;
mod event;
mod events;
mod movers;
mod openings;
mod series;
mod sparklines;

use std::sync::Arc;

use ::history::{Moment, RecordedBoard, Store};
use axum::{
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use odds::{Cursor, EventId, InvalidTimestamp, Region, Timestamp};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use self::events::EventHead;
pub(crate) use self::{
    openings::Openings,
    sparklines::{Sparkline, SparklineOf},
};
use crate::{
    gzip::{COMPRESS_FROM, compress, takes_gzip},
    http::{
        caller::Caller,
        error::{ApiError, HistoryRefusals, Refusals},
        schemas,
        subscriptions::RegionKey,
    },
    session::AppState,
};

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new()
        .routes(routes!(recorded_board))
        .routes(routes!(changes::recorded_changes))
        .routes(routes!(series::outcome_series))
        .routes(routes!(events::recorded_events))
        .routes(routes!(event::event_history))
        .routes(routes!(closing::closing_prices))
        .routes(routes!(sparklines::consensus_sparklines))
        .routes(routes!(movers::movers))
}

fn store(app: &AppState) -> Result<&Arc<dyn Store>, ApiError> {
    app.history.as_ref().ok_or(ApiError::HistoryDisabled)
}

fn event_id(id: &str) -> Result<EventId, ApiError> {
    id.parse().map_err(|error: odds::InvalidKey| ApiError::NotFound(error.to_string()))
}

pub(super) fn invalid(field: &str, reason: &(impl ToString + ?Sized)) -> ApiError {
    ApiError::Invalid { field: field.to_owned(), reason: reason.to_string() }
}

pub(super) fn parsed<T: std::str::FromStr<Err: ToString>>(field: &str, value: &str) -> Result<T, ApiError> {
    value.parse().map_err(|error: T::Err| invalid(field, &error))
}

/// The error for a parameter that is not one of these.
fn unknown(field: &str, known: &str) -> ApiError {
    invalid("query", &format!("unknown parameter {field:?}; use {known}"))
}

/// The wanted regions, each once: all of them, if none is named.
pub(super) fn all_if_none(mut regions: Vec<Region>) -> Vec<Region> {
    if regions.is_empty() {
        return Region::ALL.into();
    }
    regions.sort_unstable();
    regions.dedup();
    regions
}

/// The longest time of a request that reads prices or events.
const MOST_DAYS: i64 = 31;
const DAY_MS: i64 = 24 * 3_600_000;

/// The time between two parameters. Without `to`, it ends now; without `from`, it is a day.
fn period(from: Option<Timestamp>, to: Option<Timestamp>, now: Timestamp) -> Result<(Timestamp, Timestamp), ApiError> {
    let to = to.unwrap_or(now);
    let from = from.unwrap_or_else(|| to.plus_millis(-DAY_MS));
    if !(0..=MOST_DAYS * DAY_MS).contains(&to.millis_since(from)) {
        return Err(invalid("from", &format!("expected a time before `to`, by at most {MOST_DAYS} days")));
    }
    Ok((from, to))
}

fn moment(query: &[(String, String)]) -> Result<Moment, ApiError> {
    let [(name, value)] = query else { return Err(invalid("query", "give one parameter: at or cursor")) };
    match name.as_str() {
        "at" => value.parse().map(Moment::At).map_err(|error: InvalidTimestamp| invalid("at", &error)),
        "cursor" => {
            let cursor = value.parse::<Cursor>().map_err(|error| invalid("cursor", &error))?;
            Ok(Moment::Step(cursor.step()))
        }
        _ => Err(unknown(name, "at or cursor")),
    }
}

/// Returns a region's board as it was, in the format of a `snapshot`. It is rebuilt from what was recorded, and has the
/// digest that the board had then.
#[utoipa::path(
    get, path = "/api/history/board/{region}", tag = "history", security(("session" = []), ("token" = [])),
    params(
        ("region" = RegionKey, Path),
        ("at" = Option<String>, Query, description = "The time, such as `2026-11-21T12:00:00Z`."),
        ("cursor" = Option<String>, Query, description = "Instead of a time: the cursor of a snapshot or a change."),
    ),
    responses(
        (status = OK, body = schemas::RecordedBoard, description = "The whole board."),
        HistoryRefusals,
        Refusals,
    ),
)]
async fn recorded_board(
    State(app): State<Arc<AppState>>,
    _: Caller,
    Path(region): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let region: Region = region.parse()?;
    let moment = moment(&query)?;
    let board = store(&app)?.board_at(region, moment).await.inspect_err(|error| app.metrics.count_damage(error))?;
    // Only a board that is followed by another stays the same for ever.
    let caching = if board.until.is_some() { "private, max-age=3600" } else { "private, no-cache" };
    Ok(json_answer(&headers, caching, move || board_json(&board)).await)
}

/// Writes an answer, compressed if it is large and the client takes that. On a blocking thread: the runtime's threads
/// deliver the stream.
pub(super) async fn json_answer(
    headers: &HeaderMap,
    caching: &'static str,
    write: impl FnOnce() -> String + Send + 'static,
) -> Response {
    let takes_gzip = takes_gzip(headers);
    let write = move || {
        let json = write().into_bytes();
        let is_compressed = json.len() >= COMPRESS_FROM && takes_gzip;
        (is_compressed, if is_compressed { compress(&json) } else { json })
    };
    let (is_compressed, body) = tokio::task::spawn_blocking(write).await.expect("writing JSON does not panic");
    let head = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, caching),
        (header::VARY, "accept-encoding"),
    ];
    let mut answer = (head, body).into_response();
    if is_compressed {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

fn board_json(board: &RecordedBoard) -> String {
    let until = board.until.map_or("null".to_owned(), |until| format!("\"{until}\""));
    let snapshot = board.snapshot();
    let snapshot = snapshot.strip_prefix('{').expect("it is an object");
    format!(r#"{{"at":"{}","until":{until},"verified":true,{snapshot}"#, board.marker.at)
}
