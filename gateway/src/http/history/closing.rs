//! Serves the closing prices of an event: those at its start, or at another time, and what the bookmakers together
//! thought of it.

use std::sync::Arc;

use ::history::{HistoryError, Moment, RecordedBoard, RecordedEvent, Store};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use market::{Line, edge, lines};
use odds::{BookmakerKey, Decimal, EventId, FeedState, Image, MarketKey, Region, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{event_id, events::recorded_event, invalid, parsed, store, unknown};
use crate::{
    http::{
        caller::Caller,
        error::{ApiError, HistoryRefusals, Refusals},
        subscriptions::RegionKey,
    },
    session::AppState,
};

#[derive(Debug, Default, PartialEq)]
struct Wanted {
    at: Option<Timestamp>,
    market: Option<MarketKey>,
    outcome: Option<String>,
    price: Option<Decimal>,
}

impl Wanted {
    fn read(query: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        for (field, value) in query {
            match field.as_str() {
                "at" => wanted.at = Some(parsed(&field, &value)?),
                "market" => wanted.market = Some(parsed(&field, &value)?),
                "outcome" => wanted.outcome = Some(value),
                "price" => wanted.price = Some(parsed(&field, &value)?),
                _ => return Err(unknown(&field, "at, market, outcome or price")),
            }
        }
        if wanted.price.is_some_and(|price| !price.is_decimal_odds()) {
            return Err(invalid("price", "expected decimal odds, such as 2.10"));
        }
        if wanted.price.is_some() && (wanted.market.is_none() || wanted.outcome.is_none()) {
            return Err(invalid("price", "a price needs its market and its outcome"));
        }
        Ok(wanted)
    }
}

/// The prices of an event at its start, or at another time.
#[derive(Serialize, ToSchema)]
pub(super) struct ClosingPrices {
    id: String,
    regions: Vec<ClosingInRegion>,
}

#[derive(Serialize, ToSchema)]
struct ClosingInRegion {
    #[schema(value_type = RegionKey)]
    region: Region,
    /// The time of the prices: the event's start, or the wanted time.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The prices were live at that time. Otherwise, these are the last ones before it that are recorded.
    is_certain: bool,
    lines: Vec<ClosingLine>,
}

/// Prices that can be compared: of the same outcomes of the same market at the same point.
#[derive(Serialize, ToSchema)]
struct ClosingLine {
    #[schema(value_type = String)]
    market: MarketKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// How many bookmakers the probabilities are from: 0 if the line does not have all outcomes.
    bookmakers: usize,
    outcomes: Vec<ClosingOutcome>,
}

#[derive(Serialize, ToSchema)]
struct ClosingOutcome {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, nullable = false)]
    point: Option<Decimal>,
    /// What the bookmakers together thought of it, without their margins. Null without all outcomes.
    #[schema(required)]
    probability: Option<f64>,
    /// The closing line value of the wanted price.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<f64>,
    prices: Vec<BookmakerPrice>,
}

#[derive(Serialize, ToSchema)]
struct BookmakerPrice {
    #[schema(value_type = String)]
    bookmaker: BookmakerKey,
    #[schema(value_type = f64)]
    price: Decimal,
}

