//! Serves what moved most: the outcomes by how much their consensus has changed.

use std::sync::Arc;

use ::history::{Moment, RecordedBoard};
use axum::{
    extract::{Query, State},
    response::Response,
};
use http::HeaderMap;
use market::{Move, lines_of, moves};
use odds::{Board, BookmakerKey, Decimal, EventId, Filter, MarketKey, Region, SportKey, Timestamp};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::{events::EventHead, invalid, json_answer, parsed, store, unknown};
use crate::{
    http::{
        caller::Caller,
        error::{ApiError, HistoryRefusals, Refusals},
        subscriptions::RegionKey,
    },
    session::AppState,
};

const MINUTES: u32 = 60;
const MOST_MINUTES: u32 = 24 * 60;
const LIMIT: usize = 20;
const MOST: usize = 200;
const FEWEST_BOOKMAKERS: usize = 3;

struct Wanted {
    region: Region,
    filter: Filter,
    minutes: u32,
    fewest_bookmakers: usize,
    limit: usize,
}

impl Wanted {
    fn read(query: Vec<(String, String)>) -> Result<Self, ApiError> {
        let (mut region, mut minutes, mut limit, mut fewest_bookmakers) = (None, MINUTES, LIMIT, FEWEST_BOOKMAKERS);
        let (mut sports, mut markets, mut bookmakers) = (Vec::new(), Vec::new(), Vec::new());
        for (field, value) in query {
            match field.as_str() {
                "region" => region = Some(parsed(&field, &value)?),
                "minutes" => minutes = parsed(&field, &value)?,
                "min_bookmakers" => fewest_bookmakers = parsed(&field, &value)?,
                "limit" => limit = parsed(&field, &value)?,
                "sport" => sports.push(parsed::<SportKey>(&field, &value)?),
                "market" => markets.push(parsed::<MarketKey>(&field, &value)?),
                "bookmaker" => bookmakers.push(parsed::<BookmakerKey>(&field, &value)?),
                _ => return Err(unknown(&field, "region, sport, market, bookmaker, minutes, min_bookmakers or limit")),
            }
        }
        let region = region.ok_or_else(|| invalid("region", "it is missing"))?;
        if !(1..=MOST_MINUTES).contains(&minutes) {
            return Err(invalid("minutes", &format!("expected 1 to {MOST_MINUTES}")));
        }
        if !(1..=MOST).contains(&limit) {
            return Err(invalid("limit", &format!("expected 1 to {MOST}")));
        }
        let mut filter = json!({});
        for (name, list) in [("sports", json!(sports)), ("markets", json!(markets)), ("bookmakers", json!(bookmakers))]
        {
            if list.as_array().is_some_and(|list| !list.is_empty()) {
                filter[name] = list;
            }
        }
        let filter = Filter::from_value(&filter).map_err(|error| invalid("query", &error))?;
        Ok(Self { region, filter, minutes, fewest_bookmakers, limit })
    }
}

/// What moved most between two times.
#[derive(Serialize, ToSchema)]
struct Movers {
    #[schema(value_type = RegionKey)]
    region: Region,
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// The newest recorded time.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// The greatest changes first.
    movers: Vec<Mover>,
}

/// An outcome whose consensus has changed.
#[derive(Serialize, ToSchema)]
struct Mover {
    event: EventHead,
    #[schema(value_type = String)]
    market: MarketKey,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, nullable = false)]
    point: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// Its probability by the consensus of the bookmakers, without their margins, at the first time and at the last.
    first: f64,
    last: f64,
    /// The last less the first.
    change: f64,
    /// The best price at the first time and at the last.
    #[schema(value_type = f64)]
    first_price: Decimal,
    #[schema(value_type = f64)]
    last_price: Decimal,
    /// How many bookmakers had a price at both times.
    bookmakers: usize,
    /// How many of them moved it in this direction.
    moved_with: usize,
}

