//! Serves what moved most: the outcomes by how much their consensus has changed.

use std::sync::Arc;

use ::history::{HistoryError, Moment, RecordedBoard, Store};
use axum::{
    extract::{Query, State},
    response::Response,
};
use http::HeaderMap;
use market::{Line, Move, lines_of, moves};
use odds::{Board, Decimal, EventId, Filter, MarketKey, Region, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{EventHead, invalid, json_answer, openings::Opening, parsed, store};
use crate::{
    http::{
        caller::Caller,
        error::{ApiError, HistoryRefusals, Refusals},
        odds::filter,
        subscriptions::RegionKey,
    },
    session::AppState,
};

const MINUTES: u32 = 60;
const MOST_MINUTES: u32 = 24 * 60;
const LIMIT: usize = 20;
const MOST: usize = 200;
const FEWEST_BOOKMAKERS: usize = 3;
/// More than any line has.
const MOST_BOOKMAKERS: usize = 1_000;

/// Boards are read for times on this grid, so that several requests use the same.
const GRID_MS: i64 = 2_000;

/// What the newest prices are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Since {
    Minutes(u32),
    Opening,
}

#[derive(Debug)]
struct Wanted {
    region: Region,
    filter: Filter,
    since: Since,
    fewest_bookmakers: usize,
    limit: usize,
}

impl Wanted {
    fn read(query: Vec<(String, String)>) -> Result<Self, ApiError> {
        let (mut region, mut minutes, mut opening) = (None, None, false);
        let (mut limit, mut fewest_bookmakers, mut rest) = (LIMIT, FEWEST_BOOKMAKERS, Vec::new());
        for (field, value) in query {
            match field.as_str() {
                "region" => region = Some(parsed(&field, &value)?),
                "minutes" => minutes = Some(parsed(&field, &value)?),
                "since" if value == "opening" => opening = true,
                "since" => return Err(invalid("since", "expected opening")),
                "min_bookmakers" => fewest_bookmakers = parsed(&field, &value)?,
                "limit" => limit = parsed(&field, &value)?,
                _ => rest.push((field, value)),
            }
        }
        let known = "region, sport, event, market, bookmaker, minutes, since, min_bookmakers or limit";
        let filter = filter(&rest, known)?;
        let region = region.ok_or_else(|| invalid("region", "it is missing"))?;
        let since = match (minutes, opening) {
            (Some(_), true) => return Err(invalid("query", "give one of minutes and since")),
            (None, true) => Since::Opening,
            (minutes, false) => Since::Minutes(minutes.unwrap_or(MINUTES)),
        };
        if let Since::Minutes(minutes) = since
            && !(1..=MOST_MINUTES).contains(&minutes)
        {
            return Err(invalid("minutes", &format!("expected 1 to {MOST_MINUTES}")));
        }
        if fewest_bookmakers > MOST_BOOKMAKERS {
            return Err(invalid("min_bookmakers", &format!("expected at most {MOST_BOOKMAKERS}")));
        }
        if !(1..=MOST).contains(&limit) {
            return Err(invalid("limit", &format!("expected 1 to {MOST}")));
        }
        Ok(Self { region, filter, since, fewest_bookmakers, limit })
    }
}

