//! What the SMS provider tells us: what became of an SMS, and that somebody wants no more.

use std::sync::Arc;

use ::messages::{Channel, PhoneNumber, SMS_STATUS, State as MessageState, StatusReport, id_in_path, is_signed};
use axum::{
    Form, Router,
    extract::{OriginalUri, Path, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, StatusCode, header};
use tracing::{info, warn};

use super::error::ApiError;
use crate::{messages::Messages, session::AppState};

/// The path for SMS that recipients send.
const INCOMING: &str = "/api/hooks/sms/incoming";
const SIGNATURE: &str = "x-twilio-signature";
/// Words by which recipients stop messages, and by which they allow them again.
const STOP: [&str; 7] = ["stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke"];
const START: [&str; 3] = ["start", "yes", "unstop"];

pub(super) fn router() -> Router<Arc<AppState>> {
    Router::new().route(&format!("{SMS_STATUS}/{{id}}"), post(status)).route(INCOMING, post(incoming))
}

type Fields = Vec<(String, String)>;

fn field<'a>(form: &'a Fields, name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// The messages, if the provider has signed the request.
fn signed<'a>(
    app: &'a AppState,
    uri: &http::Uri,
    headers: &HeaderMap,
    form: &Fields,
) -> Result<&'a Messages, ApiError> {
    let messages = app.messages.as_ref().ok_or(ApiError::MessagesDisabled)?;
    let (Some(links), Some(token)) = (&messages.links, &messages.sms_token) else {
        return Err(ApiError::HooksDisabled);
    };
    // As the provider knows it: a proxy in between may have changed the scheme and the host.
    let url = format!("{}{uri}", links.page());
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match is_signed(token, &url, form, signature) {
        true => Ok(messages),
        false => Err(ApiError::WrongSignature),
    }
}

/// What a provider's status means; `None` if it means nothing to us.
fn state_of(status: &str) -> Option<MessageState> {
    match status {
        "accepted" | "scheduled" | "queued" | "sending" | "sent" => Some(MessageState::Sent),
        "delivered" | "read" => Some(MessageState::Delivered),
        "undelivered" | "failed" | "canceled" => Some(MessageState::Failed),
        _ => None,
    }
}

async fn status(
    State(app): State<Arc<AppState>>,
    OriginalUri(uri): OriginalUri,
    Path(id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Result<StatusCode, ApiError> {
    let messages = signed(&app, &uri, &headers, &form)?;
    let id = id_in_path(&id);
    let given = field(&form, "MessageStatus").unwrap_or_default();
    let Some(state) = state_of(given) else { return Ok(StatusCode::NO_CONTENT) };
    let detail = match field(&form, "ErrorCode") {
        Some(code) => format!("{given}: error {code}"),
        None => given.to_owned(),
    };
    let report = StatusReport {
        channel: Channel::Sms,
        id: id.as_ref(),
        provider_id: field(&form, "MessageSid"),
        state,
        detail: Some(&detail),
    };
    if !messages.outbox.report(&report, (app.clock)()).await? {
        warn!(status = given, "the SMS provider reports about an unknown message");
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn incoming(
    State(app): State<Arc<AppState>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Result<Response, ApiError> {
    let messages = signed(&app, &uri, &headers, &form)?;
    let word = field(&form, "Body").unwrap_or_default().trim().to_lowercase();
    if let Some(from) = field(&form, "From").and_then(|from| from.parse::<PhoneNumber>().ok()) {
        let now = (app.clock)();
        if STOP.contains(&word.as_str()) {
            messages.outbox.suppress(Channel::Sms, from.as_str(), Some("the recipient has sent STOP"), now).await?;
            info!("a recipient wants no more SMS");
        } else if START.contains(&word.as_str()) {
            messages.outbox.suppress(Channel::Sms, from.as_str(), None, now).await?;
        }
    }
    // There is nothing to answer.
    Ok(([(header::CONTENT_TYPE, "text/xml")], "<Response/>").into_response())
}
