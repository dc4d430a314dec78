//! Registration, sign-in and sign-out, and changes to one's own account.

use std::{collections::BTreeSet, sync::Arc};

use ::messages::AccountChange;
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use http::StatusCode;
use odds::Region;
use serde::{Deserialize, Serialize};
use tower_sessions::Session;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    caller::{By, Caller, Person, begin_session, end_session},
    error::{ApiError, Refusals},
    operator::{View, views_of},
    query,
    subscriptions::RegionKey,
};
use crate::session::AppState;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new()
        .routes(routes!(site))
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(login_with_code))
        .routes(routes!(logout))
        .routes(routes!(me, delete))
        .routes(routes!(views))
        .routes(routes!(password))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// 3 to 64 letters, digits and `._-+@`; upper and lower case are the same.
    #[schema(min_length = 3, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._+@-]*$")]
    name: String,
    /// At least 12 characters, and not easy to guess.
    #[schema(min_length = 12, max_length = 128)]
    password: String,
}

#[derive(Serialize, ToSchema)]
struct Me {
    id: String,
    name: String,
    created_at: String,
    /// The regions that the account subscribes to.
    #[schema(value_type = Vec<RegionKey>)]
    regions: BTreeSet<Region>,
    /// Whether the page has views for it that not all accounts have: see `GET /api/me/views`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    more: bool,
}

impl From<&accounts::User> for Me {
    fn from(user: &accounts::User) -> Self {
        Self {
            id: user.id.as_str().to_owned(),
            name: user.name.as_str().to_owned(),
            created_at: user.created_at.to_string(),
            regions: user.regions.clone(),
            more: !views_of(user).is_empty(),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Site {
    /// `open` if anybody may register, otherwise `closed`.
    registration: &'static str,
    /// The gateway's version; only if the caller is signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    /// The caller's account, or null if the caller isn't signed in.
    me: Option<Me>,
}

/// What a page needs before sign-in: whether registration is open, and who is signed in.
#[utoipa::path(
    get, path = "/api/site", tag = "account",
    responses((status = OK, body = Site, description = "Registration and the signed-in user."), Refusals),
)]
async fn site(State(app): State<Arc<AppState>>, caller: Result<Caller, ApiError>) -> Result<Json<Site>, ApiError> {
    let me = match caller {
        Ok(Caller { user }) => Some((&user).into()),
        Err(ApiError::Accounts(accounts::AccountsError::Unauthenticated)) => None,
        Err(other) => return Err(other),
    };
    let registration = if app.accounts.registration_is_open() { "open" } else { "closed" };
    let version = me.is_some().then_some(env!("CARGO_PKG_VERSION"));
    Ok(Json(Site { registration, version, me }))
}

/// Registers an account and signs in.
#[utoipa::path(
    post, path = "/api/register", tag = "account", request_body = Credentials,
    responses((status = CREATED, body = Me, description = "The account; a cookie has the new session."), Refusals),
)]
async fn register(
    State(app): State<Arc<AppState>>,
    By(by): By,
    session: Session,
    Body(new): Body<Credentials>,
) -> Result<(StatusCode, Json<Me>), ApiError> {
    let user = app.accounts.register(&new.name, &new.password, &by).await?;
    begin_session(&app, &session, &user, &by).await?;
    Ok((StatusCode::CREATED, Json((&user).into())))
}

