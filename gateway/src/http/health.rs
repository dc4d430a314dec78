//! Whether the process works, and whether clients should be sent here.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};

use super::error::ApiError;
use crate::sockets::Hub;

pub(super) fn router() -> Router<Arc<Hub>> {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz))
}

async fn readyz(State(hub): State<Arc<Hub>>) -> Result<&'static str, ApiError> {
    match hub.readiness.reason() {
        None => Ok("ready\n"),
        Some(reason) => Err(ApiError::NotReady(reason)),
    }
}
