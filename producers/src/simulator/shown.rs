//! Compares a board with the simulator's true odds: independent code converts each to a common form.

use std::collections::{BTreeMap, BTreeSet};

use client::Mirror;
use odds::{Board, Decimal, Details, Event, EventId, Outcome, Outcomes, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// The visible content of a board without the times of its prices: details and quotes by event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown(BTreeMap<EventId, ShownEvent>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct ShownEvent {
    details: Details,
    /// Outcomes by bookmaker and market.
    quotes: BTreeMap<(String, String), Outcomes>,
}

impl Shown {
    pub fn of_board(board: &Board) -> Self {
        let event = |id: &EventId| {
            let image = board.image(id, Timestamp::from_millis(0)).expect("the id is from the board");
            let quotes = image.quotes.into_iter();
            let quotes = quotes
                .map(|((bookmaker, market), quote)| ((bookmaker.to_string(), market.to_string()), quote.outcomes));
            (id.clone(), ShownEvent { details: image.details, quotes: quotes.collect() })
        };
        Self(board.event_ids().map(event).collect())
    }

    pub fn of_mirror(mirror: &Mirror) -> Self {
        let event = |(id, event): (&EventId, &Event)| {
            let quotes = event.quotes.iter();
            let quotes = quotes
                .map(|((bookmaker, market), it)| ((bookmaker.to_string(), market.to_string()), it.outcomes.clone()));
            (id.clone(), ShownEvent { details: event.details.clone(), quotes: quotes.collect() })
        };
        Self(mirror.events().iter().map(event).collect())
    }

    /// Converts the simulator's true odds, without the code that parses an odds API's answers.
    pub fn of_truth(truth: &Value) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Event {
            id: EventId,
            #[serde(flatten)]
            details: Details,
            bookmakers: Vec<Bookmaker>,
        }
        #[derive(Deserialize)]
        struct Bookmaker {
            key: String,
            markets: Vec<Market>,
        }
        #[derive(Deserialize)]
        struct Market {
            key: String,
            outcomes: Vec<Value>,
        }
        // Parsed from text, so that prices keep their exact decimals.
        let events: Vec<Event> = serde_json::from_str(&truth["events"].to_string())?;
        let mut shown = BTreeMap::new();
        for event in events {
            let mut quotes = BTreeMap::new();
            for bookmaker in event.bookmakers {
                for market in bookmaker.markets {
                    let outcomes = market.outcomes.iter().map(outcome).collect::<serde_json::Result<_>>()?;
                    quotes.insert((bookmaker.key.clone(), market.key), Outcomes::new(outcomes));
                }
            }
            shown.insert(event.id, ShownEvent { details: event.details, quotes });
        }
        Ok(Self(shown))
    }

    /// Describes up to `at_most` events that differ.
    pub fn differences(&self, other: &Self, at_most: usize) -> Vec<String> {
        let ids: BTreeSet<&EventId> = self.0.keys().chain(other.0.keys()).collect();
        let differ = ids.into_iter().filter(|id| self.0.get(*id) != other.0.get(*id));
        differ.take(at_most).map(|id| format!("{id}: {:?} is not {:?}", self.0.get(id), other.0.get(id))).collect()
    }
}

fn outcome(value: &Value) -> serde_json::Result<Outcome> {
    #[derive(Deserialize)]
    struct Plain {
        name: String,
        price: Decimal,
        point: Option<Decimal>,
    }
    let Plain { name, price, point } = serde_json::from_str(&value.to_string())?;
    Ok(Outcome { name, price, point, description: None })
}
