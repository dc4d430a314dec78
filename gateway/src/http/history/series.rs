//! Serves the prices of an outcome over time, for charts.

use std::sync::Arc;

use ::history::{OutcomeKey, PriceHistory, PriceQuery};
use axum::{
    extract::{Query, State},
    response::Response,
};
use http::HeaderMap;
use odds::{BookmakerKey, Decimal, EventId, MarketKey, Region, Timestamp};
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

const POINTS: usize = 500;
const MOST_POINTS: usize = 5_000;
/// The fewest prices that show the first, the last, both extremes and whether there was a time without a price.
const FEWEST_POINTS: usize = 5;

struct Wanted {
    query: PriceQuery,
    points: usize,
}

impl Wanted {
    fn read(query: Vec<(String, String)>, now: Timestamp) -> Result<Self, ApiError> {
        let (mut event, mut market, mut name) = (None::<EventId>, None::<MarketKey>, None::<String>);
        let (mut point, mut description) = (None::<Decimal>, None::<String>);
        let (mut regions, mut bookmakers) = (Vec::<Region>::new(), Vec::<BookmakerKey>::new());
        let (mut from, mut to, mut points) = (None::<Timestamp>, None::<Timestamp>, POINTS);
        for (field, value) in query {
            match field.as_str() {
                "event" => event = Some(parsed(&field, &value)?),
                "market" => market = Some(parsed(&field, &value)?),
                "outcome" => name = Some(value),
                "point" => point = Some(parsed(&field, &value)?),
                "description" => description = Some(value),
                "region" => regions.push(parsed(&field, &value)?),
                "bookmaker" => bookmakers.push(parsed(&field, &value)?),
                "from" => from = Some(parsed(&field, &value)?),
                "to" => to = Some(parsed(&field, &value)?),
                "points" => points = parsed(&field, &value)?,
                _ => {
                    let known = "event, market, outcome, point, description, region, bookmaker, from, to or points";
                    return Err(unknown(&field, known));
                }
            }
        }
        let missing = |field: &str| invalid(field, "it is missing");
        if !(FEWEST_POINTS..=MOST_POINTS).contains(&points) {
            return Err(invalid("points", &format!("expected {FEWEST_POINTS} to {MOST_POINTS}")));
        }
        let (from, to) = period(from, to, now)?;
        let regions = all_if_none(regions);
        let event = event.ok_or_else(|| missing("event"))?;
        let market = market.ok_or_else(|| missing("market"))?;
        let outcome = OutcomeKey { name: name.ok_or_else(|| missing("outcome"))?, point, description };
        let (market, outcome) = (Some(market), Some(outcome));
        Ok(Self { query: PriceQuery { event, market, outcome, regions, bookmakers, from, to }, points })
    }
}

/// The prices of an outcome over time.
#[derive(Serialize, ToSchema)]
struct OutcomeSeries {
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    series: Vec<BookmakerSeries>,
    /// What of each region was recorded.
    regions: Vec<RegionTime>,
}

/// A bookmaker's price of the outcome. Each stands until the time of the next.
#[derive(Serialize, ToSchema)]
struct BookmakerSeries {
    #[schema(value_type = RegionKey)]
    region: Region,
    #[schema(value_type = String)]
    bookmaker: BookmakerKey,
    /// In milliseconds since 1970.
    times: Vec<i64>,
    /// One for each time; null while there was no price, or it is not known.
    #[schema(value_type = Vec<Option<f64>>)]
    prices: Vec<Option<Decimal>>,
}

/// Of which time a region was recorded.
#[derive(Serialize, ToSchema)]
struct RegionTime {
    #[schema(value_type = RegionKey)]
    region: Region,
    gaps: Vec<GapTime>,
    /// The cursor of the newest recorded step, from which live changes go on.
    #[schema(value_type = Option<String>)]
    cursor: Option<odds::Cursor>,
    /// The time of that step.
    #[schema(value_type = Option<String>, format = DateTime)]
    recorded_until: Option<Timestamp>,
}

