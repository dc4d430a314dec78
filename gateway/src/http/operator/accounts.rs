//! Accounts, as operators handle them.

use std::{collections::BTreeSet, sync::Arc};

use accounts::{Changed, Password, User};
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use http::StatusCode;
use odds::{Region, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Acting, Operator};
use crate::{
    http::{
        body::Body,
        error::{ApiError, Refusals},
        query,
        subscriptions::RegionKey,
    },
    session::AppState,
};

const DEFAULT: usize = 50;
const MOST: usize = 500;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only names that begin with this.
    begin: Option<String>,
    /// Only names after this one.
    after: Option<String>,
    /// At most this many, up to 500. Default: 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    /// By name.
    accounts: Vec<Account>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Account {
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    disabled: bool,
    is_operator: bool,
    #[schema(value_type = Vec<RegionKey>)]
    regions: BTreeSet<Region>,
    /// How many connections it has at this gateway.
    connections: usize,
}

impl Account {
    fn new(user: User, app: &AppState) -> Self {
        Self {
            connections: app.connections_of(&user.id),
            name: user.name.as_str().to_owned(),
            created_at: user.created_at,
            disabled: user.disabled,
            is_operator: user.is_operator,
            regions: user.regions,
        }
    }
}

/// Lists accounts.
#[utoipa::path(
    get, path = "/api/operator/accounts", operation_id = "list_accounts", tag = "accounts", params(Wanted),
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = Listed, description = "The accounts, by name."), Refusals),
)]
pub(super) async fn list(
    State(app): State<Arc<AppState>>,
    _: Operator,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Listed>, ApiError> {
    let Wanted { begin, after, limit } = query::read(wanted)?;
    let (begin, after) = (begin.unwrap_or_default(), after.unwrap_or_default());
    let limit = query::limit(limit, DEFAULT, MOST)?;
    let users = app.accounts.users_named(&begin, &after, limit).await?;
    Ok(Json(Listed { accounts: users.into_iter().map(|user| Account::new(user, &app)).collect() }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    name: String,
    /// Without one, a password is made.
    password: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct WithPassword {
    name: String,
    /// The password that was made. It is shown only once.
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<String>,
}

/// Creates an account, even if registration is closed.
#[utoipa::path(
    post, path = "/api/operator/accounts", operation_id = "create_account", tag = "accounts", request_body = New,
    security(("session" = []), ("token" = [])),
    responses((status = CREATED, body = WithPassword, description = "It may sign in."), Refusals),
)]
pub(super) async fn create(
    State(app): State<Arc<AppState>>,
    Acting { actor, .. }: Acting,
    Body(New { name, password }): Body<New>,
) -> Result<(StatusCode, Json<WithPassword>), ApiError> {
    let made = password.is_none().then(|| Password::random().reveal().to_owned());
    let password = password.or(made.clone()).unwrap_or_default();
    let user = app.accounts.create(&name, &password, BTreeSet::new(), &actor).await?;
    Ok((StatusCode::CREATED, Json(WithPassword { name: user.name.as_str().to_owned(), password: made })))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// A disabled account has no sessions, and no valid tokens.
    disabled: Option<bool>,
    is_operator: Option<bool>,
}

/// What the path names. The router of all of these paths adds a parameter of its own.
#[derive(Deserialize)]
pub(super) struct Named {
    name: String,
}

async fn named(app: &AppState, name: &str) -> Result<User, ApiError> {
    let found = app.accounts.user_named(name).await?;
    found.ok_or_else(|| ApiError::NotFound("there is no account of this name".into()))
}

/// Disables or enables an account, or changes its role.
#[utoipa::path(
    patch, path = "/api/operator/accounts/{name}", operation_id = "change_account", tag = "accounts",
    params(("name" = String, Path)), request_body = Change, security(("session" = []), ("token" = [])),
    responses((status = OK, body = Account, description = "The account now."), Refusals),
)]
pub(super) async fn change(
    State(app): State<Arc<AppState>>,
    Acting { actor, user: me }: Acting,
    Path(Named { name }): Path<Named>,
    Body(Change { disabled, is_operator }): Body<Change>,
) -> Result<Json<Account>, ApiError> {
    let mut user = named(&app, &name).await?;
    // Whoever does it by mistake could not undo it here.
    if user.id == me.id && (disabled == Some(true) || is_operator == Some(false)) {
        let field = if disabled == Some(true) { "disabled" } else { "is_operator" };
        return Err(ApiError::Invalid { field: field.into(), reason: "this is your own account".into() });
    }
    // Each is announced, even if the next one fails.
    if let Some(disabled) = disabled {
        user = app.accounts.set_disabled(&user, disabled, &actor).await?;
        app.account_changed(Changed::from(&user));
    }
    if let Some(is_operator) = is_operator {
        user = app.accounts.set_operator(&user, is_operator, &actor).await?;
        app.account_changed(Changed::from(&user));
    }
    Ok(Json(Account::new(user, &app)))
}

/// Gives an account a new password, which is made here. All of its sessions end.
#[utoipa::path(
    post, path = "/api/operator/accounts/{name}/password", operation_id = "reset_password", tag = "accounts",
    params(("name" = String, Path)), security(("session" = []), ("token" = [])),
    responses((status = OK, body = WithPassword, description = "The new password."), Refusals),
)]
pub(super) async fn reset_password(
    State(app): State<Arc<AppState>>,
    Acting { actor, .. }: Acting,
    Path(Named { name }): Path<Named>,
) -> Result<Json<WithPassword>, ApiError> {
    let user = named(&app, &name).await?;
    let password = Password::random();
    let changed = app.accounts.reset_password(&user, &password, &actor).await?;
    app.account_changed(Changed::from(&changed));
    let name = changed.name.as_str().to_owned();
    Ok(Json(WithPassword { name, password: Some(password.reveal().to_owned()) }))
}

/// Ends all sessions of an account, and their connections.
#[utoipa::path(
    delete, path = "/api/operator/accounts/{name}/sessions", operation_id = "end_sessions_of", tag = "accounts",
    params(("name" = String, Path)), security(("session" = []), ("token" = [])),
    responses((status = NO_CONTENT, description = "The sessions have ended."), Refusals),
)]
pub(super) async fn end_sessions(
    State(app): State<Arc<AppState>>,
    Acting { actor, .. }: Acting,
    Path(Named { name }): Path<Named>,
) -> Result<StatusCode, ApiError> {
    let user = named(&app, &name).await?;
    app.account_changed(app.accounts.end_sessions_of(&user, &actor).await?);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    /// Null: as each gateway was started.
    #[serde(deserialize_with = "Option::deserialize")]
    is_open: Option<bool>,
}

/// Opens or closes registration at all gateways, whatever they were started with, or leaves it to how they were started.
/// Others notice within three seconds.
#[utoipa::path(
    put, path = "/api/operator/registration", tag = "accounts", request_body = Registration,
    security(("session" = []), ("token" = [])),
    responses((status = NO_CONTENT, description = "It is as wanted."), Refusals),
)]
pub(super) async fn set_registration(
    State(app): State<Arc<AppState>>,
    Acting { actor, .. }: Acting,
    Body(Registration { is_open }): Body<Registration>,
) -> Result<StatusCode, ApiError> {
    app.accounts.set_registration(is_open, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