/// What moved most between two times.
#[derive(Serialize, ToSchema)]
struct Movers {
    #[schema(value_type = RegionKey)]
    region: Region,
    /// The time that the newest prices are compared with; null if it is another one for each event.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    from: Option<Timestamp>,
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
    /// The first time.
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
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

/// Returns the outcomes whose consensus has changed most in a region, within some minutes or since each event was first
/// on the board.
#[utoipa::path(
    get, path = "/api/movers", tag = "history", security(("session" = []), ("token" = [])),
    params(
        ("region" = RegionKey, Query),
        ("sport" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("event" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("market" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("minutes" = Option<u32>, Query, description = "1 to 1440; 60 if not given. If less is recorded: since then."),
        (
            "since" = Option<String>, Query,
            description = "`opening`, instead of `minutes`: since each event was first seen.",
        ),
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
    let turn = app.analysis_turns.take(&caller.user.id)?;
    let now = on_grid((app.clock)());
    let last = board_at(&app, &**store, wanted.region, now).await?;
    let mut from = None;
    if let Since::Minutes(minutes) = wanted.since {
        let time = on_grid(last.marker.at.plus_millis(-60_000 * i64::from(minutes)));
        match board_at(&app, &**store, wanted.region, time).await {
            Ok(first) => {
                let write = move || {
                    let _turn = turn;
                    wanted.answer(Some(time), &last, |id| wanted.since_board(time, id, &first, &last))
                };
                return Ok(json_answer(&headers, "private, no-cache", write).await);
            }
            // The recording began later: all openings came since then.
            Err(HistoryError::NotRecorded { from: None, until }) => from = until,
            Err(error) => return Err(error.into()),
        }
    }
    let openings = app.openings.of(&**store, wanted.region, &last.board, &wanted.filter, now).await;
    let openings = openings.inspect_err(|error| app.metrics.count_damage(error))?;
    let write = move || {
        let _turn = turn;
        wanted.answer(from, &last, |id| {
            let openings = openings.get(id).into_iter().flatten();
            openings.flat_map(|opening| wanted.since_opening(id, opening, &last)).collect()
        })
    };
    Ok(json_answer(&headers, "private, no-cache", write).await)
}

fn on_grid(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.as_millis().div_euclid(GRID_MS) * GRID_MS)
}

/// A recorded board, which other requests may use, too.
async fn board_at(
    app: &AppState,
    store: &dyn Store,
    region: Region,
    at: Timestamp,
) -> Result<Arc<RecordedBoard>, HistoryError> {
    let board = app.recorded_boards.get((region, at), store.board_at(region, Moment::At(at))).await;
    board.inspect_err(|error| app.metrics.count_damage(error))
}

impl Wanted {
    /// The greatest moves of all events on the newest board; `moves_of` has those of an event, each with its first time.
    fn answer(
        &self,
        from: Option<Timestamp>,
        last: &RecordedBoard,
        moves_of: impl Fn(&EventId) -> Vec<(Timestamp, Move)>,
    ) -> String {
        let mut moved: Vec<(&EventId, Timestamp, Move)> = Vec::new();
        for id in last.board.event_ids() {
            let moves = moves_of(id).into_iter();
            let moves = moves.filter(|(_, it)| it.bookmakers >= self.fewest_bookmakers && it.change() != 0.0);
            moved.extend(moves.map(|(at, it)| (id, at, it)));
        }
        // Equal changes always come in the same order.
        moved.sort_by(|(id, _, a), (other, _, b)| {
            let size = |it: &Move| it.change().abs();
            size(b).total_cmp(&size(a)).then_with(|| (id, a.place()).cmp(&(other, b.place())))
        });
        moved.truncate(self.limit);
        let movers = moved.into_iter().filter_map(|(id, first_at, it)| {
            Some(Mover {
                event: EventHead::new(id, last.board.details(id)?),
                change: it.change(),
                market: it.market,
                outcome: it.name,
                point: it.point,
                description: it.description,
                first_at,
                first: it.before,
                last: it.now,
                first_price: it.price_before,
                last_price: it.price_now,
                bookmakers: it.bookmakers,
                moved_with: it.moved_with,
            })
        });
        let answer = Movers { region: self.region, from, to: last.marker.at, movers: movers.collect() };
        serde_json::to_string(&answer).expect("plain values")
    }

    fn since_board(
        &self,
        from: Timestamp,
        id: &EventId,
        first: &RecordedBoard,
        last: &RecordedBoard,
    ) -> Vec<(Timestamp, Move)> {
        // Prices of another source are not a movement.
        if first.marker.source != last.marker.source {
            return Vec::new();
        }
        let both = self.lines(&first.board, id).zip(self.lines(&last.board, id));
        let moves = both.map(|(first, last)| moves(&first, &last)).unwrap_or_default();
        moves.into_iter().map(|it| (from, it)).collect()
    }

    fn since_opening(&self, id: &EventId, opening: &Opening, last: &RecordedBoard) -> Vec<(Timestamp, Move)> {
        let first = opening.lines(&self.filter);
        let last = self.lines(&last.board, id).unwrap_or_default();
        moves(&first, &last).into_iter().map(|it| (opening.at, it)).collect()
    }

    /// The wanted lines of an event. `None` if it is not wanted, or not on this board.
    fn lines(&self, board: &Board, id: &EventId) -> Option<Vec<Line>> {
        let details = board.details(id)?;
        let quotes = board.quotes_of(id).filter(|(bookmaker, market, _)| self.filter.admits_quote(bookmaker, market));
        let quotes = quotes.map(|(bookmaker, market, outcomes)| (bookmaker, market, outcomes.to_vec()));
        self.filter.admits_event(id, &details.sport_key).then(|| lines_of(details, quotes))
    }
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
            (&[("region", "uk"), ("since", "closing")], "since"),
            (&[("region", "uk"), ("since", "opening"), ("market", "h2h"), ("minutes", "5")], "query"),
        ] {
            let Err(ApiError::Invalid { field: named, .. }) = read(query) else { panic!("{query:?}") };
            assert_eq!(named, field, "{query:?}");
        }
        assert!(read(&[("region", "uk")]).unwrap().filter.is_all());
    }
}
