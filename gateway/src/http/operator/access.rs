//! Who is an operator. To everyone else, the paths of operators don't exist.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use accounts::{AccountsError, Actor, Scope, SecretHash, StoreError, User};
use axum::{extract::FromRequestParts, http::request::Parts};
use http::header;
use odds::Timestamp;

use crate::{
    http::{
        caller::{By, Person, by_token},
        error::ApiError,
        no_such_path,
    },
    session::AppState,
};

/// While accounts can't be read, a token that was an operator's within this time still is: that is when an operator asks.
const REMEMBERED_FOR: Duration = Duration::from_secs(3_600);
const MOST_REMEMBERED: usize = 100;

/// An operator, with a session or with a token for that.
pub(super) struct Operator;

/// An operator who does something.
pub(super) struct Acting {
    pub(super) actor: Actor,
    pub(super) user: User,
}

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

impl FromRequestParts<Arc<AppState>> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        match find(app, parts).await {
            Ok(Some(_)) | Err(IsKnown) => Ok(Self),
            Ok(None) => Err(no_such_path()),
        }
    }
}

impl FromRequestParts<Arc<AppState>> for Acting {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        let Ok(By(by)) = By::from_request_parts(parts, app).await;
        match find(app, parts).await {
            Ok(Some(user)) => Ok(Self { actor: Actor::user(&user, &by), user }),
            Ok(None) => Err(no_such_path()),
            // What can't be noted is not done.
            Err(IsKnown) => Err(StoreError("an operator can't act without it".into()).into()),
        }
    }
}

/// Accounts can't be read, but the token was an operator's not long ago.
struct IsKnown;

/// The operator who asks, if it is one.
async fn find(app: &Arc<AppState>, parts: &mut Parts) -> Result<Option<User>, IsKnown> {
    let Some(token) = parts.headers.get(header::AUTHORIZATION) else {
        let person = Person::from_request_parts(parts, app).await.ok();
        return Ok(person.map(|person| person.user).filter(|user| user.is_operator));
    };
    let (token, now) = (SecretHash::of(token.as_bytes()), (app.clock)());
    match by_token(app, parts, Scope::Operator).await {
        Err(ApiError::Accounts(AccountsError::Store(_))) => {
            if app.known_operators.knows(&token, now) {
                Err(IsKnown)
            } else {
                Ok(None)
            }
        }
        found => {
            let operator = found.ok().flatten().filter(|user| user.is_operator);
            app.known_operators.note(token, operator.is_some(), now);
            Ok(operator)
        }
    }
}
