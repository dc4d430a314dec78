//! Disconnects clients.

use std::sync::Arc;

use accounts::Action;
use axum::extract::{Path, State};
use http::StatusCode;
use kafka::ControlMessage;
use serde::Deserialize;

use super::access::Acting;
use crate::{
    http::error::{ApiError, Refusals},
    session::AppState,
};

/// What the path names. The router of all of these paths adds a parameter of its own.
#[derive(Deserialize)]
pub(super) struct Socket {
    id: String,
}

/// Ends a client's connection, at whichever gateway it is. Most clients connect again after some seconds.
#[utoipa::path(
    delete, path = "/api/operator/clients/{id}", tag = "operator",
    params(("id" = String, Path, description = "Its socket.")), security(("session" = []), ("token" = [])),
    responses((status = NO_CONTENT, description = "The gateways were told."), Refusals),
)]
pub(super) async fn disconnect(
    State(app): State<Arc<AppState>>,
    Acting { actor, .. }: Acting,
    Path(Socket { id }): Path<Socket>,
) -> Result<StatusCode, ApiError> {
    let message = ControlMessage::Disconnect { socket: id.clone() };
    let told = async { app.control.send(&message).await.map_err(|error| ApiError::Kafka(error.to_string())) };
    app.accounts.audited(&actor, Action::DisconnectClient, &id, told).await?;
    Ok(StatusCode::NO_CONTENT)
}
