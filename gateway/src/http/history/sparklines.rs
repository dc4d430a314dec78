//! Serves how the consensus of outcomes moved, as a few points for small charts.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use ::history::{EventQuery, HistoryError, PriceAt, PriceHistory, PriceQuery, Store};
use axum::{
    extract::{Query, State},
    response::Response,
};
use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use market::{Consensus, Line, lines_of};
use odds::{BookmakerKey, Decimal, Details, EventId, MarketKey, Outcome, Region, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{all_if_none, invalid, json_answer, parsed, period, store, unknown};
use crate::{
    http::{
        caller::Caller,
        error::{ApiError, HistoryRefusals, Refusals},
        subscriptions::RegionKey,
    },
    session::AppState,
};

/// How many points a line has.
const POINTS: usize = 40;
const MOST_EVENTS: usize = 60;
const MOST_BOOKMAKERS: usize = 100;
/// How many events are read at once.
const AT_ONCE: usize = 3;

/// Charts end on this grid, unless their time is given, so that several requests use the same.
const GRID_MS: i64 = 60_000;

struct Wanted {
    events: Vec<EventId>,
    of_all: OfAll,
    /// The beginning is not given: then it is not before that of the recording.
    begins_with_recording: bool,
}

/// What the charts of all events of a request have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OfAll {
    regions: Vec<Region>,
    market: MarketKey,
    bookmakers: Vec<BookmakerKey>,
    from: Timestamp,
    to: Timestamp,
}

/// Which chart is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SparklineOf {
    event: EventId,
    of_all: OfAll,
}

impl Wanted {
    fn read(query: Vec<(String, String)>, now: Timestamp) -> Result<Self, ApiError> {
        let (mut regions, mut events, mut market) = (Vec::new(), Vec::<EventId>::new(), None);
        let (mut bookmakers, mut from, mut to) = (Vec::new(), None, None);
        for (field, value) in query {
            match field.as_str() {
                "region" => regions.push(parsed(&field, &value)?),
                "event" => events.push(parsed(&field, &value)?),
                "market" => market = Some(parsed(&field, &value)?),
                "bookmaker" => bookmakers.push(parsed(&field, &value)?),
                "from" => from = Some(parsed(&field, &value)?),
                "to" => to = Some(parsed(&field, &value)?),
                _ => return Err(unknown(&field, "region, event, market, bookmaker, from or to")),
            }
        }
        let missing = |field: &str| invalid(field, "it is missing");
        if regions.is_empty() {
            return Err(missing("region"));
        }
        let market = market.ok_or_else(|| missing("market"))?;
        events.sort_unstable();
        events.dedup();
        bookmakers.sort_unstable();
        bookmakers.dedup();
        if bookmakers.len() > MOST_BOOKMAKERS {
            return Err(invalid("bookmaker", &format!("expected at most {MOST_BOOKMAKERS}")));
        }
        if !(1..=MOST_EVENTS).contains(&events.len()) {
            return Err(invalid("event", &format!("expected 1 to {MOST_EVENTS} events")));
        }
        let last = Timestamp::from_millis(now.as_millis().div_euclid(GRID_MS) * GRID_MS);
        let begins_with_recording = from.is_none();
        let (from, to) = period(from, to, last)?;
        Ok(Self {
            begins_with_recording,
            events,
            of_all: OfAll { regions: all_if_none(regions), market, bookmakers, from, to },
        })
    }
}

impl OfAll {
    fn instants(&self) -> impl Iterator<Item = Timestamp> {
        let (from, span) = (self.from, self.to.millis_since(self.from));
        (0..POINTS as i64).map(move |n| from.plus_millis(span * n / (POINTS as i64 - 1)))
    }

    fn prices_of(&self, event: &EventId) -> PriceQuery {
        PriceQuery {
            event: event.clone(),
            market: Some(self.market.clone()),
            outcome: None,
            regions: self.regions.clone(),
            bookmakers: self.bookmakers.clone(),
            from: self.from,
            to: self.to,
        }
    }
}

/// The consensus of outcomes over time.
#[derive(Serialize, ToSchema)]
struct Sparklines {
    /// The times of the points, in milliseconds since 1970.
    times: Vec<i64>,
    /// Those of which something is recorded.
    #[schema(value_type = Vec<Sparkline>)]
    events: Vec<Arc<Option<Sparkline>>>,
}

/// The consensus of the outcomes of an event over time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sparkline {
    #[schema(value_type = String)]
    id: EventId,
    outcomes: Vec<OutcomePoints>,
}

/// An outcome's probability at each time.
#[derive(Debug, Serialize, ToSchema)]
struct OutcomePoints {
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, nullable = false)]
    point: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// By the consensus of the bookmakers, without their margins. Null where there was none, or nothing is recorded.
    probabilities: Vec<Option<f64>>,
}

