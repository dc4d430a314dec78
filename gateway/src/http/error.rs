//! Error responses: `{ "error": { "code", "message", "fields"? } }`.

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

/// The `Retry-After` of a response when the store is unavailable or password checks are at their limit.
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
    #[error("this request comes from another site's page")]
    ForbiddenOrigin,
    #[error("a token can't be used for this; sign in with the password")]
    TokenNotEnough,
    #[error(transparent)]
    Accounts(#[from] AccountsError),
}

/// The body of an error response.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    #[schema(inline)]
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
            // Details of the store go to the log only.
            Self::Accounts(AccountsError::Store(error)) => {
                warn!(%error, "a request failed: the store is unavailable");
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

/// The error responses of the API, for its description.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "used for the description only; the responses are made from ApiError")]
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
    /// `bad_body`: the body is too large
    #[response(status = PAYLOAD_TOO_LARGE)]
    TooLarge(#[to_schema] ErrorBody),
    /// `bad_body`: the content type is not JSON
    #[response(status = UNSUPPORTED_MEDIA_TYPE)]
    NotJson(#[to_schema] ErrorBody),
    /// `invalid`: `fields` has the reason for each invalid field
    #[response(status = UNPROCESSABLE_ENTITY)]
    Invalid(#[to_schema] ErrorBody),
    /// `too_many_attempts`, `too_many_requests`: `Retry-After` has the seconds to wait
    #[response(status = TOO_MANY_REQUESTS)]
    TooMany(#[to_schema] ErrorBody),
    /// `store_unavailable`, `busy`, `not_ready`
    #[response(status = SERVICE_UNAVAILABLE)]
    Unavailable(#[to_schema] ErrorBody),
}
