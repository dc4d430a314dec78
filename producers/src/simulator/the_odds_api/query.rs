//! The parameters of the odds endpoints, validated like upstream's.

use std::{collections::HashMap, str::FromStr};

use axum::http::StatusCode;
use odds::{Region, Timestamp};
use serde_json::{Value, json};

use super::Refusal;
use crate::simulator::{
    catalogue::Sport,
    world::{Event, World},
};

const MARKETS: [&str; 5] = ["h2h", "h2h_lay", "outrights", "spreads", "totals"];

#[derive(Debug)]
pub(super) struct OddsQuery {
    regions: Vec<Region>,
    bookmakers: Option<Vec<String>>,
    markets: Vec<String>,
    american: bool,
    unix: bool,
    events: Option<Vec<String>>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl OddsQuery {
    pub(super) fn read(query: &HashMap<String, String>, with_odds: bool) -> Result<Self, Refusal> {
        let invalid = |code, text: String| Refusal(StatusCode::UNPROCESSABLE_ENTITY, code, text);
        let list = |name: &str| -> Option<Vec<String>> {
            query.get(name).filter(|text| !text.is_empty()).map(|text| text.split(',').map(str::to_owned).collect())
        };
        let moment = |name: &str| match query.get(name) {
            None => Ok(None),
            Some(text) => Timestamp::from_str(text)
                .map(Some)
                .map_err(|_| invalid("INVALID_COMMENCE_TIME", format!("Invalid {name}: {text}"))),
        };
        let one_of = |name: &str, code, known: [&'static str; 2]| match query.get(name).map(String::as_str) {
            None => Ok(false),
            Some(text) if text == known[0] => Ok(false),
            Some(text) if text == known[1] => Ok(true),
            Some(text) => Err(invalid(code, format!("Invalid {name}: {text}"))),
        };
        let bookmakers = list("bookmakers");
        let mut regions = Vec::new();
        for text in list("regions").unwrap_or_default() {
            regions.push(text.parse().map_err(|_| invalid("INVALID_REGION", format!("Invalid region: {text}")))?);
        }
        if with_odds && regions.is_empty() && bookmakers.is_none() {
            return Err(invalid("MISSING_REGION", "Missing one of the parameters: regions, bookmakers".into()));
        }
        if bookmakers.is_some() {
            // Bookmakers that are named are returned whatever their region.
            regions = Region::ALL.to_vec();
        }
        let markets = list("markets").unwrap_or_else(|| vec!["h2h".to_owned()]);
        if let Some(market) = markets.iter().find(|market| !MARKETS.contains(&market.as_str())) {
            return Err(invalid("INVALID_MARKET", format!("Invalid markets: {market}")));
        }
        Ok(Self {
            regions,
            bookmakers,
            markets,
            american: one_of("oddsFormat", "INVALID_ODDS_FORMAT", ["decimal", "american"])?,
            unix: one_of("dateFormat", "INVALID_DATE_FORMAT", ["iso", "unix"])?,
            events: list("eventIds"),
            from: moment("commenceTimeFrom")?,
            to: moment("commenceTimeTo")?,
        })
    }

    /// The cost: markets times regions. Ten named bookmakers count as one region.
    pub(super) fn cost(&self) -> f64 {
        let regions = match &self.bookmakers {
            Some(bookmakers) => bookmakers.len().div_ceil(10),
            None => self.regions.len(),
        };
        (self.markets.len() * regions) as f64
    }

    pub(super) fn wants_event(&self, event: &Event) -> bool {
        self.events.as_ref().is_none_or(|ids| ids.contains(&event.id))
            && self.from.is_none_or(|from| event.commence_time >= from)
            && self.to.is_none_or(|to| event.commence_time <= to)
    }

    /// The requested events of a sport, with the bookmakers of all requested regions.
    pub(super) fn events(&self, world: &World, sport: &'static Sport, now: Timestamp) -> Vec<Event> {
        let mut merged: Vec<Event> = Vec::new();
        for &region in &self.regions {
            for event in world.events(sport, region, now) {
                match merged.iter_mut().find(|known| known.id == event.id) {
                    None => merged.push(event),
                    Some(known) => {
                        let new = event.bookmakers.into_iter();
                        let new: Vec<_> =
                            new.filter(|it| known.bookmakers.iter().all(|known| known.key != it.key)).collect();
                        known.bookmakers.extend(new);
                    }
                }
            }
        }
        merged.retain(|event| self.wants_event(event));
        for event in &mut merged {
            event.bookmakers.retain_mut(|bookmaker| {
                bookmaker.markets.retain(|market| self.wants_market(market.key));
                let named = self.bookmakers.as_ref().is_none_or(|keys| keys.iter().any(|key| key == bookmaker.key));
                named && !bookmaker.markets.is_empty()
            });
        }
        merged
    }

    /// Whether a market is returned. An exchange's lay prices always come with its h2h market.
    fn wants_market(&self, key: &str) -> bool {
        self.markets.iter().any(|market| market == key || (market == "h2h" && key == "h2h_lay"))
    }

    pub(super) fn write(&self, event: &Event) -> Value {
        let mut value = json!(event);
        if self.unix {
            let seconds = |time: Timestamp| json!(time.as_millis() / 1000);
            value["commence_time"] = seconds(event.commence_time);
            for (n, bookmaker) in event.bookmakers.iter().enumerate() {
                value["bookmakers"][n]["last_update"] = seconds(bookmaker.last_update);
                for (m, market) in bookmaker.markets.iter().enumerate() {
                    value["bookmakers"][n]["markets"][m]["last_update"] = seconds(market.last_update);
                }
            }
        }
        if self.american {
            for (n, bookmaker) in event.bookmakers.iter().enumerate() {
                for (m, market) in bookmaker.markets.iter().enumerate() {
                    for (o, outcome) in market.outcomes.iter().enumerate() {
                        value["bookmakers"][n]["markets"][m]["outcomes"][o]["price"] = json!(outcome.price.american());
                    }
                }
            }
        }
        value
    }
}
