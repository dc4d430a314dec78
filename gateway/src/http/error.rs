//! What a request is answered with if it can't be done:
//! `{ "error": { "code", "message", "fields"? } }`.

use std::{collections::BTreeMap, time::Duration};

use accounts::{AccountsError, Busy, StoreError};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tracing::warn;
use utoipa::{IntoResponses, ToSchema};

/// When to ask again if the store is away or too many sign in.
const LATER: Duration = Duration::from_secs(5);

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
    #[error("this is asked from another page than ours")]
    ForbiddenOrigin,
    #[error("a token is not enough for this: sign in with the password")]
    TokenNotEnough,
    #[error(transparent)]
    Accounts(#[from] AccountsError),
}

/// Why something can't be done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    #[schema(inline)]
    error: Reason,
}

#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// For programs.
    code: &'static str,
    /// For people.
    message: String,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<BTreeMap<String, String>>,
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        AccountsError::from(error).into()
    }
}

/// tower-sessions says of errors only what they are called.
impl From<tower_sessions::session::Error> for ApiError {
    fn from(error: tower_sessions::session::Error) -> Self {
        StoreError(error.to_string()).into()
    }
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(_) | Self::Accounts(AccountsError::UnknownToken | AccountsError::UnknownSession) => {
                StatusCode::NOT_FOUND
            }
            Self::Invalid { .. } | Self::Accounts(AccountsError::Invalid { .. }) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BadBody { status, .. } => *status,
            Self::NotReady(_) | Self::Accounts(AccountsError::Store(_) | AccountsError::Busy(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::ForbiddenOrigin | Self::TokenNotEnough => StatusCode::FORBIDDEN,
            Self::Accounts(AccountsError::Unauthenticated | AccountsError::WrongCredentials) => {
                StatusCode::UNAUTHORIZED
            }
            Self::Accounts(
                AccountsError::WrongPassword | AccountsError::Disabled | AccountsError::RegistrationClosed,
            ) => StatusCode::FORBIDDEN,
            Self::Accounts(AccountsError::TooManyAttempts { .. } | AccountsError::TooManyReads { .. }) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Accounts(AccountsError::TooManyTokens) => StatusCode::CONFLICT,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) | Self::Accounts(AccountsError::UnknownToken | AccountsError::UnknownSession) => {
                "not_found"
            }
            Self::Invalid { .. } | Self::Accounts(AccountsError::Invalid { .. }) => "invalid",
            Self::BadBody { .. } => "bad_body",
            Self::NotReady(_) => "not_ready",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::TokenNotEnough => "token_not_enough",
            Self::Accounts(AccountsError::Unauthenticated) => "unauthenticated",
            Self::Accounts(AccountsError::WrongCredentials) => "wrong_credentials",
            Self::Accounts(AccountsError::WrongPassword) => "wrong_password",
            Self::Accounts(AccountsError::Disabled) => "disabled",
            Self::Accounts(AccountsError::TooManyAttempts { .. }) => "too_many_attempts",
            Self::Accounts(AccountsError::TooManyReads { .. }) => "too_many_requests",
            Self::Accounts(AccountsError::Busy(_)) => "busy",
            Self::Accounts(AccountsError::RegistrationClosed) => "registration_closed",
            Self::Accounts(AccountsError::TooManyTokens) => "too_many_tokens",
            Self::Accounts(AccountsError::Store(_)) => "store_unavailable",
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Accounts(
                AccountsError::TooManyAttempts { retry_after } | AccountsError::TooManyReads { retry_after },
            ) => Some(*retry_after),
            Self::Accounts(AccountsError::Store(_) | AccountsError::Busy(Busy)) => Some(LATER),
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let message = match &self {
            // What exactly is wrong inside is for the log.
            Self::Accounts(AccountsError::Store(error)) => {
                warn!(%error, "a request can't be answered");
                "accounts can't be read just now".to_owned()
            }
            other => other.to_string(),
        };
        let fields = self.field().map(|field| BTreeMap::from([field]));
        let body = ErrorBody { error: Reason { code: self.code(), message, fields } };
        let mut response = (self.status(), Json(body)).into_response();
        if let Some(wait) = self.retry_after() {
            let seconds = wait.as_millis().div_ceil(1_000).max(1) as u64;
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What any request may be answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made: ApiError is what is answered")]
pub(crate) enum Refusals {
    /// The query or a parameter can't be read.
    #[response(status = BAD_REQUEST)]
    BadRequest(#[to_schema] ErrorBody),
    /// `unauthenticated`, `wrong_credentials`
    #[response(status = UNAUTHORIZED)]
    Unauthorized(#[to_schema] ErrorBody),
    /// `forbidden_origin`, `token_not_enough`, `wrong_password`, `disabled`, `registration_closed`
    #[response(status = FORBIDDEN)]
    Forbidden(#[to_schema] ErrorBody),
    /// `not_found`
    #[response(status = NOT_FOUND)]
    NotFound(#[to_schema] ErrorBody),
    /// `too_many_tokens`
    #[response(status = CONFLICT)]
    Conflict(#[to_schema] ErrorBody),
    /// `bad_body`: it is too large
    #[response(status = PAYLOAD_TOO_LARGE)]
    TooLarge(#[to_schema] ErrorBody),
    /// `bad_body`: it is not said to be JSON
    #[response(status = UNSUPPORTED_MEDIA_TYPE)]
    NotJson(#[to_schema] ErrorBody),
    /// `invalid`: `fields` says what is wrong with which
    #[response(status = UNPROCESSABLE_ENTITY)]
    Invalid(#[to_schema] ErrorBody),
    /// `too_many_attempts`, `too_many_requests`: `Retry-After` says when
    #[response(status = TOO_MANY_REQUESTS)]
    TooMany(#[to_schema] ErrorBody),
    /// `store_unavailable`, `busy`, `not_ready`
    #[response(status = SERVICE_UNAVAILABLE)]
    Unavailable(#[to_schema] ErrorBody),
}