/// Returns the prices of an event at its start, and the consensus of the bookmakers without their margins. With a
/// `price` for an outcome, that outcome has its closing line value: the price times the probability, less 1.
#[utoipa::path(
    get, path = "/api/history/events/{id}/closing", tag = "history", security(("session" = []), ("token" = [])),
    params(
        ("id" = String, Path),
        ("at" = Option<String>, Query, description = "Another time than the start."),
        ("market" = Option<String>, Query, description = "Only this market."),
        ("outcome" = Option<String>, Query, description = "Only lines with an outcome of this name."),
        ("price" = Option<f64>, Query, description = "The price of a bet on that outcome."),
    ),
    responses((status = OK, body = ClosingPrices, description = "By region."), HistoryRefusals, Refusals),
)]
pub(super) async fn closing_prices(
    State(app): State<Arc<AppState>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<ClosingPrices>, ApiError> {
    let event = event_id(&id)?;
    let wanted = Wanted::read(query)?;
    let store = store(&app)?;
    let _turn = app.history_turns.take(&caller.user.id)?;
    let now = (app.clock)();
    let closing = closing(&**store, &event, &wanted, now).await;
    let regions = closing.inspect_err(|error| app.metrics.count_damage(error))?;
    if regions.is_empty() {
        return Err(ApiError::NotFound("nothing is recorded of this event at that time".into()));
    }
    Ok(Json(ClosingPrices { id, regions }))
}

async fn closing(
    store: &dyn Store,
    event: &EventId,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Vec<ClosingInRegion>, HistoryError> {
    let mut regions = Vec::new();
    for region in Region::ALL {
        let Some(recorded) = recorded_event(store, region, event, now).await? else { continue };
        let Some(at) = wanted.at.or_else(|| recorded.start()) else { continue };
        if at > now {
            return Err(HistoryError::NotRecorded { from: Some(now), until: None });
        }
        let Some(Closing { image, is_certain }) = closing_in(store, region, &recorded, at).await? else { continue };
        let all = lines(&image.details, &image.quotes).into_iter().filter(|line| wanted.admits(line));
        let lines = all.map(|line| wanted.line(line)).collect();
        regions.push(ClosingInRegion { region, at, is_certain, lines });
    }
    Ok(regions)
}

/// The prices of an event in a region at a time.
struct Closing {
    image: Image,
    /// They were live then.
    is_certain: bool,
}

/// The prices at a time. If the event or the time itself is not recorded, the last ones before it.
async fn closing_in(
    store: &dyn Store,
    region: Region,
    event: &RecordedEvent,
    at: Timestamp,
) -> Result<Option<Closing>, HistoryError> {
    let Some((board, is_recorded)) = board_before(store, region, at).await? else { return Ok(None) };
    if let Some(image) = board.board.image(&event.id, at) {
        return Ok(Some(Closing { is_certain: is_recorded && is_live(&board, &event.id, at), image }));
    }
    // It was removed before.
    let Some(last) = event.last_on_board(at) else { return Ok(None) };
    let Some((before, _)) = board_before(store, region, last).await? else { return Ok(None) };
    Ok(before.board.image(&event.id, at).map(|image| Closing { image, is_certain: false }))
}

/// The board at a time, or the last one before it. Whether the time is recorded.
async fn board_before(
    store: &dyn Store,
    region: Region,
    at: Timestamp,
) -> Result<Option<(RecordedBoard, bool)>, HistoryError> {
    match store.board_at(region, Moment::At(at)).await {
        Ok(board) => Ok(Some((board, true))),
        Err(HistoryError::NotRecorded { from: Some(from), .. }) => {
            Ok(Some((store.board_at(region, Moment::At(from)).await?, false)))
        }
        Err(HistoryError::NotRecorded { from: None, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_live(board: &RecordedBoard, event: &EventId, at: Timestamp) -> bool {
    let (state, _) = board.marker.state_at(at);
    let sport = board.board.details(event).and_then(|details| board.marker.sports.get(&details.sport_key));
    state == FeedState::Live && sport.is_some_and(|fresh| fresh.stale_after >= at)
}

impl Wanted {
    fn admits(&self, line: &Line) -> bool {
        let has_outcome = |name: &String| line.outcomes.iter().any(|outcome| outcome.name == *name);
        self.market.as_ref().is_none_or(|market| line.market == *market)
            && self.outcome.as_ref().is_none_or(has_outcome)
    }

    fn line(&self, line: Line) -> ClosingLine {
        let consensus = line.consensus();
        let probability = |place: usize| Some(consensus.as_ref()?.probabilities[place]);
        let value = |name: &str, probability: Option<f64>| {
            let price = self.price.filter(|_| self.outcome.as_deref() == Some(name))?;
            Some(edge(price.to_f64(), probability?))
        };
        let outcomes = line.outcomes.into_iter().enumerate().map(|(place, outcome)| {
            let prices = outcome.prices.into_iter().map(|(bookmaker, price)| BookmakerPrice { bookmaker, price });
            let probability = probability(place);
            let value = value(&outcome.name, probability);
            ClosingOutcome { point: outcome.point, probability, value, prices: prices.collect(), name: outcome.name }
        });
        let outcomes = outcomes.collect();
        let bookmakers = consensus.as_ref().map_or(0, |consensus| consensus.bookmakers);
        ClosingLine { market: line.market, description: line.description, bookmakers, outcomes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &[(&str, &str)]) -> Result<Wanted, ApiError> {
        Wanted::read(query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_wrong_parameter_is_named() {
        for (query, field) in [
            (&[("at", "noon")][..], "at"),
            (&[("market", "a b")], "market"),
            (&[("price", "x"), ("market", "h2h"), ("outcome", "Leeds")], "price"),
            (&[("price", "0.5"), ("market", "h2h"), ("outcome", "Leeds")], "price"),
            (&[("price", "2.1"), ("market", "h2h")], "price"),
            (&[("bookmaker", "a")], "query"),
        ] {
            let Err(ApiError::Invalid { field: named, .. }) = read(query) else { panic!("{query:?}") };
            assert_eq!(named, field, "{query:?}");
        }
        assert_eq!(read(&[]).unwrap(), Wanted::default());
    }
}