/// Signs in.
#[utoipa::path(
    post, path = "/api/login", tag = "account", request_body = Credentials,
    responses((status = OK, body = Me, description = "The account; a cookie has the new session."), Refusals),
)]
async fn login(
    State(app): State<Arc<AppState>>,
    By(by): By,
    session: Session,
    Body(given): Body<Credentials>,
) -> Result<Json<Me>, ApiError> {
    let user = app.accounts.sign_in(&given.name, &given.password, &by).await?;
    begin_session(&app, &session, &user, &by).await?;
    Ok(Json((&user).into()))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Code {
    /// The code in the link that the program prints at its start.
    code: String,
}

/// Signs in with the code of the link that the program prints at its start. It works once.
#[utoipa::path(
    post, path = "/api/login/code", tag = "account", request_body = Code,
    responses((status = OK, body = Me, description = "The account; a cookie has the new session."), Refusals),
)]
async fn login_with_code(
    State(app): State<Arc<AppState>>,
    By(by): By,
    session: Session,
    Body(given): Body<Code>,
) -> Result<Json<Me>, ApiError> {
    let user = app.accounts.sign_in_with_code(&given.code, &by).await?;
    begin_session(&app, &session, &user, &by).await?;
    Ok(Json((&user).into()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Logout {
    /// End all sessions of the account, on all devices.
    #[serde(default)]
    everywhere: bool,
}

/// Ends this session, or all sessions of the account, with their connections. Succeeds without a session, too.
#[utoipa::path(
    post, path = "/api/logout", tag = "account", params(Logout),
    responses((status = NO_CONTENT, description = "The session has ended."), Refusals),
)]
async fn logout(
    State(app): State<Arc<AppState>>,
    By(by): By,
    session: Session,
    query: Result<Query<Logout>, QueryRejection>,
    person: Result<Person, ApiError>,
) -> Result<StatusCode, ApiError> {
    let Logout { everywhere } = query::read(query)?;
    match person {
        Ok(Person { user, .. }) if everywhere => {
            app.account_changed(app.accounts.end_sessions(&user.id, &by).await?);
        }
        Ok(_) | Err(ApiError::Accounts(accounts::AccountsError::Unauthenticated)) => {
            end_session(&app, &session, &by).await?;
        }
        Err(other) => return Err(other),
    }
    session.flush().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the caller's account.
#[utoipa::path(
    get, path = "/api/me", tag = "account", security(("session" = []), ("token" = [])),
    responses((status = OK, body = Me, description = "The caller's account."), Refusals),
)]
async fn me(Caller { user }: Caller) -> Json<Me> {
    Json((&user).into())
}

/// Lists the page's views that this account has in addition to those that all have.
#[utoipa::path(
    get, path = "/api/me/views", tag = "account", security(("session" = [])),
    responses((status = OK, body = Vec<View>, description = "The views; most accounts have none."), Refusals),
)]
async fn views(Person { user, .. }: Person) -> Json<Vec<View>> {
    Json(views_of(&user))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Deletion {
    /// The account's current password.
    password: String,
}

/// Deletes the account with its sessions, tokens, subscriptions, rules and messages. Transactions that its programs have
/// produced and that are not sent yet are sent.
#[utoipa::path(
    delete, path = "/api/me", operation_id = "delete_account",
    tag = "account", request_body = Deletion, security(("session" = [])),
    responses((status = NO_CONTENT, description = "The account is deleted, with all of its data."), Refusals),
)]
async fn delete(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, session }: Person,
    Body(given): Body<Deletion>,
) -> Result<StatusCode, ApiError> {
    let messages = async {
        match &app.messages {
            Some(messages) => Ok(messages.outbox.forget_user(user.id.as_str()).await?),
            None => Ok::<_, ApiError>(()),
        }
    };
    app.account_changed(app.accounts.delete(&user, &given.password, &by, messages).await?);
    session.flush().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    current_password: String,
    #[schema(min_length = 12, max_length = 128)]
    new_password: String,
}

/// Changes the password and ends all sessions; the caller gets a new session.
#[utoipa::path(
    put, path = "/api/password", operation_id = "change_password",
    tag = "account", request_body = NewPassword, security(("session" = [])),
    responses((status = NO_CONTENT, description = "The password is changed; a cookie has the new session."), Refusals),
)]
async fn password(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, session }: Person,
    Body(given): Body<NewPassword>,
) -> Result<StatusCode, ApiError> {
    let (current, new) = (&given.current_password, &given.new_password);
    let user = app.accounts.change_password(&user, current, new, &by).await?;
    begin_session(&app, &session, &user, &by).await?;
    app.account_changed((&user).into());
    app.tell_of_change(&user, AccountChange::Password, &by);
    Ok(StatusCode::NO_CONTENT)
}
