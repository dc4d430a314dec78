//! Lists and ends an account's sessions.

use std::sync::Arc;

use accounts::{SessionKey, StoredSession};
use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::{By, Person},
    error::{ApiError, Refusals},
};
use crate::session::AppState;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(end))
}

#[derive(Serialize, ToSchema)]
struct ListedSession {
    id: String,
    /// Whether this request belongs to it.
    current: bool,
    began_at: String,
    /// When it ends if it isn't used until then.
    ends_at: String,
    /// The address that the user signed in from.
    address: String,
    /// The user agent that signed in.
    agent: String,
}

impl ListedSession {
    fn new(session: StoredSession, current: Option<&SessionKey>) -> Self {
        Self {
            current: current == Some(&session.key),
            id: session.key.as_str().to_owned(),
            began_at: session.data.since.to_string(),
            ends_at: session.data.until.to_string(),
            address: session.data.address,
            agent: session.data.agent,
        }
    }
}

/// Lists the account's sessions, the oldest first.
#[utoipa::path(
    get, path = "/api/sessions", operation_id = "list_sessions", tag = "account", security(("session" = [])),
    responses((status = OK, body = Vec<ListedSession>, description = "The sessions, the oldest first."), Refusals),
)]
async fn list(
    State(app): State<Arc<AppState>>,
    Person { user, session }: Person,
) -> Result<Json<Vec<ListedSession>>, ApiError> {
    let current = session.id().map(SessionKey::of);
    let sessions = app.accounts.sessions_of(&user).await?;
    Ok(Json(sessions.into_iter().map(|session| ListedSession::new(session, current.as_ref())).collect()))
}

/// Ends a session and its connections.
#[utoipa::path(
    delete, path = "/api/sessions/{id}", operation_id = "end_session",
    tag = "account", params(("id" = String, Path)), security(("session" = [])),
    responses((status = NO_CONTENT, description = "The session and its sockets have ended."), Refusals),
)]
async fn end(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, .. }: Person,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    app.account_changed(app.accounts.end_session_of(&user, &id, &by).await?);
    Ok(StatusCode::NO_CONTENT)
}
