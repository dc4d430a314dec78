//! Which regions a user wants, on every screen and in every program without regions of its own.

use std::sync::Arc;

use accounts::Changed;
use axum::{Json, extract::State};
use odds::{Region, read_regions};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    caller::Caller,
    error::{ApiError, Refusals},
};
use crate::sockets::Hub;

pub(super) fn router() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::new().routes(routes!(subscriptions, subscribe))
}

#[derive(Serialize, ToSchema)]
struct Subscriptions {
    #[schema(value_type = Vec<RegionKey>)]
    regions: Vec<&'static str>,
}

impl Subscriptions {
    fn of<'a>(regions: impl IntoIterator<Item = &'a Region>) -> Json<Self> {
        Json(Self { regions: regions.into_iter().map(|region| region.key()).collect() })
    }
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
    responses((status = OK, body = Subscriptions), Refusals),
)]
async fn subscriptions(Caller { user }: Caller) -> Json<Subscriptions> {
    Subscriptions::of(&user.regions)
}

/// Subscribes these regions and no others. All connections of the user follow at once.
#[utoipa::path(
    put, path = "/api/subscriptions", tag = "subscriptions", request_body = Wanted,
    security(("session" = []), ("token" = [])),
    responses((status = OK, body = Subscriptions), Refusals),
)]
async fn subscribe(
    State(hub): State<Arc<Hub>>,
    Caller { user }: Caller,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Subscriptions>, ApiError> {
    let invalid = |reason| ApiError::Invalid { field: "regions".into(), reason };
    let regions = read_regions(&wanted.regions).map_err(invalid)?;
    let user = hub.accounts.set_regions(&user.id, &regions).await?;
    hub.account_changed(Changed::from(&user));
    Ok(Subscriptions::of(&user.regions))
}
