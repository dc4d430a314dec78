//! Which regions a user wants, on every screen and in every program without regions of its own.

use std::sync::Arc;

use accounts::Changed;
use axum::{Json, extract::State};
use odds::{Subscriptions, read_regions};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    caller::Caller,
    error::{ApiError, Refusals},
};
use crate::session::AppState;

pub(super) fn router() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::new().routes(routes!(subscriptions, subscribe))
}

/// As the event `subscriptions` tells them.
#[derive(ToSchema)]
#[schema(as = Subscriptions)]
#[expect(dead_code, reason = "only described: `odds::Subscriptions` is what is told")]
struct Told {
    v: u32,
    /// What is of a lower one is older.
    revision: u64,
    regions: Vec<RegionKey>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// None is allowed; one that is named twice counts once.
    #[schema(value_type = Vec<RegionKey>)]
    regions: Value,
}

/// What regions are called.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described: `odds::Region` is what is read")]
pub(super) enum RegionKey {
    Us,
    Uk,
    Eu,
    Au,
}

/// The regions that are subscribed.
#[utoipa::path(
    get, path = "/api/subscriptions", tag = "subscriptions", security(("session" = []), ("token" = [])),
    responses((status = OK, body = Told, description = "What is subscribed to."), Refusals),
)]
async fn subscriptions(Caller { user }: Caller) -> Json<Subscriptions> {
    Json(Subscriptions::new(Some(user.revision), &user.regions))
}

/// Subscribes these regions and no others. All connections of the user follow at once.
#[utoipa::path(
    put, path = "/api/subscriptions", tag = "subscriptions", request_body = Wanted,
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = Told, description = "What is subscribed to now."), Refusals),
)]
async fn subscribe(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Subscriptions>, ApiError> {
    let invalid = |reason| ApiError::Invalid { field: "regions".into(), reason };
    let regions = read_regions(&wanted.regions).map_err(invalid)?;
    let user = app.accounts.set_regions(&user.id, &regions).await?;
    app.account_changed(Changed::from(&user));
    Ok(Json(Subscriptions::new(Some(user.revision), &user.regions)))
}
