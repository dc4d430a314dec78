//! Probes: `/healthz` answers while the process runs, `/readyz` while it should get clients.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};

use super::error::ApiError;
use crate::session::AppState;

pub(super) fn router() -> Router<Arc<AppState>> {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz))
}

async fn readyz(State(app): State<Arc<AppState>>) -> Result<&'static str, ApiError> {
    match app.readiness.reason() {
        None => Ok("ready\n"),
        Some(reason) => Err(ApiError::NotReady(reason)),
    }
}
