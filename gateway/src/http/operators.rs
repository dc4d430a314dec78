//! Who is an operator. To everyone else, the paths of operators don't exist.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use accounts::{AccountsError, Scope, SecretHash};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};
use http::header;
use odds::Timestamp;

use super::{
    caller::{Person, by_token},
    error::ApiError,
    no_such_path,
};
use crate::session::AppState;

/// While accounts can't be read, a token that was an operator's within this time still is: that is when an operator asks.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);
const MOST_REMEMBERED: usize = 100;

/// An operator, with a session or with a token for that.
pub(super) struct Operator;

/// The tokens that were an operator's not long ago, and when they were.
#[derive(Debug, Default)]
pub(crate) struct KnownOperators(Mutex<HashMap<SecretHash, Timestamp>>);

impl KnownOperators {
    fn tokens(&self) -> MutexGuard<'_, HashMap<SecretHash, Timestamp>> {
        self.0.lock().expect("nobody panics while holding it")
    }

    fn note(&self, token: SecretHash, is_operator: bool, now: Timestamp) {
        let mut tokens = self.tokens();
        tokens.retain(|_, at| is_recent(*at, now));
        if !is_operator {
            tokens.remove(&token);
        } else if tokens.len() < MOST_REMEMBERED || tokens.contains_key(&token) {
            tokens.insert(token, now);
        }
    }

    fn knows(&self, token: &SecretHash, now: Timestamp) -> bool {
        self.tokens().get(token).is_some_and(|at| is_recent(*at, now))
    }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    now.millis_since(at) < REMEMBERED_FOR.as_millis() as i64
}

impl<S> FromRequestParts<S> for Operator
where
    S: Send + Sync,
    Arc<AppState>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let app = Arc::<AppState>::from_ref(state);
        let is_operator = match parts.headers.get(header::AUTHORIZATION) {
            Some(token) => {
                let (token, now) = (SecretHash::of(token.as_bytes()), (app.clock)());
                match by_token(&app, parts, Scope::Operator).await {
                    Err(ApiError::Accounts(AccountsError::Store(_))) => app.known_operators.knows(&token, now),
                    found => {
                        let is_operator = found.is_ok_and(|user| user.is_some_and(|user| user.is_operator));
                        app.known_operators.note(token, is_operator, now);
                        is_operator
                    }
                }
            }
            None => Person::from_request_parts(parts, state).await.is_ok_and(|person| person.user.is_operator),
        };
        is_operator.then_some(Self).ok_or_else(no_such_path)
    }
}
