//! Rules: what a user wants to be told about. Sessions and tokens may change them.

use std::sync::Arc;

use ::alerts::{Boards, Facts, Missing, RegionView, Rule, RuleId};
use accounts::StoredRule;
use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use odds::{Region, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    caller::Caller,
    error::{ApiError, Refusals},
    subscriptions::RegionKey,
};
use crate::{
    region::{Excerpt, RegionHandle, Wanted},
    session::AppState,
};

/// A rule about an event ends this long after its start, if it has no other end,
const AFTER_START_MS: i64 = 24 * 3_600_000;
/// or this long from now, if the event is not known.
const UNKNOWN_EVENT_MS: i64 = 30 * 24 * 3_600_000;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(read, edit, delete)).routes(routes!(test))
}

/// A rule as its user writes it. Which fields a kind needs is in docs/alerts.md.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description only: a rule is read by `Rule::from_json`")]
pub(super) struct RuleFields {
    /// `price`, `move`, `line`, `arbitrage`, `starts` or `feed`
    kind: String,
    /// Your own name for it.
    #[schema(nullable = false)]
    name: Option<String>,
    /// `price`: the best price reaches this from below,
    #[schema(nullable = false)]
    at_least: Option<f64>,
    /// or this from above.
    #[schema(nullable = false)]
    at_most: Option<f64>,
    /// `move`: by how many percentage points the consensus changed; `arbitrage`: what the best prices win.
    #[schema(nullable = false)]
    percent: Option<f64>,
    /// `move`: within how many minutes (1 to 30); `starts`: how long before; `feed`: how long not live.
    #[schema(nullable = false)]
    minutes: Option<u32>,
    /// `move`: how many bookmakers moved with it (1).
    #[schema(nullable = false)]
    min_bookmakers: Option<u32>,
    /// `line`: by how much the main point moved.
    #[schema(nullable = false)]
    by: Option<f64>,
    /// All, if not given.
    #[schema(nullable = false)]
    regions: Option<Vec<RegionKey>>,
    /// All, if not given.
    #[schema(nullable = false)]
    bookmakers: Option<Vec<String>>,
    /// The id of an event; or give a sport.
    #[schema(nullable = false)]
    event: Option<String>,
    #[schema(nullable = false)]
    sport: Option<String>,
    /// With a sport: a part of a team's name.
    #[schema(nullable = false)]
    team: Option<String>,
    #[schema(nullable = false)]
    market: Option<String>,
    /// The name of an outcome; of a sport, it may be left out.
    #[schema(nullable = false)]
    outcome: Option<String>,
    #[schema(nullable = false)]
    point: Option<f64>,
    #[schema(nullable = false)]
    description: Option<String>,
    /// Some of `page`, `email` and `sms`; without any: `page`.
    #[schema(nullable = false)]
    channels: Option<Vec<String>>,
    /// How long it doesn't fire again after it fired. Without this, it fires once and ends.
    #[schema(nullable = false)]
    cooldown_minutes: Option<u32>,
    /// When it ends.
    #[schema(nullable = false, format = DateTime)]
    until: Option<String>,
}

/// A rule, with the fields that it was made with.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description only")]
pub(super) struct ListedRule {
    id: String,
    /// Rises with each change.
    revision: u32,
    #[schema(format = DateTime)]
    created_at: String,
    /// Only what happens later counts.
    #[schema(format = DateTime)]
    edited_at: String,
    /// Why it ended: `fired`, `event_over` or `expired`.
    #[schema(nullable = false)]
    ended: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    ended_at: Option<String>,
    #[schema(inline)]
    #[serde(flatten)]
    fields: RuleFields,
}

fn listed(stored: &StoredRule) -> Value {
    let mut listed = stored.rule.to_json();
    listed["id"] = json!(stored.id);
    listed["revision"] = json!(stored.revision);
    listed["created_at"] = json!(stored.created_at);
    listed["edited_at"] = json!(stored.edited_at);
    if let Some((end, at)) = stored.ended {
        listed["ended"] = json!(end.key());
        listed["ended_at"] = json!(at);
    }
    listed
}

fn id(text: &str) -> Result<RuleId, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound("there is no such rule".into()))
}

/// Lists the account's rules.
#[utoipa::path(
    get, path = "/api/rules", operation_id = "list_rules", tag = "alerts",
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = Vec<ListedRule>, description = "The rules, the oldest first."), Refusals),
)]
async fn list(State(app): State<Arc<AppState>>, Caller { user }: Caller) -> Result<Json<Vec<Value>>, ApiError> {
    Ok(Json(app.accounts.rules_of(&user.id).await?.iter().map(listed).collect()))
}

