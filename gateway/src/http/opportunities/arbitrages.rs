//! Serves arbitrages: bets on all outcomes of a line that win together.

use std::sync::Arc;

use ::odds::{BookmakerKey, Decimal, Filter, MarketKey, Timestamp};
use axum::{
    extract::{Query, State},
    response::Response,
};
use http::HeaderMap;
use market::{Arbitrage, Line};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Wanted,
    live::{Age, LiveEvent, LiveLine, LiveLines, LiveRegion},
};
use crate::{
    http::{
        caller::Caller,
        error::{ApiError, Refusals},
        history::{EventHead, invalid, json_answer, parsed},
        subscriptions::RegionKey,
    },
    session::AppState,
};

const TOTAL: f64 = 100.0;
const MOST_TOTAL: f64 = 1e9;
const ROUND_TO: f64 = 1.0;
const FINEST: f64 = 0.01;

#[derive(Debug)]
struct WantedArbitrages {
    common: Wanted,
    /// What all bets are to cost together, about.
    total: f64,
    /// Stakes are multiples of this.
    round_to: f64,
}

impl WantedArbitrages {
    fn read(query: Vec<(String, String)>) -> Result<Self, ApiError> {
        let (mut total, mut round_to) = (TOTAL, ROUND_TO);
        let known = "region, sport, event, market, bookmaker, commission, total, round_to or limit";
        let common = Wanted::read(query, known, |field, value| {
            match field {
                "total" => total = parsed(field, value)?,
                "round_to" => round_to = parsed(field, value)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if !(FINEST..=MOST_TOTAL).contains(&total) {
            return Err(invalid("total", &format!("expected {FINEST} to {MOST_TOTAL}")));
        }
        if !(FINEST..=total).contains(&round_to) {
            return Err(invalid("round_to", &format!("expected {FINEST} to the total")));
        }
        Ok(Self { common, total, round_to })
    }
}

/// Arbitrages at the live prices of one moment.
#[derive(Serialize, ToSchema)]
struct Arbitrages {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    regions: Vec<LiveRegion>,
    /// Those that win most for each unit staked first.
    arbitrages: Vec<Found>,
}

/// Bets on all outcomes of a line that win together.
#[derive(Serialize, ToSchema)]
#[schema(as = Arbitrage)]
struct Found {
    event: EventHead,
    #[schema(value_type = String)]
    market: MarketKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// What they win for each unit staked, if no stake is rounded.
    rate: f64,
    /// What they cost together.
    total: f64,
    /// What they win at least.
    win: f64,
    legs: Vec<Bet>,
}

/// A bet of an arbitrage.
#[derive(Serialize, ToSchema)]
#[schema(as = ArbitrageLeg)]
struct Bet {
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, nullable = false)]
    point: Option<Decimal>,
    #[schema(value_type = String)]
    bookmaker: BookmakerKey,
    #[schema(value_type = f64)]
    price: Decimal,
    /// What is paid back for each unit staked, after the commission.
    net: f64,
    stake: f64,
    #[serde(flatten)]
    age: Age,
}

/// Returns the arbitrages at the live prices of this moment: bets on all outcomes of a line that win together, however
/// the event ends, with their stakes for a total. Those that win nothing once their stakes are rounded are left out.
#[utoipa::path(
    get, path = "/api/opportunities/arbitrages", tag = "opportunities", security(("session" = []), ("token" = [])),
    params(
        ("region" = Option<Vec<RegionKey>>, Query, description = "Only this one; repeat it for more."),
        ("sport" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("event" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("market" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only bets here; repeat it for more."),
        ("commission" = Option<f64>, Query, description = "What exchanges keep of what a bet wins, in per cent; 0."),
        ("total" = Option<f64>, Query, description = "What all bets are to cost together; 100."),
        ("round_to" = Option<f64>, Query, description = "Stakes are multiples of this; 1."),
        ("limit" = Option<u32>, Query, description = "The most arbitrages: 1 to 200; 50 if not given."),
    ),
    responses((status = OK, body = Arbitrages, description = "The best first."), Refusals),
)]
pub(super) async fn arbitrages(
    State(app): State<Arc<AppState>>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = WantedArbitrages::read(query)?;
    let turn = app.analysis_turns.take(&caller.user.id)?;
    let live = LiveLines::now(&app, &wanted.common.regions).await;
    let write = move || {
        // Also if the client goes away meanwhile.
        let _turn = turn;
        let arbitrages = wanted.find(&live);
        let answer = Arbitrages { at: live.at, regions: live.regions.clone(), arbitrages };
        serde_json::to_string(&answer).expect("plain values")
    };
    Ok(json_answer(&headers, "private, no-cache", write).await)
}

impl WantedArbitrages {
    fn find(&self, live: &LiveLines) -> Vec<Found> {
        let Wanted { filter, commission, limit, .. } = &self.common;
        let mut all: Vec<Found> = Vec::new();
        for (event, LiveLine { line, .. }) in live.admitted(filter) {
            let admitted = at_admitted(line, filter);
            let line = admitted.as_ref().unwrap_or(line);
            all.extend(line.arbitrage(*commission).and_then(|it| self.found(event, line, &it)));
        }
        all.sort_by(|a, b| b.rate.total_cmp(&a.rate));
        all.truncate(*limit);
        all
    }

    /// `None` if it wins nothing with rounded stakes.
    fn found(&self, event: &LiveEvent, line: &Line, arbitrage: &Arbitrage) -> Option<Found> {
        let stakes = arbitrage.stakes(self.total, self.round_to);
        let legs = arbitrage.legs.iter().zip(&stakes.stakes).map(|(leg, stake)| {
            let outcome = &line.outcomes[leg.outcome];
            Bet {
                outcome: outcome.name.clone(),
                point: outcome.point,
                bookmaker: leg.bookmaker.clone(),
                price: leg.price,
                net: leg.net,
                stake: *stake,
                age: event.age(&leg.bookmaker, &line.market),
            }
        });
        (stakes.win > 0.0).then(|| Found {
            event: event.head.clone(),
            market: line.market.clone(),
            description: line.description.clone(),
            rate: arbitrage.rate,
            total: stakes.total,
            win: stakes.win,
            legs: legs.collect(),
        })
    }
}

/// The line at the bookmakers that a filter admits, if it does not admit all of them.
fn at_admitted(line: &Line, filter: &Filter) -> Option<Line> {
    let admits = |bookmaker: &BookmakerKey| filter.admits_quote(bookmaker, &line.market);
    let bookmakers = &line.outcomes.first()?.prices;
    if bookmakers.keys().all(admits) {
        return None;
    }
    let mut line = line.clone();
    for outcome in &mut line.outcomes {
        outcome.prices.retain(|bookmaker, _| filter.admits_quote(bookmaker, &line.market));
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrong_parameter_is_named() {
        let read = |query: &[(&str, &str)]| {
            WantedArbitrages::read(
                query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            )
        };
        for (query, field) in [
            (&[("region", "fr")][..], "region"),
            (&[("commission", "100")], "commission"),
            (&[("commission", "NaN")], "commission"),
            (&[("total", "0")], "total"),
            (&[("total", "NaN")], "total"),
            (&[("total", "10"), ("round_to", "20")], "round_to"),
            (&[("limit", "201")], "limit"),
            (&[("sport", "a b")], "sport"),
            (&[("min_edge", "1")], "query"),
        ] {
            let Err(ApiError::Invalid { field: named, .. }) = read(query) else { panic!("{query:?}") };
            assert_eq!(named, field, "{query:?}");
        }
        assert_eq!(read(&[]).unwrap().common.regions.len(), 4);
    }
}
