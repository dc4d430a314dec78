//! Error responses: `{ "error": { "code", "message", "fields"? } }`.

use std::{collections::BTreeMap, time::Duration};

use accounts::{AccountsError, Busy, StoreError};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use history::HistoryError;
use http::{HeaderValue, StatusCode, header};
use odds::{Timestamp, UnknownRegion};
use serde::Serialize;
use tracing::warn;
use utoipa::{IntoResponses, ToSchema};

use crate::turns::NoTurn;

/// The `Retry-After` of a response when the store is unavailable or password checks are at their limit.
const LATER: Duration = Duration::from_secs(5);
/// The `Retry-After` of a response to a request that is being carried out.
const SOON: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{0}")]
    NotFound(String),
    #[error("{field}: {reason}")]
    Invalid { field: String, reason: String },
    #[error("{message}")]
    BadBody { status: StatusCode, message: String },
    #[error("{0}")]
    NotReady(String),
    #[error("this request comes from another site's page")]
    ForbiddenOrigin,
    #[error("a token can't be used for this; sign in with the password")]
    TokenNotEnough,
    #[error("this gateway has no history: it was started without --history")]
    HistoryDisabled,
    #[error("this gateway has no messages: it was started without --outbox")]
    MessagesDisabled,
    #[error("this gateway does not know its address: it was started without --public-origin")]
    NoPublicOrigin,
    #[error("this gateway takes no reports: it was started without --sms-token or --public-origin")]
    HooksDisabled,
    #[error("the signature is wrong")]
    WrongSignature,
    #[error(transparent)]
    Link(#[from] messages::InvalidLink),
    #[error("a topic of this name can't be produced to")]
    UnknownTopic,
    #[error("the topic has {count} partitions, so from 0 to {}", .count - 1)]
    PartitionOutOfRange { count: usize },
    #[error("this request is being carried out: repeat it in a moment")]
    RequestRunning,
    #[error("another request had this request_id")]
    RequestIdReused,
    #[error("whether the record was written is unknown: repeat the request, with the same request_id")]
    ResultUnknown(String),
    #[error("Kafka: {0}")]
    Kafka(String),
    #[error(transparent)]
    Messages(#[from] messages::StoreError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error(transparent)]
    NoTurn(#[from] NoTurn),
    #[error(transparent)]
    Accounts(#[from] AccountsError),
}

/// The body of an error response.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: Reason,
}

#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// A stable code for programs.
    code: &'static str,
    /// An explanation for people.
    message: String,
    /// The reason for each invalid field.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<BTreeMap<String, String>>,
    /// With `not_recorded`: the time around the instant of which nothing is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    gap: Option<Gap>,
}

/// A time of which nothing is recorded. An end that is missing is the beginning or the end of all that is recorded.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct Gap {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

impl From<UnknownRegion> for ApiError {
    fn from(error: UnknownRegion) -> Self {
        Self::NotFound(error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        AccountsError::from(error).into()
    }
}

/// tower-sessions reports the store's errors as text only.
impl From<tower_sessions::session::Error> for ApiError {
    fn from(error: tower_sessions::session::Error) -> Self {
        StoreError(error.to_string()).into()
    }
}

impl ApiError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_)
            | Self::Accounts(
                AccountsError::UnknownToken | AccountsError::UnknownSession | AccountsError::UnknownRule,
            ) => StatusCode::NOT_FOUND,
            Self::Invalid { .. }
            | Self::History(HistoryError::TooMuch)
            | Self::Accounts(AccountsError::Invalid { .. }) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::UnknownTopic => StatusCode::NOT_FOUND,
            Self::PartitionOutOfRange { .. } => StatusCode::BAD_REQUEST,
            Self::RequestRunning | Self::RequestIdReused => StatusCode::CONFLICT,
            Self::ResultUnknown(_) | Self::Messages(_) | Self::Kafka(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadBody { status, .. } => *status,
            Self::NotReady(_)
            | Self::NoTurn(NoTurn::InTotal(_))
            | Self::History(HistoryError::Store(_))
            | Self::Accounts(AccountsError::Store(_) | AccountsError::Busy(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::ForbiddenOrigin
            | Self::TokenNotEnough
            | Self::WrongSignature
            | Self::Link(_)
            | Self::Accounts(AccountsError::MissingScope(_)) => StatusCode::FORBIDDEN,
            Self::Accounts(
                AccountsError::Unauthenticated | AccountsError::WrongCredentials | AccountsError::WrongCode,
            ) => StatusCode::UNAUTHORIZED,
            Self::Accounts(
                AccountsError::WrongPassword
                | AccountsError::WrongDigits
                | AccountsError::Disabled
                | AccountsError::RegistrationClosed,
            ) => StatusCode::FORBIDDEN,
            Self::NoTurn(NoTurn::OfUser(_))
            | Self::Accounts(AccountsError::TooManyAttempts { .. } | AccountsError::TooManyReads { .. }) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Accounts(
                AccountsError::TooManyTokens
                | AccountsError::TooManyRules { .. }
                | AccountsError::TooManyRulesInTotal
                | AccountsError::NoAddress
                | AccountsError::NotConfirmed
                | AccountsError::Confirmed
                | AccountsError::CodeExpired
                | AccountsError::StaleLink,
            )
            | Self::History(HistoryError::NotRecorded { .. }) => StatusCode::CONFLICT,
            Self::History(HistoryError::Damaged(_) | HistoryError::DamagedRow) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::HistoryDisabled | Self::MessagesDisabled | Self::NoPublicOrigin | Self::HooksDisabled => {
                StatusCode::NOT_IMPLEMENTED
            }
        }
    }

    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_)
            | Self::Accounts(
                AccountsError::UnknownToken | AccountsError::UnknownSession | AccountsError::UnknownRule,
            ) => "not_found",
            Self::Invalid { .. } | Self::Accounts(AccountsError::Invalid { .. }) => "invalid",
            Self::BadBody { .. } => "bad_body",
            Self::NotReady(_) => "not_ready",
            Self::HistoryDisabled => "history_disabled",
            Self::MessagesDisabled => "messages_disabled",
            Self::NoPublicOrigin => "no_public_origin",
            Self::HooksDisabled => "hooks_disabled",
            Self::WrongSignature => "wrong_signature",
            Self::Link(_) => "wrong_link",
            Self::UnknownTopic => "unknown_topic",
            Self::PartitionOutOfRange { .. } => "partition_out_of_range",
            Self::RequestRunning => "request_running",
            Self::RequestIdReused => "request_id_reused",
            Self::ResultUnknown(_) => "result_unknown",
            Self::Kafka(_) => "kafka_unavailable",
            Self::Messages(_) => "messages_unavailable",
            Self::Accounts(AccountsError::MissingScope(_)) => "missing_scope",
            Self::History(HistoryError::NotRecorded { .. }) => "not_recorded",
            Self::History(HistoryError::Damaged(_) | HistoryError::DamagedRow) => "history_damaged",
            Self::History(HistoryError::TooMuch) => "too_much",
            Self::History(HistoryError::Store(_)) => "history_unavailable",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::TokenNotEnough => "token_not_enough",
            Self::Accounts(AccountsError::Unauthenticated) => "unauthenticated",
            Self::Accounts(AccountsError::WrongCredentials) => "wrong_credentials",
            Self::Accounts(AccountsError::WrongPassword) => "wrong_password",
            Self::Accounts(AccountsError::WrongCode | AccountsError::WrongDigits) => "wrong_code",
            Self::Accounts(AccountsError::NoAddress) => "no_address",
            Self::Accounts(AccountsError::NotConfirmed) => "not_confirmed",
            Self::Accounts(AccountsError::Confirmed) => "confirmed",
            Self::Accounts(AccountsError::CodeExpired) => "code_expired",
            Self::Accounts(AccountsError::StaleLink) => "stale_link",
            Self::Accounts(AccountsError::Disabled) => "disabled",
            Self::Accounts(AccountsError::TooManyAttempts { .. }) => "too_many_attempts",
            Self::NoTurn(NoTurn::OfUser(_)) | Self::Accounts(AccountsError::TooManyReads { .. }) => "too_many_requests",
            Self::NoTurn(NoTurn::InTotal(_)) | Self::Accounts(AccountsError::Busy(_)) => "busy",
            Self::Accounts(AccountsError::RegistrationClosed) => "registration_closed",
            Self::Accounts(AccountsError::TooManyTokens) => "too_many_tokens",
            Self::Accounts(AccountsError::TooManyRules { .. } | AccountsError::TooManyRulesInTotal) => "too_many_rules",
            Self::Accounts(AccountsError::Store(_)) => "store_unavailable",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Accounts(
                AccountsError::TooManyAttempts { retry_after } | AccountsError::TooManyReads { retry_after },
            ) => Some(*retry_after),
            Self::RequestRunning => Some(SOON),
            Self::NoTurn(_)
            | Self::ResultUnknown(_)
            | Self::Messages(_)
            | Self::History(HistoryError::Store(_))
            | Self::Accounts(AccountsError::Store(_) | AccountsError::Busy(Busy)) => Some(LATER),
            _ => None,
        }
    }

    fn gap(&self) -> Option<Gap> {
        match *self {
            Self::History(HistoryError::NotRecorded { from, until }) => Some(Gap { from, until }),
            _ => None,
        }
    }

    fn field(&self) -> Option<(String, String)> {
        match self {
            Self::Invalid { field, reason } => Some((field.clone(), reason.clone())),
            Self::Accounts(AccountsError::Invalid { field, reason }) => Some(((*field).to_owned(), reason.clone())),
            _ => None,
        }
    }
}