/// Returns the consensus of the outcomes of events at forty times, for small charts. Of lines at several points, it is
/// the one that most bookmakers offered last.
#[utoipa::path(
    get, path = "/api/history/sparklines", tag = "history", security(("session" = []), ("token" = [])),
    params(
        ("region" = Vec<RegionKey>, Query, description = "Repeat it for more. The consensus is of all bookmakers there."),
        ("event" = Vec<String>, Query, description = "Repeat it for more, up to 60."),
        ("market" = String, Query),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("from" = Option<String>, Query, description = "At most 31 days. If not given, a day before `to`, or the beginning of the recording."),
        ("to" = Option<String>, Query, description = "The last full minute, if not given."),
    ),
    responses((status = OK, body = Sparklines, description = "By event."), HistoryRefusals, Refusals),
)]
pub(super) async fn consensus_sparklines(
    State(app): State<Arc<AppState>>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(query, (app.clock)())?;
    let store = store(&app)?;
    let _turn = app.analysis_turns.take(&caller.user.id)?;
    let Wanted { events, mut of_all, begins_with_recording } = wanted;
    if begins_with_recording {
        let begin = recording_began(&**store, &of_all.regions).await;
        let begin = begin.inspect_err(|error| app.metrics.count_damage(error))?;
        of_all.from = begin.map_or(of_all.from, |begin| begin.clamp(of_all.from, of_all.to));
    }
    let found = events.into_iter().map(async |event| {
        let of = SparklineOf { event, of_all: of_all.clone() };
        app.sparklines.get(of.clone(), sparkline(store.clone(), of)).await
    });
    let found = stream::iter(found).buffered(AT_ONCE).try_collect::<Vec<_>>().await;
    let mut events = found.inspect_err(|error| app.metrics.count_damage(error))?;
    events.retain(|event| event.is_some());
    let times = of_all.instants().map(Timestamp::as_millis).collect();
    let write = move || serde_json::to_string(&Sparklines { times, events }).expect("plain values");
    Ok(json_answer(&headers, "private, no-cache", write).await)
}

/// When the recording of the first of these regions began.
async fn recording_began(store: &dyn Store, regions: &[Region]) -> Result<Option<Timestamp>, HistoryError> {
    let mut first = None;
    for region in regions {
        let begin = store.next_keyframe(*region, Timestamp::default()).await?.map(|(at, _)| at);
        first = first.into_iter().chain(begin).min();
    }
    Ok(first)
}

/// Returns `None` if nothing is recorded of the event.
async fn sparkline(store: Arc<dyn Store>, of: SparklineOf) -> Result<Option<Sparkline>, HistoryError> {
    let SparklineOf { event, of_all } = of;
    let mut details = None;
    for region in &of_all.regions {
        let query = EventQuery { region: *region, event: Some(event.clone()), from: of_all.from, to: of_all.to };
        details = store.events(query).await?.pop().and_then(|it| it.newest().cloned());
        if details.is_some() {
            break;
        }
    }
    let Some(details) = details else { return Ok(None) };
    let history = store.price_history(of_all.prices_of(&event)).await?;
    // The runtime's threads deliver the stream.
    let outcomes = tokio::task::spawn_blocking(move || outcomes(&of_all, &details, &history)).await;
    Ok(Some(Sparkline { id: event, outcomes: outcomes.expect("nobody panics with prices") }))
}

/// A bookmaker's price of an outcome over time.
struct Moving {
    bookmaker: BookmakerKey,
    /// With the price that it has now, if `is_there`.
    outcome: Outcome,
    is_there: bool,
    /// It is there, and the first of those of its bookmaker: one that is in several regions counts once.
    counts: bool,
    prices: Vec<PriceAt>,
    /// How many of the prices have been.
    passed: usize,
}

/// What has happened to a price.
#[derive(PartialEq, Eq)]
enum Passage {
    Nothing,
    OtherPrice,
    CameOrWent,
}

impl Moving {
    fn go_on(&mut self, time: Timestamp) -> Passage {
        let passed = self.passed + self.prices[self.passed..].partition_point(|(at, _)| *at <= time);
        if passed == self.passed {
            return Passage::Nothing;
        }
        self.passed = passed;
        let was_there = self.is_there;
        let (_, price) = self.prices[passed - 1];
        self.is_there = price.is_some();
        self.outcome.price = price.unwrap_or(self.outcome.price);
        if self.is_there == was_there { Passage::OtherPrice } else { Passage::CameOrWent }
    }
}

/// What bookmakers offered for a while, during which none of them began or ended an offer.
struct Offer {
    lines: Vec<Line>,
    /// The consensus of each line at each of its times.
    times: Vec<Vec<Option<Consensus>>>,
}

