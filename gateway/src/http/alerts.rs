//! Alerts: what fired.

use std::sync::Arc;

use ::alerts::FiringId;
use accounts::{Alert, Unwatched};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use http::StatusCode;
use odds::{Region, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    caller::Caller,
    error::{ApiError, Refusals},
    query,
    subscriptions::RegionKey,
};
use crate::session::AppState;

/// How many alerts an answer has, unless the request asks for fewer.
const MOST: usize = 200;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(mark_read))
}

/// An alert: as the event `alert` has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description only: an alert is written by `Alert::to_json`")]
pub(super) struct ListedAlert {
    /// The id of this firing.
    id: String,
    /// The rule that fired.
    rule: String,
    /// The time of the step at which it fired.
    #[schema(format = DateTime)]
    at: String,
    /// Nobody was notified: when it was found, its condition no longer held.
    missed: bool,
    #[schema(nullable = false, format = DateTime)]
    read_at: Option<String>,
    /// The name of the rule.
    #[schema(nullable = false)]
    name: Option<String>,
    channels: Vec<String>,
    /// The kind of the rule.
    kind: String,
    #[schema(nullable = false)]
    event: Option<String>,
    #[schema(nullable = false)]
    sport: Option<String>,
    #[schema(nullable = false)]
    sport_title: Option<String>,
    #[schema(nullable = false)]
    home_team: Option<String>,
    #[schema(nullable = false)]
    away_team: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    commence_time: Option<String>,
    #[schema(nullable = false)]
    market: Option<String>,
    #[schema(nullable = false)]
    outcome: Option<String>,
    #[schema(nullable = false)]
    point: Option<f64>,
    #[schema(nullable = false)]
    description: Option<String>,
    /// The best price, its bookmaker and its region.
    #[schema(nullable = false)]
    price: Option<f64>,
    #[schema(nullable = false)]
    bookmaker: Option<String>,
    #[schema(nullable = false)]
    region: Option<RegionKey>,
    /// Where the probability, in percent, or the point was.
    #[schema(nullable = false)]
    from: Option<f64>,
    /// Where it is; for an arbitrage, the margin in percent; for a start or a feed, the minutes.
    #[schema(nullable = false)]
    value: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct Inbox {
    /// The oldest first.
    #[schema(value_type = Vec<ListedAlert>)]
    alerts: Vec<Box<RawValue>>,
    /// How many of all alerts are unread.
    unread: u64,
    /// The times in which rules that you have now were not evaluated, in the order of their beginnings.
    unwatched: Vec<UnwatchedTime>,
}

/// A time in which rules about a region were not evaluated, because the changes of that time can't be read any more.
#[derive(Serialize, ToSchema)]
struct UnwatchedTime {
    #[schema(value_type = RegionKey)]
    region: Region,
    /// The time of the last step that was evaluated before.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// The time of the first step that was evaluated again.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    after: Option<String>,
    limit: Option<usize>,
}

/// Returns the newest alerts, or those after one that you have.
#[utoipa::path(
    get, path = "/api/alerts", operation_id = "list_alerts", tag = "alerts",
    params(
        ("after" = Option<String>, Query, description = "The id of an alert. If it is not known any more, the newest come."),
        ("limit" = Option<u32>, Query, description = "1 to 200 (200)"),
    ),
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = Inbox, description = "The alerts."), Refusals),
)]
async fn list(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Inbox>, ApiError> {
    let invalid = |field: &str, reason: &str| ApiError::Invalid { field: field.into(), reason: reason.into() };
    let Wanted { after, limit } = query::read(wanted)?;
    let after = after.map(|id| id.parse::<FiringId>().map_err(|error| invalid("after", &error.to_string())));
    let limit = query::limit(limit, MOST, MOST)?;
    let (alerts, unread) = app.accounts.alerts_of(&user.id, after.transpose()?, limit).await?;
    let unwatched = app.accounts.unwatched(&user.id).await?;
    let unwatched =
        unwatched.into_iter().map(|Unwatched { region, from, until }| UnwatchedTime { region, from, until });
    Ok(Json(Inbox { alerts: alerts.iter().map(raw).collect(), unread, unwatched: unwatched.collect() }))
}

fn raw(alert: &Alert) -> Box<RawValue> {
    RawValue::from_string(alert.to_json()).expect("it is JSON")
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReadRequest {
    /// All, if not given.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, max_items = 200)]
    ids: Option<Vec<String>>,
}

/// Reads ids that are given: `null` would otherwise mean all alerts.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

#[derive(Serialize, ToSchema)]
struct Unread {
    unread: u64,
}

/// Marks alerts as read.
#[utoipa::path(
    post, path = "/api/alerts/read", operation_id = "read_alerts", tag = "alerts", request_body = ReadRequest,
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = Unread, description = "How many are still unread."), Refusals),
)]
async fn mark_read(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    Body(ReadRequest { ids }): Body<ReadRequest>,
) -> Result<(StatusCode, Json<Unread>), ApiError> {
    let invalid = |reason: String| ApiError::Invalid { field: "ids".into(), reason };
    if ids.as_ref().is_some_and(|ids| ids.len() > MOST) {
        return Err(invalid(format!("expected at most {MOST}")));
    }
    let parsed = ids.map(|ids| ids.iter().map(|id| id.parse::<FiringId>()).collect::<Result<Vec<_>, _>>());
    let ids = parsed.transpose().map_err(|error| invalid(error.to_string()))?;
    let unread = app.accounts.mark_read(&user.id, ids.as_deref()).await?;
    Ok((StatusCode::OK, Json(Unread { unread })))
}