impl ApiError {
    /// The explanation for people. Details of the stores are not for everybody.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Accounts(AccountsError::Store(_)) => "accounts can't be read just now".to_owned(),
            Self::History(HistoryError::Store(_)) => "the history can't be read just now".to_owned(),
            Self::Messages(_) => "messages can't be read just now".to_owned(),
            other => other.to_string(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match &self {
            Self::Accounts(AccountsError::Store(error)) => warn!(%error, "a request failed: the store is unavailable"),
            Self::History(HistoryError::Store(error)) => warn!(%error, "a request failed: the history is unavailable"),
            Self::Messages(error) => warn!(%error, "a request failed: the outbox is unavailable"),
            Self::ResultUnknown(error) => warn!(%error, "a record may not have been written"),
            _ => {}
        }
        let message = self.message();
        let fields = self.field().map(|field| BTreeMap::from([field]));
        let body = ErrorBody { error: Reason { code: self.code(), message, fields, gap: self.gap() } };
        let mut response = (self.status(), Json(body)).into_response();
        if let Some(wait) = self.retry_after() {
            let seconds = wait.as_millis().div_ceil(1_000).max(1) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The error responses of the API, for its description.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "used for the description only; the responses are made from ApiError")]
pub(crate) enum Refusals {
    /// The query or a parameter can't be read; `partition_out_of_range`.
    #[response(status = BAD_REQUEST)]
    BadRequest(ErrorBody),
    /// `unauthenticated`, `wrong_credentials`
    #[response(status = UNAUTHORIZED)]
    Unauthorized(ErrorBody),
    /// `forbidden_origin`, `token_not_enough`, `missing_scope`, `wrong_password`, `wrong_code`, `disabled`, `registration_closed`
    #[response(status = FORBIDDEN)]
    Forbidden(ErrorBody),
    /// `not_found`, `unknown_topic`
    #[response(status = NOT_FOUND)]
    NotFound(ErrorBody),
    /// `too_many_tokens`, `too_many_rules`, `request_running`, `request_id_reused`, `no_address`, `not_confirmed`, `confirmed`, `code_expired`; `not_recorded`: `gap` has the time of which nothing is recorded
    #[response(status = CONFLICT)]
    Conflict(ErrorBody),
    /// `bad_body`: the body is too large
    #[response(status = PAYLOAD_TOO_LARGE)]
    TooLarge(ErrorBody),
    /// `bad_body`: the content type is not JSON
    #[response(status = UNSUPPORTED_MEDIA_TYPE)]
    NotJson(ErrorBody),
    /// `invalid`: `fields` has the reason for each invalid field; `too_much`: the answer would be too large
    #[response(status = UNPROCESSABLE_ENTITY)]
    Invalid(ErrorBody),
    /// `too_many_attempts`, `too_many_requests`: `Retry-After` has the seconds to wait
    #[response(status = TOO_MANY_REQUESTS)]
    TooMany(ErrorBody),
    /// `store_unavailable`, `history_unavailable`, `messages_unavailable`, `result_unknown`, `busy`, `not_ready`
    #[response(status = SERVICE_UNAVAILABLE)]
    Unavailable(ErrorBody),
}

/// The error responses that only requests about messages have.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "used for the description only; the responses are made from ApiError")]
pub(crate) enum MessageRefusals {
    /// `messages_disabled`, `no_public_origin`
    #[response(status = NOT_IMPLEMENTED)]
    Disabled(ErrorBody),
}

/// The error responses that only requests of the history have.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "used for the description only; the responses are made from ApiError")]
pub(crate) enum HistoryRefusals {
    /// `history_damaged`: what was recorded is not what it was
    #[response(status = INTERNAL_SERVER_ERROR)]
    Damaged(ErrorBody),
    /// `history_disabled`
    #[response(status = NOT_IMPLEMENTED)]
    Disabled(ErrorBody),
}