/// A time of which nothing is recorded.
#[derive(Serialize, ToSchema)]
struct GapTime {
    /// Null before the first step that was ever recorded.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

/// Returns the prices of an outcome over time, at each bookmaker in each region, and the gaps in it. A series with more
/// than `points` prices is thinned; its extremes are kept.
#[utoipa::path(
    get, path = "/api/history/series", tag = "history", security(("session" = []), ("token" = [])),
    params(
        ("event" = String, Query),
        ("market" = String, Query),
        ("outcome" = String, Query, description = "Its name, such as a team's."),
        ("point" = Option<f64>, Query, description = "Its point, for spreads and totals."),
        ("description" = Option<String>, Query, description = "Its description, if it has one."),
        ("region" = Option<Vec<RegionKey>>, Query, description = "Only this one; repeat it for more."),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("from" = Option<String>, Query, description = "A day before `to`, if not given."),
        ("to" = Option<String>, Query, description = "Now, if not given."),
        ("points" = Option<u32>, Query, description = "The most prices of a series: 5 to 5000; 500 if not given."),
    ),
    responses((status = OK, body = OutcomeSeries, description = "The series."), HistoryRefusals, Refusals),
)]
pub(super) async fn outcome_series(
    State(app): State<Arc<AppState>>,
    _: Caller,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Wanted { query, points } = Wanted::read(query, (app.clock)())?;
    let (from, to) = (query.from, query.to);
    let history = store(&app)?.price_history(query).await.inspect_err(|error| app.metrics.count_damage(error))?;
    let write = move || serde_json::to_string(&answer(&history, from, to, points)).expect("plain values");
    Ok(json_answer(&headers, "private, no-cache", write).await)
}

fn answer(history: &PriceHistory, from: Timestamp, to: Timestamp, points: usize) -> OutcomeSeries {
    let series = history.series(from, points).into_iter().map(|series| {
        let (times, prices) = series.prices.into_iter().map(|(at, price)| (at.as_millis(), price)).unzip();
        BookmakerSeries { region: series.region, bookmaker: series.bookmaker, times, prices }
    });
    let regions = history.regions.iter().map(|recorded| RegionTime {
        region: recorded.region,
        // A quote that was valid when the time began may be from before an earlier gap.
        gaps: recorded
            .gaps
            .iter()
            .filter(|gap| gap.until > from)
            .map(|gap| GapTime { from: gap.from, until: gap.until })
            .collect(),
        cursor: recorded.newest.map(|(_, cursor)| cursor),
        recorded_until: recorded.newest.map(|(at, _)| at),
    });
    OutcomeSeries { from, to, series: series.collect(), regions: regions.collect() }
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
    fn most_parameters_have_defaults() {
        let Wanted { query, points } = read("event=e&market=h2h&outcome=Home&region=uk&region=uk").unwrap();
        assert_eq!((query.to.to_string().as_str(), points), ("2026-11-21T12:00:00Z", 500));
        assert_eq!((query.to.millis_since(query.from), &query.regions), (super::super::DAY_MS, &vec![Region::Uk]));
        assert_eq!(query.outcome, Some(OutcomeKey { name: "Home".into(), point: None, description: None }));
    }

    #[test]
    fn the_wrong_parameter_is_named() {
        let good = "event=e&market=h2h&outcome=Home";
        for (more, field) in [
            ("&points=4", "points"),
            ("&points=5001", "points"),
            ("&points=many", "points"),
            ("&region=fr", "region"),
            ("&bookmaker=a b", "bookmaker"),
            ("&point=x", "point"),
            ("&from=yesterday", "from"),
            ("&from=2026-11-22T12:00:00Z", "from"),
            ("&from=2026-10-01T12:00:00Z", "from"),
            ("&to=soon", "to"),
            ("&sport=x", "query"),
        ] {
            let Err(ApiError::Invalid { field: named, .. }) = read(&format!("{good}{more}")) else { panic!("{more}") };
            assert_eq!(named, field, "{more}");
        }
        for field in ["event", "market", "outcome"] {
            let without: Vec<&str> = good.split('&').filter(|pair| !pair.starts_with(field)).collect();
            let Err(ApiError::Invalid { field: named, .. }) = read(&without.join("&")) else { panic!("{field}") };
            assert_eq!(named, field);
        }
    }
}
