//! Messages: what was sent to people, and what became of it.

use std::sync::Arc;

use ::messages::{Content, StoredMessage};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use odds::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Caller,
    error::{ApiError, MessageRefusals, Refusals},
    query,
};
use crate::session::AppState;

/// How many messages an answer has, unless the request asks for fewer.
const MOST: usize = 100;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A message on one channel.
#[derive(Serialize, ToSchema)]
struct ListedMessage {
    /// The same on each of its channels.
    id: String,
    /// `email` or `sms`.
    channel: &'static str,
    /// The e-mail address or the phone number.
    recipient: String,
    /// `waiting`, `sending`, `sent` (accepted by the provider), `delivered` (as the provider reports), `failed` (it
    /// can't be sent), `expired` (its deadline passed), `skipped` (it was not to be sent) or `unknown` (the provider's
    /// answer was lost, and it must not be sent twice).
    state: &'static str,
    /// `transaction`, `alert`, `confirm_email`, `confirm_phone`, `forgot_password`, `account_changed` or `test`.
    kind: &'static str,
    /// What it is about: the id of the transaction, or the title of the alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    about: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it got its state.
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    /// How many attempts have failed.
    failed_attempts: u32,
    /// What the provider said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

impl ListedMessage {
    fn new(stored: StoredMessage) -> Self {
        let kind = stored.message.content.kind();
        let about = match stored.message.content {
            Content::Transaction { transaction_id, .. } => Some(transaction_id),
            Content::Alert { title, .. } => Some(title),
            _ => None,
        };
        Self {
            id: stored.message.id.as_str().to_owned(),
            channel: stored.message.channel.key(),
            recipient: stored.message.recipient,
            state: stored.state.key(),
            kind,
            about,
            created_at: stored.message.created_at,
            changed_at: stored.changed_at,
            failed_attempts: stored.attempts,
            detail: stored.detail,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct MessagePage {
    /// The newest first.
    messages: Vec<ListedMessage>,
    /// Pass it as `before` to get older ones; missing if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    before: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    before: Option<i64>,
    limit: Option<usize>,
}

/// Returns your messages: those to you, and those that your programs have produced.
#[utoipa::path(
    get, path = "/api/messages", operation_id = "list_messages", tag = "messages",
    params(
        ("before" = Option<String>, Query, description = "`before` of the answer with newer messages."),
        ("limit" = Option<u32>, Query, description = "1 to 100 (100)"),
    ),
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = MessagePage, description = "The messages."), Refusals, MessageRefusals),
)]
async fn list(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<MessagePage>, ApiError> {
    let Wanted { before, limit } = query::read(wanted)?;
    let limit = query::limit(limit, MOST, MOST)?;
    let messages = app.messages.as_ref().ok_or(ApiError::MessagesDisabled)?;
    let page = messages.outbox.messages_of(user.id.as_str(), before, limit).await?;
    let before = page.last().filter(|_| page.len() == limit).map(|last| last.order.to_string());
    Ok(Json(MessagePage { messages: page.into_iter().map(ListedMessage::new).collect(), before }))
}
