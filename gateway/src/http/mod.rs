//! What is served by HTTP beside Socket.IO and the page.

mod account;
mod body;
mod caller;
mod error;
mod health;
mod odds;
mod subscriptions;
mod tokens;

use std::{sync::Arc, time::Duration};

use ::accounts::Sessions;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tower_http::timeout::TimeoutLayer;
use tower_sessions::{SessionManagerLayer, cookie::SameSite};
use utoipa::{
    OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

use crate::sockets::Hub;
use error::ApiError;

/// Nothing that is sent to the API is larger.
const MAX_BODY: usize = 16 * 1_024;
/// Nothing takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Toteboard",
        description = "Accounts, subscriptions and boards. What changes comes by Socket.IO, which PROTOCOL.md describes.",
    ),
    modifiers(&Doors),
)]
struct Document;

/// The two ways to sign in.
struct Doors;

impl utoipa::Modify for Doors {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("tb_…").build();
        components.add_security_scheme("token", SecurityScheme::Http(token));
        let cookie = ApiKey::Cookie(ApiKeyValue::new("toteboard"));
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

pub(crate) fn router(hub: &Arc<Hub>, sessions: Sessions) -> Router {
    let sessions = SessionManagerLayer::new(sessions)
        .with_name(hub.browsers.cookie())
        .with_secure(hub.browsers.are_secure())
        .with_http_only(true)
        .with_same_site(SameSite::Lax);
    let (api, document) = OpenApiRouter::with_openapi(Document::openapi())
        .merge(account::router())
        .merge(subscriptions::router())
        .merge(tokens::router())
        .merge(odds::router())
        .split_for_parts();
    let api = api
        .route("/api/{*rest}", any(nothing_here))
        .layer(sessions)
        .layer(from_fn_with_state(hub.clone(), from_our_page))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN));
    let docs = Router::from(SwaggerUi::new("/api/docs").url("/api/openapi.json", document));
    Router::new().merge(health::router()).merge(api).with_state(hub.clone()).merge(docs)
}

/// On everything that is served, the page included.
pub(crate) fn secured(router: Router, hub: Arc<Hub>) -> Router {
    router.layer(from_fn_with_state(hub, headers))
}

async fn nothing_here() -> ApiError {
    ApiError::NotFound("there is nothing here; /api/docs tells what there is".into())
}

/// What changes something on the strength of a cookie has to come from our own page. Programs come
/// with tokens, and without cookies and origins.
async fn from_our_page(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let changes = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let by_token = headers.contains_key(header::AUTHORIZATION);
    let from_a_page = headers.contains_key(header::ORIGIN) || hub.browsers.cookie_in(headers).is_some();
    if changes && !by_token && from_a_page && !hub.browsers.is_ours(headers) {
        return ApiError::ForbiddenOrigin.into_response();
    }
    next.run(request).await
}

/// The page: its own files only, and its wasm.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";
/// The API's description: what shows it writes styles and pictures into itself.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async fn headers(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_api = path.starts_with("/api/");
    let policy = if path.starts_with("/api/docs") { DOCS_POLICY } else { PAGE_POLICY };
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, policy);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()");
    if hub.browsers.are_secure() {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    if is_api {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}