fn outcomes(wanted: &OfAll, details: &Details, history: &PriceHistory) -> Vec<OutcomePoints> {
    let offers = offers(wanted, details, history);
    let last = offers.iter().rev().find(|offer| !offer.lines.is_empty());
    let mut outcomes = Vec::new();
    for line in last.map(|offer| chosen(&offer.lines)).unwrap_or_default() {
        let of_line = |offer: &Offer| {
            let place = offer.lines.iter().position(|it| it.is_same_line(line));
            offer.times.iter().map(move |time| time[place?].clone()).collect::<Vec<_>>()
        };
        let of_line: Vec<Option<Consensus>> = offers.iter().flat_map(of_line).collect();
        for (place, outcome) in line.outcomes.iter().enumerate() {
            let probabilities = of_line.iter().map(|it| it.as_ref().map(|it| rounded(it.probabilities[place])));
            outcomes.push(OutcomePoints {
                outcome: outcome.name.clone(),
                point: outcome.point,
                description: line.description.clone(),
                probabilities: probabilities.collect(),
            });
        }
    }
    outcomes
}

/// What was offered at all times, one after the other.
fn offers(wanted: &OfAll, details: &Details, history: &PriceHistory) -> Vec<Offer> {
    let moving = history.series(wanted.from, usize::MAX).into_iter().map(|series| {
        let key = series.outcome;
        let price = Decimal::new(0, 0);
        let outcome = Outcome { name: key.name, price, point: key.point, description: key.description };
        let (bookmaker, prices) = (series.bookmaker, series.prices);
        Moving { bookmaker, outcome, is_there: false, counts: false, prices, passed: 0 }
    });
    let mut moving: Vec<Moving> = moving.collect();
    let mut offers = vec![Offer { lines: Vec::new(), times: Vec::new() }];
    for instant in wanted.instants() {
        let passages: Vec<Passage> = moving.iter_mut().map(|it| it.go_on(instant)).collect();
        if passages.contains(&Passage::CameOrWent) {
            offers.push(Offer { lines: lines_now(details, &wanted.market, &mut moving), times: Vec::new() });
        }
        let offer = offers.last_mut().expect("there is one");
        let passed = moving.iter().zip(&passages).filter(|(it, passage)| it.counts && **passage == Passage::OtherPrice);
        for (it, _) in passed {
            offer.lines.iter_mut().for_each(|line| line.set_price(&it.bookmaker, &it.outcome));
        }
        let same = offer.times.last().filter(|_| passages.iter().all(|it| *it == Passage::Nothing)).cloned();
        offer.times.push(same.unwrap_or_else(|| offer.lines.iter().map(Line::consensus).collect()));
    }
    offers
}

fn lines_now(details: &Details, market: &MarketKey, moving: &mut [Moving]) -> Vec<Line> {
    let mut known = HashSet::new();
    for it in moving.iter_mut() {
        it.counts =
            it.is_there && known.insert((&it.bookmaker, &it.outcome.name, it.outcome.point, &it.outcome.description));
    }
    let mut quotes: BTreeMap<&BookmakerKey, Vec<Outcome>> = BTreeMap::new();
    for it in moving.iter().filter(|it| it.counts) {
        quotes.entry(&it.bookmaker).or_default().push(it.outcome.clone());
    }
    lines_of(details, quotes.into_iter().map(|(bookmaker, outcomes)| (bookmaker, market, outcomes)))
}

/// Of each description, the complete line of most bookmakers.
fn chosen(lines: &[Line]) -> Vec<&Line> {
    let mut chosen: BTreeMap<&Option<String>, &Line> = BTreeMap::new();
    let bookmakers = |line: &Line| line.outcomes.first().map_or(0, |outcome| outcome.prices.len());
    for line in lines.iter().filter(|line| line.is_complete) {
        let best = chosen.entry(&line.description).or_insert(line);
        if bookmakers(line) > bookmakers(best) {
            *best = line;
        }
    }
    chosen.into_values().collect()
}

/// More digits can't be seen on a small chart.
fn rounded(probability: f64) -> f64 {
    (probability * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Wanted, ApiError> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        Wanted::read(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), now)
    }

    #[test]
    fn forty_times_begin_and_end_with_the_wanted_time() {
        let wanted = read("region=uk&market=h2h&event=b&event=a&event=a").unwrap();
        let of_all = wanted.of_all;
        let instants: Vec<Timestamp> = of_all.instants().collect();
        assert_eq!((instants.len(), instants[0], instants[POINTS - 1]), (POINTS, of_all.from, of_all.to));
        assert_eq!(wanted.events.len(), 2);
    }

    #[test]
    fn the_wrong_parameter_is_named() {
        let many: String = (0..=MOST_EVENTS).map(|n| format!("&event=e{n}")).collect();
        for (query, field) in [
            ("market=h2h&event=a", "region"),
            ("region=uk&event=a", "market"),
            ("region=uk&market=h2h", "event"),
            (&*format!("region=uk&market=h2h{many}"), "event"),
            ("region=uk&market=h2h&event=a&from=noon", "from"),
            ("region=uk&market=h2h&event=a&outcome=x", "query"),
        ] {
            let Err(ApiError::Invalid { field: named, .. }) = read(query) else { panic!("{query}") };
            assert_eq!(named, field, "{query}");
        }
    }
}
