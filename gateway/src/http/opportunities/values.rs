//! Serves value: prices that are better than what all bookmakers, or a chosen one, think of the outcome.

use std::sync::Arc;

use ::odds::{BookmakerKey, Decimal, MarketKey, Timestamp};
use axum::{
    extract::{Query, State},
    response::Response,
};
use http::HeaderMap;
use market::{edge, kelly};
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

const LEAST_EDGE: f64 = 1.0;
const FEWEST_BOOKMAKERS: usize = 3;
/// More than any line has.
const MOST_BOOKMAKERS: usize = 1_000;

#[derive(Debug)]
struct WantedValues {
    common: Wanted,
    /// Whose opinion counts, instead of the consensus.
    sharp: Option<BookmakerKey>,
    /// Per cent.
    least_edge: f64,
    fewest_bookmakers: usize,
}

impl WantedValues {
    fn read(query: Vec<(String, String)>) -> Result<Self, ApiError> {
        let (mut sharp, mut least_edge, mut fewest_bookmakers) = (None, LEAST_EDGE, FEWEST_BOOKMAKERS);
        let known = "region, sport, event, market, bookmaker, commission, sharp, min_edge, min_bookmakers or limit";
        let common = Wanted::read(query, known, |field, value| {
            match field {
                "sharp" => sharp = Some(parsed(field, value)?),
                "min_edge" => least_edge = parsed(field, value)?,
                "min_bookmakers" => fewest_bookmakers = parsed(field, value)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if !(0.0..=1e6).contains(&least_edge) {
            return Err(invalid("min_edge", "expected per cent, 0 or more"));
        }
        if fewest_bookmakers > MOST_BOOKMAKERS {
            return Err(invalid("min_bookmakers", &format!("expected at most {MOST_BOOKMAKERS}")));
        }
        Ok(Self { common, sharp, least_edge, fewest_bookmakers })
    }
}

/// Value at the live prices of one moment.
#[derive(Serialize, ToSchema)]
struct Values {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    regions: Vec<LiveRegion>,
    /// The greatest edges first.
    values: Vec<Found>,
}

/// A price that is better than the outcome's probability.
#[derive(Serialize, ToSchema)]
#[schema(as = Value)]
struct Found {
    event: EventHead,
    #[schema(value_type = String)]
    market: MarketKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
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
    /// By the consensus, or by the sharp bookmaker, without margins.
    probability: f64,
    /// How many bookmakers the line has.
    bookmakers: usize,
    /// What the bet wins on average for each unit staked, if the probability is right.
    edge: f64,
    /// The share of all money that Kelly's rule stakes.
    kelly: f64,
    #[serde(flatten)]
    age: Age,
}

/// Returns the prices of this moment that are better than what all bookmakers together think of the outcome, without
/// their margins, or what a `sharp` bookmaker thinks.
#[utoipa::path(
    get, path = "/api/opportunities/values", tag = "opportunities", security(("session" = []), ("token" = [])),
    params(
        ("region" = Option<Vec<RegionKey>>, Query, description = "Only this one; repeat it for more."),
        ("sport" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("event" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("market" = Option<Vec<String>>, Query, description = "Only this one; repeat it for more."),
        ("bookmaker" = Option<Vec<String>>, Query, description = "Only bets here; repeat it for more."),
        ("commission" = Option<f64>, Query, description = "What exchanges keep of what a bet wins, in per cent; 0."),
        ("sharp" = Option<String>, Query, description = "The bookmaker to compare with, instead of the consensus."),
        ("min_edge" = Option<f64>, Query, description = "Per cent; 1 if not given."),
        (
            "min_bookmakers" = Option<u32>, Query,
            description = "Only lines of so many bookmakers; 3 if not given. With `sharp`, it does not count.",
        ),
        ("limit" = Option<u32>, Query, description = "The most prices: 1 to 200; 50 if not given."),
    ),
    responses((status = OK, body = Values, description = "The best first."), Refusals),
)]
pub(super) async fn values(
    State(app): State<Arc<AppState>>,
    caller: Caller,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = WantedValues::read(query)?;
    let turn = app.analysis_turns.take(&caller.user.id)?;
    let live = LiveLines::now(&app, &wanted.common.regions).await;
    let write = move || {
        // Also if the client goes away meanwhile.
        let _turn = turn;
        let values = wanted.find(&live);
        let answer = Values { at: live.at, regions: live.regions.clone(), values };
        serde_json::to_string(&answer).expect("plain values")
    };
    Ok(json_answer(&headers, "private, no-cache", write).await)
}

impl WantedValues {
    fn find(&self, live: &LiveLines) -> Vec<Found> {
        let Wanted { filter, limit, .. } = &self.common;
        let mut all: Vec<Found> = Vec::new();
        for (event, line) in live.admitted(filter) {
            if let Some(probabilities) = self.probabilities(line) {
                self.add(event, line, &probabilities, &mut all);
            }
        }
        all.sort_by(|a, b| b.edge.total_cmp(&a.edge));
        all.truncate(*limit);
        all
    }

    /// What the outcomes of a line are compared with.
    fn probabilities(&self, line: &LiveLine) -> Option<Vec<f64>> {
        match &self.sharp {
            Some(sharp) => line.line.opinion_of(sharp),
            None => {
                let consensus = line.consensus.as_ref().filter(|it| it.bookmakers >= self.fewest_bookmakers)?;
                Some(consensus.probabilities.clone())
            }
        }
    }

    fn add(&self, event: &LiveEvent, LiveLine { line, consensus }: &LiveLine, fair: &[f64], all: &mut Vec<Found>) {
        let Wanted { filter, commission, .. } = &self.common;
        for (outcome, probability) in line.outcomes.iter().zip(fair) {
            for (bookmaker, price) in &outcome.prices {
                let net = commission.net(bookmaker, *price);
                let edge = edge(net, *probability);
                let is_wanted = filter.admits_quote(bookmaker, &line.market) && self.sharp.as_ref() != Some(bookmaker);
                let is_enough = edge > 0.0 && edge * 100.0 >= self.least_edge;
                if !(is_wanted && is_enough) {
                    continue;
                }
                all.push(Found {
                    event: event.head.clone(),
                    market: line.market.clone(),
                    description: line.description.clone(),
                    outcome: outcome.name.clone(),
                    point: outcome.point,
                    bookmaker: bookmaker.clone(),
                    price: *price,
                    net,
                    probability: *probability,
                    bookmakers: consensus.as_ref().map_or(0, |it| it.bookmakers),
                    edge,
                    kelly: kelly(net, *probability),
                    age: event.age(bookmaker, &line.market),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wrong_parameter_is_named() {
        let read = |query: &[(&str, &str)]| {
            WantedValues::read(query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        for (query, field) in [
            (&[("sharp", "a b")][..], "sharp"),
            (&[("min_edge", "-1")], "min_edge"),
            (&[("min_edge", "NaN")], "min_edge"),
            (&[("min_bookmakers", "few")], "min_bookmakers"),
            (&[("min_bookmakers", "2147483648")], "min_bookmakers"),
            (&[("total", "100")], "query"),
        ] {
            let Err(ApiError::Invalid { field: named, .. }) = read(query) else { panic!("{query:?}") };
            assert_eq!(named, field, "{query:?}");
        }
        assert_eq!(read(&[("sharp", "pinnacle")]).unwrap().sharp.unwrap().as_str(), "pinnacle");
    }
}
