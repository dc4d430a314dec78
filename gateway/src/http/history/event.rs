//! Serves what the prices of an event did.

use std::sync::Arc;

use ::history::{EventQuery, HistoryError, KnownPrice, PriceHistory, PriceQuery, PriceSummary, RecordedEvent, Store};
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use http::HeaderMap;
use odds::{BookmakerKey, Decimal, EventId, MarketKey, Region, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{all_if_none, event_id, events::EventHead, json_answer, parsed, store, unknown};
use crate::{
    http::{
        caller::Caller,
        error::{ApiError, HistoryRefusals, Refusals},
        subscriptions::RegionKey,
    },
    session::AppState,
};

#[derive(Debug, Default)]
struct Wanted {
    regions: Vec<Region>,
    market: Option<MarketKey>,
    bookmakers: Vec<BookmakerKey>,
    to: Option<Timestamp>,
}

impl Wanted {
    fn read(query: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        for (field, value) in query {
            match field.as_str() {
                "region" => wanted.regions.push(parsed(&field, &value)?),
                "market" => wanted.market = Some(parsed(&field, &value)?),
                "bookmaker" => wanted.bookmakers.push(parsed(&field, &value)?),
                "to" => wanted.to = Some(parsed(&field, &value)?),
                _ => return Err(unknown(&field, "region, market, bookmaker or to")),
            }
        }
        wanted.regions = all_if_none(wanted.regions);
        Ok(wanted)
    }
}

/// What is recorded of an event.
#[derive(Serialize, ToSchema)]
struct EventHistory {
    id: String,
    regions: Vec<EventInRegion>,
}

/// What is recorded of an event in a region.
#[derive(Serialize, ToSchema)]
struct EventInRegion {
    #[schema(value_type = RegionKey)]
    region: Region,
    /// As it was known last.
    event: EventHead,
    /// When it started, as it was known then, or when it will.
    #[schema(value_type = String, format = DateTime)]
    start: Timestamp,
    /// When it was first on the board.
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    /// When a price of it last changed; at first, when it was first seen.
    #[schema(value_type = String, format = DateTime)]
    last_change: Timestamp,
    /// How often a bookmaker changed the price of an outcome.
    price_changes: u64,
    prices: Vec<OutcomeSummary>,
}

/// What a bookmaker's price of an outcome did.
#[derive(Serialize, ToSchema)]
struct OutcomeSummary {
    #[schema(value_type = String)]
    bookmaker: BookmakerKey,
    #[schema(value_type = String)]
    market: MarketKey,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, nullable = false)]
    point: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// The first one.
    opening: PriceSince,
    /// The last one before the start. Until then, the newest. Null if the first one came later.
    #[schema(required)]
    closing: Option<PriceSince>,
    lowest: PriceSince,
    highest: PriceSince,
    /// How often it changed.
    changes: u64,
}

/// A price, and since when it stood.
#[derive(Serialize, ToSchema)]
struct PriceSince {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(value_type = f64)]
    price: Decimal,
}

impl From<KnownPrice> for PriceSince {
    fn from((at, price): KnownPrice) -> Self {
        Self { at, price }
    }
}

/// Returns what the prices of an event did: for each outcome and bookmaker, the opening and the closing price, the
/// lowest and the highest, and how often it changed.
#[utoipa::path(
    get, path = "/api/history/events/{id}", tag = "history", security(("session" = []), ("token" = [])),
    params(
        ("id" = String, Path),
        ("region" = Option<Vec<RegionKey>>, Query, description = "Only this one; repeat it for more."),
        ("market" = Option<String>, Query, description = "Only this market."),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("to" = Option<String>, Query, description = "Nothing that came later, such as after the start."),
    ),
    responses((status = OK, body = EventHistory, description = "By region."), HistoryRefusals, Refusals),
)]
pub(super) async fn event_history(
    State(app): State<Arc<AppState>>,
    _: Caller,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let event = event_id(&id)?;
    let wanted = Wanted::read(query)?;
    let now = (app.clock)();
    let found = find(&**store(&app)?, &event, wanted, now).await;
    let found = found.inspect_err(|error| app.metrics.count_damage(error))?;
    if found.is_empty() {
        return Err(ApiError::NotFound("nothing is recorded of this event".into()));
    }
    let write = move || {
        let regions = found.iter().filter_map(|(region, event, history)| in_region(*region, event, history)).collect();
        serde_json::to_string(&EventHistory { id, regions }).expect("plain values")
    };
    Ok(json_answer(&headers, "private, no-cache", write).await)
}

async fn find(
    store: &dyn Store,
    event: &EventId,
    wanted: Wanted,
    now: Timestamp,
) -> Result<Vec<(Region, RecordedEvent, PriceHistory)>, HistoryError> {
    let Wanted { regions, market, bookmakers, to } = wanted;
    let to = to.unwrap_or(now);
    let mut found = Vec::new();
    for region in regions {
        let query = EventQuery { region, event: Some(event.clone()), from: Timestamp::default(), to };
        let Some(recorded) = store.events(query).await?.pop() else { continue };
        let Some((from, _)) = recorded.details.first() else { continue };
        let prices = PriceQuery {
            event: event.clone(),
            market: market.clone(),
            outcome: None,
            regions: vec![region],
            bookmakers: bookmakers.clone(),
            from: *from,
            to,
        };
        let history = store.price_history(prices).await?;
        found.push((region, recorded, history));
    }
    Ok(found)
}

fn in_region(region: Region, event: &RecordedEvent, history: &PriceHistory) -> Option<EventInRegion> {
    let first_seen = event.details.first()?.0;
    let start = event.start()?;
    let mut prices = Vec::new();
    let (mut last_change, mut price_changes) = (first_seen, 0);
    for series in &history.quotes {
        let Some(summary) = series.summary(Some(start)) else { continue };
        let PriceSummary { opening, closing, lowest, highest, changes, last_change: changed } = summary;
        price_changes += changes;
        if changes > 0 {
            last_change = last_change.max(changed);
        }
        prices.push(OutcomeSummary {
            bookmaker: series.bookmaker.clone(),
            market: series.market.clone(),
            outcome: series.outcome.name.clone(),
            point: series.outcome.point,
            description: series.outcome.description.clone(),
            opening: opening.into(),
            closing: closing.map(PriceSince::from),
            lowest: lowest.into(),
            highest: highest.into(),
            changes,
        });
    }
    let head = EventHead::new(&event.id, event.newest()?);
    Some(EventInRegion { region, event: head, start, first_seen, last_change, price_changes, prices })
}
