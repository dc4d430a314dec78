//! The regions that a user subscribes to. They apply to every connection that did not choose its own regions.

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

/// The user's regions, in the format of the event `subscriptions`.
#[derive(ToSchema)]
#[schema(as = Subscriptions)]
#[expect(dead_code, reason = "the schema of `odds::Subscriptions`")]
struct SubscriptionsSchema {
    v: u32,
    /// Grows with every change, so that a client can ignore older answers.
    revision: u64,
    regions: Vec<RegionKey>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegionsRequest {
    /// May be empty; duplicates are ignored.
    #[schema(value_type = Vec<RegionKey>)]
    regions: Value,
}

/// The key of a region.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the schema of `odds::Region`")]
pub(super) enum RegionKey {
    Us,
    Uk,
    Eu,
    Au,
}

/// Returns the user's regions.
#[utoipa::path(
    get, path = "/api/subscriptions", tag = "subscriptions", security(("session" = []), ("token" = [])),
    responses((status = OK, body = SubscriptionsSchema, description = "The user's regions."), Refusals),
)]
async fn subscriptions(Caller { user }: Caller) -> Json<Subscriptions> {
    Json(Subscriptions::new(Some(user.revision), &user.regions))
}

/// Replaces the user's regions. All connections of the user follow at once.
#[utoipa::path(
    put, path = "/api/subscriptions", tag = "subscriptions", request_body = RegionsRequest,
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = SubscriptionsSchema, description = "The user's new regions."), Refusals),
)]
async fn subscribe(
    State(app): State<Arc<AppState>>,
    Caller { user }: Caller,
    Body(wanted): Body<RegionsRequest>,
) -> Result<Json<Subscriptions>, ApiError> {
    let invalid = |reason| ApiError::Invalid { field: "regions".into(), reason };
    let regions = read_regions(&wanted.regions).map_err(invalid)?;
    let user = app.accounts.set_regions(&user.id, &regions).await?;
    app.account_changed(Changed::from(&user));
    Ok(Json(Subscriptions::new(Some(user.revision), &user.regions)))
}