/// Creates a rule. It counts what happens from now on; a price that is there already fires it at the next step.
#[utoipa::path(
    post, path = "/api/rules", operation_id = "create_rule", tag = "alerts", request_body = RuleFields,
    security(("session" = []), ("token" = [])),
    responses((status = CREATED, body = ListedRule, description = "The rule."), Refusals),
)]
async fn create(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    Body(fields): Body<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let mut rule = Rule::from_json(&fields).map_err(accounts::AccountsError::from)?;
    if rule.until.is_none() && rule.scope.event.is_some() {
        rule.until = Some(end_of(&app, &rule).await);
    }
    let stored = app.accounts.create_rule(&user.id, rule).await?;
    app.rules_changed(&user.id);
    Ok((StatusCode::CREATED, Json(listed(&stored))))
}

/// Returns a rule.
#[utoipa::path(
    get, path = "/api/rules/{id}", operation_id = "read_rule", tag = "alerts", params(("id" = String, Path)),
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = ListedRule, description = "The rule."), Refusals),
)]
async fn read(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(listed(&app.accounts.rule(&user.id, id(&name)?).await?)))
}

/// Changes the given fields of a rule; null removes one. The rule begins anew, even if it had ended.
#[utoipa::path(
    patch, path = "/api/rules/{id}", operation_id = "edit_rule", tag = "alerts", params(("id" = String, Path)),
    request_body = RuleFields, security(("session" = []), ("token" = [])),
    responses((status = OK, body = ListedRule, description = "The changed rule."), Refusals),
)]
async fn edit(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    Path(name): Path<String>,
    Body(changes): Body<Value>,
) -> Result<Json<Value>, ApiError> {
    let stored = app.accounts.edit_rule(&user.id, id(&name)?, &changes).await?;
    app.rules_changed(&user.id);
    Ok(Json(listed(&stored)))
}

/// Deletes a rule. Its alerts stay.
#[utoipa::path(
    delete, path = "/api/rules/{id}", operation_id = "delete_rule", tag = "alerts", params(("id" = String, Path)),
    security(("session" = []), ("token" = [])),
    responses((status = NO_CONTENT, description = "The rule is deleted."), Refusals),
)]
async fn delete(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.accounts.delete_rule(&user.id, id(&name)?).await?;
    app.rules_changed(&user.id);
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a rule would fire by the boards of this moment.
#[derive(Serialize, ToSchema)]
struct Tested {
    would_fire: bool,
    /// Why it would not: `no_board`, `no_event`, `not_live`, `no_price`, `not_reached`; or `needs_history`, for kinds
    /// that depend on how things changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    missing: Option<Missing>,
    /// What comes closest: what an alert would say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    closest: Option<Facts>,
}

/// Says whether the rule would fire now, and what is missing.
#[utoipa::path(
    post, path = "/api/rules/{id}/test", operation_id = "test_rule", tag = "alerts", params(("id" = String, Path)),
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = Tested, description = "The result."), Refusals),
)]
async fn test(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    Path(name): Path<String>,
) -> Result<Json<Tested>, ApiError> {
    app.accounts.may_read(&user.id)?;
    let rule = app.accounts.rule(&user.id, id(&name)?).await?.rule;
    let excerpts = excerpts(&app, &rule).await;
    let mut boards = Boards::default();
    for (region, Excerpt { board, marker }) in &excerpts {
        boards.set(*region, Some(RegionView { board, marker }));
    }
    let ::alerts::Test { would_fire, missing, closest } = ::alerts::test(&rule, &boards, (app.clock)());
    Ok(Json(Tested { would_fire, missing, closest }))
}

/// What the rule looks at, in each region that has a board.
async fn excerpts(app: &AppState, rule: &Rule) -> Vec<(Region, Excerpt)> {
    let wanted = match (&rule.scope.event, &rule.scope.sport) {
        (Some(event), _) => Wanted::Event(event.clone()),
        (None, Some(sport)) => Wanted::Sport(sport.clone()),
        (None, None) => Wanted::Nothing,
    };
    let of_region = async |region: Region| {
        let handle: &RegionHandle = &app.regions[region as usize];
        Some((region, handle.excerpt(wanted.clone()).await?))
    };
    let all = futures::future::join_all(rule.scope.regions.iter().map(of_region)).await;
    all.into_iter().flatten().collect()
}

/// When a rule about an event ends without an end of its own: with the event, at the latest.
async fn end_of(app: &AppState, rule: &Rule) -> Timestamp {
    let event = rule.scope.event.as_ref().expect("it is about an event");
    let excerpts = excerpts(app, rule).await;
    let starts = excerpts.iter().filter_map(|(_, excerpt)| excerpt.board.details(event));
    match starts.map(|details| details.commence_time).max() {
        Some(start) => start.plus_millis(AFTER_START_MS),
        None => (app.clock)().plus_millis(UNKNOWN_EVENT_MS),
    }
}
