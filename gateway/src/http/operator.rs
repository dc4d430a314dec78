//! What operators see. To others, these paths don't exist, and neither do they in the description of the API.

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::Response, routing::get};
use bytes::Bytes;
use fleet::{LoggedTrouble, Problem, ProgramState, Values};
use http::header;
use odds::{FeedState, Region, Timestamp};
use serde::Serialize;
use tower::util::MapResponse;
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    SecuritySchemes,
    error::{self, Refusals},
    nothing_here,
    operators::Operator,
    schemas,
    subscriptions::RegionKey,
};
use crate::session::AppState;

#[derive(OpenApi)]
#[openapi(
    info(title = "Toteboard for operators", version = "1", description = "What is wrong, and what to do about it."),
    components(schemas(error::ErrorBody)),
    modifiers(&SecuritySchemes),
)]
struct Document;

pub(super) fn router(app: &Arc<AppState>) -> Router<Arc<AppState>> {
    let (api, document) = OpenApiRouter::with_openapi(Document::openapi()).routes(routes!(status)).split_for_parts();
    let document = Bytes::from(document.to_json().expect("the document is plain data"));
    let document = get(async move |_: Operator| ([(header::CONTENT_TYPE, "application/json")], document));
    let api = api.route("/api/operator/openapi.json", document);
    let api = api.fallback(nothing_here).method_not_allowed_fallback(nothing_here).with_state(app.clone());
    // axum names the methods of a path that exists.
    let unnamed = |mut answer: Response| {
        answer.headers_mut().remove(header::ALLOW);
        answer
    };
    Router::new().route_service("/api/operator/{*rest}", MapResponse::new(api, unnamed))
}

#[derive(Serialize, ToSchema)]
struct Status {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Whether nothing is wrong that users notice.
    is_well: bool,
    regions: Vec<RegionStatus>,
    /// The most important first.
    #[schema(value_type = Vec<ProblemStatus>)]
    problems: Vec<Problem>,
    programs: Vec<ProgramStatus>,
}

#[derive(Serialize, ToSchema)]
struct RegionStatus {
    #[schema(value_type = RegionKey)]
    region: Region,
    #[schema(schema_with = schemas::feed_state)]
    state: FeedState,
    /// `live`, or what is wrong.
    verdict: String,
}

/// Something that is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a problem")]
struct ProblemStatus {
    /// Its name in the documentation.
    name: String,
    /// `page` if users miss something now, else `warning`.
    severity: String,
    /// A region, a channel or a program. Empty if it concerns all.
    about: String,
    text: String,
    #[schema(format = DateTime)]
    since: String,
    what_to_do: String,
}

#[derive(Serialize, ToSchema)]
struct ProgramStatus {
    role: String,
    instance: String,
    version: String,
    /// Whether it has reported nothing for longer than it should. It is shown for an hour.
    is_silent: bool,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it last reported.
    #[schema(value_type = String, format = DateTime)]
    reported_at: Timestamp,
    #[schema(value_type = std::collections::BTreeMap<String, f64>)]
    values: Values,
    #[schema(value_type = Vec<schemas::LoggedTrouble>)]
    troubles: Vec<LoggedTrouble>,
}

/// Returns what is wrong, and all programs.
#[utoipa::path(
    get, path = "/api/operator/status", tag = "operator", security(("session" = []), ("token" = [])),
    responses((status = OK, body = Status, description = "Now."), Refusals),
)]
async fn status(State(app): State<Arc<AppState>>, _: Operator) -> Json<Status> {
    let at = (app.clock)();
    let (problems, programs) = app.fleet.now();
    let regions = app.regions.iter().map(|handle| {
        let feed = handle.feed();
        let about = feed.region.key();
        let worst = problems.iter().find(|problem| problem.about == about);
        let verdict = worst.map_or_else(|| "live".to_owned(), |worst| worst.text.clone());
        RegionStatus { region: feed.region, state: feed.state, verdict }
    });
    let programs = programs.into_iter().map(|(report, state)| ProgramStatus {
        role: report.role,
        instance: report.instance,
        version: report.version,
        is_silent: state == ProgramState::Silent,
        since: report.since,
        reported_at: report.at,
        values: report.values,
        troubles: report.troubles,
    });
    Json(Status {
        at,
        is_well: problems.iter().all(|problem| problem.severity != fleet::Severity::Page),
        regions: regions.collect(),
        programs: programs.collect(),
        problems,
    })
}
