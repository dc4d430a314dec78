//! Serves the page's files, precompressed. Files whose name has a hash of their content are cached by browsers for a
//! year.

use std::path::Path;

use axum::{
    Router,
    http::{HeaderValue, header::CACHE_CONTROL},
    response::Response,
};
use tower::ServiceBuilder;
use tower_http::{
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
};

/// The addresses of the page's views, besides `/`. Each gets the page, which shows the view.
const VIEWS: [&str; 6] = ["/alerts", "/event/{id}", "/movers", "/opportunities", "/settings", "/view/{name}"];

/// Serves this folder. Only names under /assets contain a hash of the content.
pub(crate) fn routes(folder: &Path) -> Router {
    let cached = |value: &'static str| {
        SetResponseHeaderLayer::overriding(CACHE_CONTROL, move |response: &Response<_>| {
            response.status().is_success().then(|| HeaderValue::from_static(value))
        })
    };
    let assets = ServeDir::new(folder.join("assets")).precompressed_br();
    let files = ServeDir::new(folder).precompressed_br();
    let page = ServiceBuilder::new()
        .layer(cached("no-cache"))
        .service(ServeFile::new(folder.join("index.html")).precompressed_br());
    VIEWS
        .into_iter()
        .fold(Router::new(), |router, view| router.route_service(view, page.clone()))
        .nest_service(
            "/assets",
            ServiceBuilder::new().layer(cached("public, max-age=31536000, immutable")).service(assets),
        )
        .fallback_service(ServiceBuilder::new().layer(cached("no-cache")).service(files))
}
