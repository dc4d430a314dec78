//! Serves how the consensus of outcomes moved, as a few points for small charts.

use std::{collections::BTreeMap, sync::Arc};

use ::history::{EventQuery, HistoryError, PriceAt, PriceHistory, PriceQuery, Store};
use axum::{
    extract::{Query, State},
    response::Response,
};
use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use market::{Line, lines_of};
use odds::{BookmakerKey, Decimal, Details, EventId, MarketKey, Outcome, Region, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{invalid, json_answer, parsed, period, store, unknown};
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
/// How many events are read at once.
const AT_ONCE: usize = 3;

struct Wanted {
    region: Region,
    events: Vec<EventId>,
    market: MarketKey,
    bookmakers: Vec<BookmakerKey>,
    from: Timestamp,
    to: Timestamp,
}

impl Wanted {
    fn read(query: Vec<(String, String)>, now: Timestamp) -> Result<Self, ApiError> {
        let (mut region, mut events, mut market) = (None, Vec::<EventId>::new(), None);
        let (mut bookmakers, mut from, mut to) = (Vec::new(), None, None);
        for (field, value) in query {
            match field.as_str() {
                "region" => region = Some(parsed(&field, &value)?),
                "event" => events.push(parsed(&field, &value)?),
                "market" => market = Some(parsed(&field, &value)?),
                "bookmaker" => bookmakers.push(parsed(&field, &value)?),
                "from" => from = Some(parsed(&field, &value)?),
                "to" => to = Some(parsed(&field, &value)?),
                _ => return Err(unknown(&field, "region, event, market, bookmaker, from or to")),
            }
        }
        let missing = |field: &str| invalid(field, "it is missing");
        let (region, market) = (region.ok_or_else(|| missing("region"))?, market.ok_or_else(|| missing("market"))?);
        events.sort_unstable();
        events.dedup();
        if !(1..=MOST_EVENTS).contains(&events.len()) {
            return Err(invalid("event", &format!("expected 1 to {MOST_EVENTS} events")));
        }
        let (from, to) = period(from, to, now)?;
        Ok(Self { region, events, market, bookmakers, from, to })
    }

    fn instants(&self) -> impl Iterator<Item = Timestamp> {
        let (from, span) = (self.from, self.to.millis_since(self.from));
        (0..POINTS as i64).map(move |n| from.plus_millis(span * n / (POINTS as i64 - 1)))
    }

    fn prices_of(&self, event: &EventId) -> PriceQuery {
        PriceQuery {
            event: event.clone(),
            market: Some(self.market.clone()),
            outcome: None,
            regions: vec![self.region],
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
    events: Vec<EventLines>,
}

#[derive(Serialize, ToSchema)]
struct EventLines {
    #[schema(value_type = String)]
    id: EventId,
    outcomes: Vec<OutcomePoints>,
}

/// An outcome's probability at each time.
#[derive(Serialize, ToSchema)]
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
        ("region" = RegionKey, Query),
        ("event" = Vec<String>, Query, description = "Repeat it for more, up to 60."),
        ("market" = String, Query),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("from" = Option<String>, Query, description = "A day before `to`, if not given; at most 31 days."),
        ("to" = Option<String>, Query, description = "Now, if not given."),
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
    let _turn = app.history_turns.take(&caller.user.id)?;
    let found = find(&**store, &wanted).await.inspect_err(|error| app.metrics.count_damage(error))?;
    let write = move || {
        let events = found.into_iter().map(|(id, details, history)| {
            let outcomes = outcomes(&wanted, &details, &history);
            EventLines { id, outcomes }
        });
        let times = wanted.instants().map(Timestamp::as_millis).collect();
        serde_json::to_string(&Sparklines { times, events: events.collect() }).expect("plain values")
    };
    Ok(json_answer(&headers, "private, no-cache", write).await)
}

async fn find(store: &dyn Store, wanted: &Wanted) -> Result<Vec<(EventId, Details, PriceHistory)>, HistoryError> {
    let query = EventQuery { region: wanted.region, event: None, from: wanted.from, to: wanted.to };
    let recorded = store.events(query).await?.into_iter();
    let recorded = recorded.filter(|event| wanted.events.binary_search(&event.id).is_ok());
    let known: Vec<_> = recorded.filter_map(|event| Some((event.newest()?.clone(), event.id))).collect();
    let histories = known.into_iter().map(async |(details, id)| {
        let history = store.price_history(wanted.prices_of(&id)).await?;
        Ok((id, details, history))
    });
    stream::iter(histories).buffered(AT_ONCE).try_collect().await
}

/// A bookmaker's price of an outcome over time, and the place of the price that is valid now.
struct Moving {
    bookmaker: BookmakerKey,
    /// Without its price.
    outcome: Outcome,
    prices: Vec<PriceAt>,
    at: usize,
}

impl Moving {
    /// Goes on to a time. Returns whether the price is another one then.
    fn go_on(&mut self, time: Timestamp) -> bool {
        let next = self.prices.partition_point(|(at, _)| *at <= time);
        let is_other = next != self.at;
        self.at = next;
        is_other
    }

    fn now(&self) -> Option<Outcome> {
        let (_, price) = self.prices[..self.at].last()?;
        Some(Outcome { price: (*price)?, ..self.outcome.clone() })
    }
}

fn outcomes(wanted: &Wanted, details: &Details, history: &PriceHistory) -> Vec<OutcomePoints> {
    let moving = history.series(wanted.from, usize::MAX).into_iter().map(|series| {
        let key = series.outcome;
        let price = Decimal::new(0, 0);
        let outcome = Outcome { name: key.name, price, point: key.point, description: key.description };
        Moving { bookmaker: series.bookmaker, outcome, prices: series.prices, at: 0 }
    });
    let mut moving: Vec<Moving> = moving.collect();
    let mut at_instants: Vec<Vec<Line>> = Vec::new();
    for instant in wanted.instants() {
        let mut moved = false;
        for it in &mut moving {
            moved |= it.go_on(instant);
        }
        let same = at_instants.last().filter(|_| !moved).cloned();
        at_instants.push(same.unwrap_or_else(|| lines_now(details, &wanted.market, &moving)));
    }
    let chosen = at_instants.iter().rev().find(|lines| !lines.is_empty()).map(|lines| chosen(lines));
    let mut outcomes = Vec::new();
    for line in chosen.unwrap_or_default() {
        let of_line = at_instants.iter().map(|lines| lines.iter().find(|it| it.is_same_line(line))?.consensus());
        let of_line: Vec<_> = of_line.collect();
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

fn lines_now(details: &Details, market: &MarketKey, moving: &[Moving]) -> Vec<Line> {
    let mut quotes: BTreeMap<&BookmakerKey, Vec<Outcome>> = BTreeMap::new();
    for it in moving {
        if let Some(outcome) = it.now() {
            quotes.entry(&it.bookmaker).or_default().push(outcome);
        }
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
    (probability * 1e4).round() / 1e4
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
        let instants: Vec<Timestamp> = wanted.instants().collect();
        assert_eq!((instants.len(), instants[0], instants[POINTS - 1]), (POINTS, wanted.from, wanted.to));
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
