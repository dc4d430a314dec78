//! The page's files: precompressed, and kept by browsers for good where the name says the content.

use std::path::Path;

use axum::{
    Router,
    http::{HeaderValue, header::CACHE_CONTROL},
    response::Response,
};
use tower::ServiceBuilder;
use tower_http::{services::ServeDir, set_header::SetResponseHeaderLayer};

/// Files under /assets carry a hash of their content in their names.
pub(crate) fn routes(folder: &Path) -> Router {
    let cached = |value: &'static str| {
        SetResponseHeaderLayer::overriding(CACHE_CONTROL, move |response: &Response<_>| {
            response.status().is_success().then(|| HeaderValue::from_static(value))
        })
    };
    let assets = ServeDir::new(folder.join("assets")).precompressed_br();
    let files = ServeDir::new(folder).precompressed_br();
    Router::new()
        .nest_service(
            "/assets",
            ServiceBuilder::new().layer(cached("public, max-age=31536000, immutable")).service(assets),
        )
        .fallback_service(ServiceBuilder::new().layer(cached("no-cache")).service(files))
}