/// Returns the outcomes whose consensus has changed most in a region within some minutes.
#[utoipa::path(
    get, path = "/api/movers", tag = "history", security(("session" = []), ("token" = [])),
    params(
        ("region" = RegionKey, Query),
        ("sport" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("market" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("minutes" = Option<u32>, Query, description = "1 to 1440; 60 if not given."),
        (
            "min_bookmakers" = Option<u32>, Query,
            description = "Only outcomes that so many bookmakers had at both times; 3 if not given.",
        ),
        ("limit" = Option<u32>, Query, description = "The most outcomes: 1 to 200; 20 if not given."),
    ),
    responses((status = OK, body = Movers, description = "The greatest changes first."), HistoryRefusals, Refusals),
)]
pub(super) async fn movers(
    State(app): State<Arc<AppState>>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(query)?;
    let store = store(&app)?;
    let _turn = app.history_turns.take(&caller.user.id)?;
    let board_at = async |at: Timestamp| {
        let board = store.board_at(wanted.region, Moment::At(at)).await;
        board.inspect_err(|error| app.metrics.count_damage(error))
    };
    let last = board_at((app.clock)()).await?;
    let from = last.marker.at.plus_millis(-60_000 * i64::from(wanted.minutes));
    let first = board_at(from).await?;
    let write = move || serde_json::to_string(&answer(&wanted, from, &first, &last)).expect("plain values");
    Ok(json_answer(&headers, "private, no-cache", write).await)
}

fn answer(wanted: &Wanted, from: Timestamp, first: &RecordedBoard, last: &RecordedBoard) -> Movers {
    let mut moved: Vec<(&EventId, Move)> = Vec::new();
    // Prices of another source are not a movement.
    if first.marker.source == last.marker.source {
        for id in last.board.event_ids() {
            let moves = moves_of(&first.board, &last.board, id, &wanted.filter);
            let moves = moves.into_iter().filter(|it| it.bookmakers >= wanted.fewest_bookmakers && it.change() != 0.0);
            moved.extend(moves.map(|it| (id, it)));
        }
    }
    moved.sort_by(|(_, a), (_, b)| b.change().abs().total_cmp(&a.change().abs()));
    moved.truncate(wanted.limit);
    let movers = moved.into_iter().filter_map(|(id, it)| {
        Some(Mover {
            event: EventHead::new(id, last.board.details(id)?),
            change: it.change(),
            market: it.market,
            outcome: it.name,
            point: it.point,
            description: it.description,
            first: it.before,
            last: it.now,
            first_price: it.price_before,
            last_price: it.price_now,
            bookmakers: it.bookmakers,
            moved_with: it.moved_with,
        })
    });
    Movers { region: wanted.region, from, to: last.marker.at, movers: movers.collect() }
}

fn moves_of(first: &Board, last: &Board, id: &EventId, filter: &Filter) -> Vec<Move> {
    let lines = |board: &Board| {
        let image = board.image(id, Timestamp::default())?;
        let quotes = image.quotes.iter().filter(|((bookmaker, market), _)| filter.admits_quote(bookmaker, market));
        let quotes = quotes.map(|((bookmaker, market), quote)| (bookmaker, market, quote.outcomes.to_vec()));
        filter.admits_event(id, &image.details.sport_key).then(|| lines_of(&image.details, quotes))
    };
    lines(first).zip(lines(last)).map(|(first, last)| moves(&first, &last)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrong_parameter_is_named() {
        let read = |query: &[(&str, &str)]| {
            Wanted::read(query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        for (query, field) in [
            (&[("minutes", "5")][..], "region"),
            (&[("region", "fr")], "region"),
            (&[("region", "uk"), ("minutes", "0")], "minutes"),
            (&[("region", "uk"), ("minutes", "1441")], "minutes"),
            (&[("region", "uk"), ("limit", "201")], "limit"),
            (&[("region", "uk"), ("min_bookmakers", "-1")], "min_bookmakers"),
            (&[("region", "uk"), ("sport", "a b")], "sport"),
            (&[("region", "uk"), ("hours", "1")], "query"),
        ] {
            let Err(ApiError::Invalid { field: named, .. }) = read(query) else { panic!("{query:?}") };
            assert_eq!(named, field, "{query:?}");
        }
        assert!(read(&[("region", "uk")]).unwrap().filter.is_all());
    }
}
