//! What operators see and do. To others, these paths don't exist, and neither do they in the description of the API.

mod access;
mod accounts;
mod audit;
mod clients;
mod dead_letters;
mod screen;
mod status;

use std::sync::Arc;

use axum::{Router, response::Response, routing::get};
use bytes::Bytes;
use http::header;
use tower::util::MapResponse;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use self::access::KnownOperators;
use self::access::Operator;
pub(super) use self::screen::{View, views_of};
use super::{SecuritySchemes, error, nothing_here};
use crate::session::AppState;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Toteboard for operators",
        version = "1",
        description = "What is wrong, what to do about it, and what can be done here. What is done is noted in the audit \
                       log. A socket with `operator: true` in its `auth` gets what `/api/operator/status` answers as the \
                       event `operator`, every two seconds.",
    ),
    components(schemas(error::ErrorBody)),
    modifiers(&SecuritySchemes),
)]
struct Document;

pub(super) fn router(app: &Arc<AppState>) -> Router<Arc<AppState>> {
    let (api, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(status::status))
        .routes(routes!(audit::audit))
        .routes(routes!(audit::audit_csv))
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::change))
        .routes(routes!(accounts::reset_password))
        .routes(routes!(accounts::end_sessions))
        .routes(routes!(accounts::set_registration))
        .routes(routes!(clients::disconnect))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::replay))
        .split_for_parts();
    let document = Bytes::from(document.to_json().expect("the document is plain data"));
    let document = get(async move |_: Operator| ([(header::CONTENT_TYPE, "application/json")], document));
    let api = api.route("/api/operator/openapi.json", document).route(screen::PATH, get(screen::screen));
    let api = api.fallback(nothing_here).method_not_allowed_fallback(nothing_here).with_state(app.clone());
    // axum names the methods of a path that exists.
    let unnamed = |mut answer: Response| {
        answer.headers_mut().remove(header::ALLOW);
        answer
    };
    Router::new().route_service("/api/operator/{*rest}", MapResponse::new(api, unnamed))
}
