//! Authenticates requests: people by their session's cookie, programs by a token.

use std::{convert::Infallible, sync::Arc};

use accounts::{AccountsError, Identity, Requester, SESSION_DATA, Scope, SessionData, SessionKey, User};
use axum::{extract::FromRequestParts, http::request::Parts};
use http::{Method, header};
use odds::Timestamp;
use tower_sessions::{Expiry, Session};
use tracing::warn;

use super::error::ApiError;
use crate::{session::AppState, transport::Peer};

const UNAUTHENTICATED: ApiError = ApiError::Accounts(AccountsError::Unauthenticated);

/// A user who is authenticated by a session or a token.
pub(super) struct Caller {
    pub(super) user: User,
}

/// A user with a session, who may do more than a token may.
pub(super) struct Person {
    pub(super) user: User,
    pub(super) session: Session,
}

/// A user whose program produces records, with a token for that.
pub(super) struct Program {
    pub(super) user: User,
}

/// The requester's address and user agent, for limits and the audit log.
pub(super) struct By(pub(super) Requester);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = Peer::of(&parts.extensions);
        let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        Ok(Self(Requester { address: peer.address, agent: agent.to_owned() }))
    }
}

impl FromRequestParts<Arc<AppState>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        if let Some(user) = by_token(app, parts, Scope::Stream).await? {
            may_read(app, parts, &user)?;
            return Ok(Self { user });
        }
        let Person { user, .. } = Person::from_request_parts(parts, app).await?;
        Ok(Self { user })
    }
}

impl FromRequestParts<Arc<AppState>> for Program {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        by_token(app, parts, Scope::Produce).await?.map(|user| Self { user }).ok_or(UNAUTHENTICATED)
    }
}

/// Returns the user whose token the request has, if it has one.
pub(super) async fn by_token(app: &AppState, parts: &Parts, scope: Scope) -> Result<Option<User>, ApiError> {
    let Some(given) = parts.headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = given.to_str().ok().and_then(|given| given.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
    let peer = Peer::of(&parts.extensions);
    let (_, user) = app.accounts.by_token(token.unwrap_or_default(), scope, peer.address).await?;
    Ok(Some(user))
}

impl FromRequestParts<Arc<AppState>> for Person {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<AppState>) -> Result<Self, ApiError> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return Err(ApiError::TokenNotEnough);
        }
        let session = parts.extensions.get::<Session>().expect("the session layer adds it").clone();
        let (Identity::Session { .. }, user) = known(app, &session).await? else { return Err(UNAUTHENTICATED) };
        may_read(app, parts, &user)?;
        Ok(Self { user, session })
    }
}

/// Checks the user's limit for reads. Changes have their own limits in `accounts`.
fn may_read(app: &AppState, parts: &Parts, user: &User) -> Result<(), ApiError> {
    match parts.method {
        Method::GET | Method::HEAD => Ok(app.accounts.may_read(&user.id)?),
        _ => Ok(()),
    }
}

/// Returns the session's user, and extends the session. Fails if the session is unknown or has ended.
async fn known(app: &AppState, session: &Session) -> Result<(Identity, User), ApiError> {
    let data: Option<SessionData> = session.get(SESSION_DATA).await?;
    let (Some(data), Some(id)) = (data, session.id()) else { return Err(UNAUTHENTICATED) };
    let (identity, user) = app.accounts.by_session_data(&SessionKey::of(id), &data).await?;
    if let Some(data) = app.accounts.extend_session(&data)
        && let Err(error) = write(session, &data).await
    {
        // The session keeps its previous end.
        warn!(%error, "can't extend a session");
    }
    Ok((identity, user))
}

/// Begins a session with a new id, since the old id may have been planted by an attacker.
pub(super) async fn begin_session(
    app: &Arc<AppState>,
    session: &Session,
    user: &User,
    by: &Requester,
) -> Result<(), ApiError> {
    end_session(app, session, by).await?;
    session.cycle_id().await?;
    write(session, &app.accounts.begin_session(user, by)).await
}

async fn write(session: &Session, data: &SessionData) -> Result<(), ApiError> {
    session.insert(SESSION_DATA, data).await?;
    let seconds = data.until.millis_since(Timestamp::from_millis(0)) / 1_000;
    let end = time::OffsetDateTime::from_unix_timestamp(seconds).expect("sessions end within years");
    session.set_expiry(Some(Expiry::AtDateTime(end)));
    Ok(session.save().await?)
}

/// Ends the session, and its sockets at all gateways.
pub(super) async fn end_session(app: &Arc<AppState>, session: &Session, by: &Requester) -> Result<(), ApiError> {
    if let Some(id) = session.id()
        && let Some(changed) = app.accounts.end_session(&SessionKey::of(id), by).await?
    {
        app.account_changed(changed);
    }
    Ok(())
}
