//! Lists, creates and revokes tokens, with which programs sign in. Tokens themselves may not do this.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use ::messages::AccountChange;
use accounts::{Scope, Token, TokenId, User};
use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use odds::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    caller::{By, Person},
    error::{ApiError, Refusals},
};
use crate::session::AppState;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

#[derive(Serialize, ToSchema)]
struct ListedToken {
    id: String,
    name: String,
    created_at: String,
    /// When it was last used, to the minute; null if never.
    used_at: Option<String>,
    expires_at: String,
    /// What it may be used for.
    #[schema(value_type = Vec<PublicScope>)]
    scopes: BTreeSet<Scope>,
}

/// What a token may be used for: `stream` for everything that its user sees, `produce` for producing records.
#[derive(ToSchema)]
#[schema(as = TokenScope, rename_all = "lowercase")]
#[expect(dead_code, reason = "it is only described; operators' own scope is not shown to others")]
enum PublicScope {
    Stream,
    Produce,
}

impl ListedToken {
    fn new(token: &Token, expires_at: Timestamp) -> Self {
        Self {
            id: token.id.as_str().to_owned(),
            name: token.name.as_str().to_owned(),
            created_at: token.created_at.to_string(),
            used_at: token.used_at.map(|at| at.to_string()),
            expires_at: expires_at.to_string(),
            scopes: token.scopes.clone(),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Made {
    #[serde(flatten)]
    listed: ListedToken,
    /// The token itself. It is shown only once.
    token: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    /// A name for its owner: 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// The account's password.
    password: String,
    /// The number of days that it is valid. The default, and the most, is what the operator allows.
    #[schema(minimum = 1)]
    expires_in_days: Option<u32>,
    /// What it may be used for. Default: `stream`.
    #[serde(default = "only_stream")]
    #[schema(min_items = 1, value_type = Vec<PublicScope>)]
    scopes: Vec<String>,
}

fn only_stream() -> Vec<String> {
    vec![Scope::Stream.key().to_owned()]
}

/// The scopes with these names, if the user may have them.
fn scopes(names: &[String], user: &User) -> Result<BTreeSet<Scope>, ApiError> {
    let invalid = |reason: &str| ApiError::Invalid { field: "scopes".into(), reason: reason.into() };
    let known = |name: &String| name.parse().ok().filter(|scope| *scope != Scope::Operator || user.is_operator);
    let scopes: Option<BTreeSet<Scope>> = names.iter().map(known).collect();
    let scopes = scopes.ok_or_else(|| invalid("expected stream or produce"))?;
    if scopes.is_empty() { Err(invalid("name at least one")) } else { Ok(scopes) }
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Lists the account's tokens, without their secrets.
#[utoipa::path(
    get, path = "/api/tokens", operation_id = "list_tokens", tag = "tokens", security(("session" = [])),
    responses((status = OK, body = Vec<ListedToken>, description = "The tokens, the oldest first."), Refusals),
)]
async fn list(
    State(app): State<Arc<AppState>>,
    Person { user, .. }: Person,
) -> Result<Json<Vec<ListedToken>>, ApiError> {
    let tokens = app.accounts.tokens_of(&user.id).await?;
    let listed = |token: &Token| {
        let end = app.accounts.end_of(token);
        ListedToken::new(token, end)
    };
    Ok(Json(tokens.iter().map(listed).collect()))
}

/// Creates a token.
#[utoipa::path(
    post, path = "/api/tokens", operation_id = "create_token",
    tag = "tokens", request_body = TokenRequest, security(("session" = [])),
    responses((status = CREATED, body = Made, description = "The token, which is shown only once."), Refusals),
)]
async fn create(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, .. }: Person,
    Body(wanted): Body<TokenRequest>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    if wanted.expires_in_days == Some(0) {
        return Err(ApiError::Invalid { field: "expires_in_days".into(), reason: "must be 1 or more".into() });
    }
    let scopes = scopes(&wanted.scopes, &user)?;
    let lasts = wanted.expires_in_days.map(|days| DAY * days);
    let created = app.accounts.create_token(&user, &wanted.password, &wanted.name, lasts, scopes, &by).await;
    let (token, text) = created?;
    app.tell_of_change(&user, AccountChange::TokenCreated { name: token.name.as_str().to_owned() }, &by);
    let end = app.accounts.end_of(&token);
    Ok((StatusCode::CREATED, Json(Made { listed: ListedToken::new(&token, end), token: text.reveal().to_owned() })))
}

/// Revokes a token and ends its connections.
#[utoipa::path(
    delete, path = "/api/tokens/{id}", operation_id = "revoke_token",
    tag = "tokens", params(("id" = String, Path)), security(("session" = [])),
    responses((status = NO_CONTENT, description = "The token is revoked."), Refusals),
)]
async fn revoke(
    State(app): State<Arc<AppState>>,
    By(by): By,
    Person { user, .. }: Person,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let tokens = app.accounts.tokens_of(&user.id).await?;
    app.account_changed(app.accounts.revoke_token(&user.id, &TokenId::named(&id), &by).await?);
    if let Some(token) = tokens.iter().find(|token| token.id.as_str() == id) {
        app.tell_of_change(&user, AccountChange::TokenRevoked { name: token.name.as_str().to_owned() }, &by);
    }
    Ok(StatusCode::NO_CONTENT)
}
