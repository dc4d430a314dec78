//! Serves what was recorded: any board as it was, and the history of an event.

use std::sync::Arc;

use ::history::{EventSummary, Moment, RecordedBoard, Store};
use axum::{
    Json,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use odds::{EventId, InvalidCursor, InvalidTimestamp, Region, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Caller,
    error::{ApiError, HistoryRefusals, Refusals},
    gzip::{COMPRESS_FROM, compress, takes_gzip},
    schemas,
    subscriptions::RegionKey,
};
use crate::session::AppState;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(recorded_board)).routes(routes!(event_history))
}

fn store(app: &AppState) -> Result<&Arc<dyn Store>, ApiError> {
    app.history.as_ref().ok_or(ApiError::HistoryDisabled)
}

fn moment(query: &[(String, String)]) -> Result<Moment, ApiError> {
    let invalid = |field: &str, reason: String| ApiError::Invalid { field: field.to_owned(), reason };
    let [(name, value)] = query else { return Err(invalid("query", "give one parameter: at or cursor".to_owned())) };
    match name.as_str() {
        "at" => value.parse().map(Moment::At).map_err(|error: InvalidTimestamp| invalid("at", error.to_string())),
        "cursor" => {
            value.parse().map(Moment::Step).map_err(|error: InvalidCursor| invalid("cursor", error.to_string()))
        }
        _ => Err(invalid("query", format!("unknown parameter {name:?}; use at or cursor"))),
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
    let board = store(&app)?.board_at(region, moment).await?;
    // Only a board that is followed by another stays the same for ever.
    let caching = if board.until.is_some() { "private, max-age=3600" } else { "private, no-cache" };
    let head = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, caching),
        (header::VARY, "accept-encoding"),
    ];
    // On a blocking thread: the runtime's threads deliver the stream.
    let write = move || {
        let json = board_json(&board).into_bytes();
        let is_compressed = json.len() >= COMPRESS_FROM && takes_gzip(&headers);
        (is_compressed, if is_compressed { compress(&json) } else { json })
    };
    let (is_compressed, body) = tokio::task::spawn_blocking(write).await.expect("writing JSON does not panic");
    let mut answer = (head, body).into_response();
    if is_compressed {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(answer)
}

fn board_json(board: &RecordedBoard) -> String {
    let until = board.until.map_or("null".to_owned(), |until| format!("\"{until}\""));
    let snapshot = board.snapshot();
    let snapshot = snapshot.strip_prefix('{').expect("it is an object");
    format!(r#"{{"at":"{}","until":{until},"verified":true,{snapshot}"#, board.marker.at)
}

/// What is recorded of an event.
#[derive(Serialize, ToSchema)]
struct EventHistory {
    id: String,
    regions: Vec<EventInRegion>,
}

/// What is recorded of an event in a region.
#[derive(Serialize, ToSchema)]
struct EventInRegion {
    #[schema(value_type = RegionKey)]
    region: Region,
    /// When its first price was recorded.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// When a price of it last changed; at first, when it was first seen.
    #[schema(value_type = String, format = DateTime)]
    last_change: Timestamp,
    /// How often a bookmaker changed the price of an outcome.
    price_changes: u64,
}

/// Returns what is recorded of an event.
#[utoipa::path(
    get, path = "/api/history/events/{id}", tag = "history", security(("session" = []), ("token" = [])),
    params(("id" = String, Path)),
    responses((status = OK, body = EventHistory, description = "By region."), HistoryRefusals, Refusals),
)]
async fn event_history(
    State(app): State<Arc<AppState>>,
    _: Caller,
    Path(id): Path<String>,
) -> Result<Json<EventHistory>, ApiError> {
    let event: EventId = id.parse().map_err(|error: odds::InvalidKey| ApiError::NotFound(error.to_string()))?;
    let summaries = store(&app)?.event_summary(&event).await.map_err(::history::HistoryError::from)?;
    if summaries.is_empty() {
        return Err(ApiError::NotFound("nothing is recorded of this event".into()));
    }
    let in_region = |it: EventSummary| {
        let EventSummary { region, first_seen, last_change, price_changes } = it;
        EventInRegion { region, first_seen, last_change, price_changes }
    };
    Ok(Json(EventHistory { id, regions: summaries.into_iter().map(in_region).collect() }))
}
