//! The REST API, its OpenAPI description, and the probes.

mod account;
mod alerts;
mod asyncapi;
mod body;
mod caller;
mod contacts;
mod error;
mod health;
mod history;
mod hooks;
mod links;
mod messages;
mod odds;
mod operator;
mod opportunities;
mod produce;
mod query;
mod rules;
mod schemas;
mod sessions;
mod subscriptions;
mod tokens;

use std::{sync::Arc, time::Duration};

use ::accounts::Sessions;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use tower_http::timeout::TimeoutLayer;
use tower_sessions::{SessionManagerLayer, cookie::SameSite};
use utoipa::{
    OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use self::asyncapi::asyncapi;
pub(crate) use self::{
    history::{Openings, Sparkline, SparklineOf},
    operator::KnownOperators,
    opportunities::LiveLines,
};
use crate::session::AppState;
use caller::Person;
use error::ApiError;

/// The largest request body of the API, in bytes.
const MAX_BODY: usize = 16 * 1_024;
/// A request that takes longer is answered with 503.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Toteboard",
        // The API's version: the program's version is not shown to strangers.
        version = "1",
        description = "Accounts, subscriptions, boards and their history. Updates are sent over Socket.IO; see PROTOCOL.md.",
    ),
    components(schemas(schemas::RecordedLine, error::ErrorBody)),
    modifiers(&SecuritySchemes),
)]
struct Document;

/// Describes the two ways to sign in.
struct SecuritySchemes;

impl utoipa::Modify for SecuritySchemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("tb_…").build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("toteboard"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

pub(crate) fn router(app: &Arc<AppState>, sessions: Sessions) -> Router {
    let sessions = SessionManagerLayer::new(sessions)
        .with_name(app.origins.cookie())
        .with_secure(app.origins.are_secure())
        .with_http_only(true)
        .with_same_site(SameSite::Lax);
    let (api, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(account::router())
        .merge(subscriptions::router())
        .merge(sessions::router())
        .merge(tokens::router())
        .merge(odds::router())
        .merge(history::router())
        .merge(opportunities::router())
        .merge(rules::router())
        .merge(alerts::router())
        .merge(messages::router())
        .merge(contacts::router())
        .merge(produce::router())
        .split_for_parts();
    let api = api
        .merge(hooks::router())
        .merge(links::router())
        .merge(operator::router(app))
        .route("/api/{*rest}", any(nothing_here))
        .layer(sessions)
        .layer(from_fn_with_state(app.clone(), from_our_page))
        // Routes may have limits of their own.
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN));
    // Serialized once: it is the same for every request.
    let document = Bytes::from(document.to_json().expect("the document is plain data"));
    let document = get(([(header::CONTENT_TYPE, "application/json")], document));
    let asyncapi = Bytes::from(asyncapi::asyncapi().to_string());
    let asyncapi = get(([(header::CONTENT_TYPE, "application/json")], asyncapi));
    let docs = Router::from(SwaggerUi::new("/api/docs").config(Config::new([DOCUMENT]))).route(DOCUMENT, document);
    let docs = docs.route("/api/asyncapi.json", asyncapi);
    Router::new().merge(health::router()).merge(api).with_state(app.clone()).merge(docs)
}

/// The path of the OpenAPI description.
const DOCUMENT: &str = "/api/openapi.json";

/// Reads the session, as the paths of operators do: the cookies of both answers must be the same, too.
async fn nothing_here(_: Result<Person, ApiError>) -> ApiError {
    no_such_path()
}

fn no_such_path() -> ApiError {
    ApiError::NotFound("no such path; /api/docs lists all paths".into())
}

/// Refuses changes from other sites' pages, since browsers send our cookie with those, too. Programs send a token, or
/// neither a cookie nor an origin.
async fn from_our_page(State(app): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let changes = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let by_token = headers.contains_key(header::AUTHORIZATION);
    let from_a_page = headers.contains_key(header::ORIGIN) || app.origins.cookie_in(headers).is_some();
    if changes && !by_token && from_a_page && !app.origins.is_ours(headers) {
        return ApiError::ForbiddenOrigin.into_response();
    }
    next.run(request).await
}
