//! The digest that frames carry for clients that ask: a number that a client can compute from its own board, in any
//! language. PROTOCOL.md defines it.

use std::{collections::HashMap, fmt::Write};

use super::frames::INFALLIBLE;
use crate::{BookmakerKey, Change, Decimal, Details, EventId, MarketKey, QuoteChange};

/// The digest of a client's board. It is updated with each change.
///
/// It is the sum, modulo 2^32, of a number of each event's details and of each quote. A sum doesn't depend on the order,
/// and an item that goes is subtracted, so the number of each item is kept. It guards against mistakes, not against
/// forgery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameDigest {
    events: HashMap<EventId, Items>,
    sum: u32,
}

/// The numbers of an event's items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Items {
    details: u32,
    quotes: HashMap<(BookmakerKey, MarketKey), u32>,
}

impl FrameDigest {
    /// The digest of a board that a client gets by these changes.
    pub fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut this = Self::default();
        changes.into_iter().for_each(|change| this.apply(&change));
        this
    }

    pub fn value(&self) -> u32 {
        self.sum
    }

    pub fn apply(&mut self, change: &Change) {
        let Change::Changed { id, details, quotes } = change else {
            let items = self.events.remove(change.id()).unwrap_or_default();
            let gone = items.quotes.values().chain([&items.details]);
            self.sum = gone.fold(self.sum, |sum, number| sum.wrapping_sub(*number));
            return;
        };
        let items = self.events.entry(id.clone()).or_default();
        if let Some(details) = details {
            let number = number_of_details(id, details);
            self.sum = self.sum.wrapping_sub(items.details).wrapping_add(number);
            items.details = number;
        }
        for quote in quotes {
            let key = (quote.bookmaker.clone(), quote.market.clone());
            let number = (!quote.outcomes.is_empty()).then(|| number_of_quote(id, quote));
            let before = match number {
                Some(number) => items.quotes.insert(key, number),
                None => items.quotes.remove(&key),
            };
            self.sum = self.sum.wrapping_sub(before.unwrap_or_default()).wrapping_add(number.unwrap_or_default());
        }
    }
}

fn number_of_details(id: &EventId, details: &Details) -> u32 {
    let Details { sport_key, sport_title, commence_time, home_team, away_team } = details;
    let [home, away] = [home_team, away_team].map(|team| team.as_deref().unwrap_or_default());
    number(&format!("{id}\n{sport_key}\n{sport_title}\n{commence_time}\n{home}\n{away}\n"))
}

fn number_of_quote(id: &EventId, quote: &QuoteChange) -> u32 {
    let QuoteChange { bookmaker, market, last_update, outcomes } = quote;
    let mut text = format!("{id}\n{bookmaker}\n{market}\n{last_update}\n");
    for outcome in outcomes.to_vec() {
        let point = outcome.point.map(|point| millionths(point).to_string()).unwrap_or_default();
        let description = outcome.description.unwrap_or_default();
        let price = millionths(outcome.price);
        writeln!(text, "{}\n{price}\n{point}\n{description}", outcome.name).expect(INFALLIBLE);
    }
    number(&text)
}

/// Rounded half up, as a client computes it with the doubles that JSON is read as.
fn millionths(value: Decimal) -> i128 {
    let (mantissa, _) = value.parts();
    let value = match mantissa.unsigned_abs() < 1 << 53 {
        true => value.to_f64(),
        false => value.to_string().parse().expect("a decimal number"),
    };
    (value * 1e6 + 0.5).floor() as i128
}

/// The CRC-32 of the text, whose bits are then mixed: sums of checksums would not notice some texts that were swapped.
/// The mixing is that of MurmurHash3, and different checksums stay different.
fn number(text: &str) -> u32 {
    let mut number = crc32fast::hash(text.as_bytes());
    number ^= number >> 16;
    number = number.wrapping_mul(0x85eb_ca6b);
    number ^= number >> 13;
    number = number.wrapping_mul(0xc2b2_ae35);
    number ^ (number >> 16)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(value: &serde_json::Value) -> Change {
        serde_json::from_str(&value.to_string()).unwrap()
    }

    fn match_of_leeds(price: f64) -> Change {
        let outcomes = json!([{ "name": "Leeds", "price": price }, { "name": "York", "price": 1.8 }]);
        change(&json!({
            "id": "m1", "sport_key": "soccer_epl", "sport_title": "EPL", "commence_time": "2026-12-01T15:00:00Z",
            "home_team": "Leeds", "away_team": null,
            "quotes": [{
                "bookmaker": "coral", "market": "h2h", "last_update": "2026-11-30T10:00:00Z", "outcomes": outcomes,
            }],
        }))
    }

    #[test]
    fn it_is_that_of_the_board_whatever_led_there() {
        let other_price = change(&json!({
            "id": "m1",
            "quotes": [{
                "bookmaker": "coral", "market": "h2h", "last_update": "2026-11-30T10:00:00Z",
                "outcomes": [{ "name": "Leeds", "price": 2.1 }, { "name": "York", "price": 1.8 }],
            }],
        }));
        let mut changed = FrameDigest::of([match_of_leeds(2.0)]);
        assert_ne!(changed, FrameDigest::of([match_of_leeds(2.1)]));
        changed.apply(&other_price);
        assert_eq!(changed, FrameDigest::of([match_of_leeds(2.1)]));
        changed.apply(&match_of_leeds(2.1));
        assert_eq!(changed, FrameDigest::of([match_of_leeds(2.1)]));
        changed.apply(&change(&json!({
            "id": "m1",
            "quotes": [{ "bookmaker": "coral", "market": "h2h", "last_update": "2026-11-30T10:00:01Z", "outcomes": [] }],
        })));
        changed.apply(&change(&json!({ "id": "m1", "removed": true })));
        assert_eq!(changed, FrameDigest::default());
    }

    #[derive(serde::Deserialize)]
    struct Example {
        digest: u32,
        events: Vec<Change>,
    }

    #[test]
    fn the_protocols_examples_are_right() {
        let document = include_str!("../../../../PROTOCOL.md");
        let (_, rest) = document.split_once("```json\n").unwrap();
        let examples: Vec<Example> = serde_json::from_str(rest.split_once("```").unwrap().0).unwrap();
        let mut digest = FrameDigest::default();
        let found = examples.iter().map(|example| {
            example.events.iter().for_each(|change| digest.apply(change));
            digest.value()
        });
        assert_eq!(found.collect::<Vec<_>>(), examples.iter().map(|it| it.digest).collect::<Vec<_>>());
    }

    #[test]
    fn numbers_are_those_of_doubles() {
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        let all = ["2", "1.91", "-1.5", "0.0000005", "1.0000005", "-0.0000005", "3.33333333333333333"];
        assert_eq!(
            all.map(|text| millionths(decimal(text))),
            [2_000_000, 1_910_000, -1_500_000, 1, 1_000_001, 0, 3_333_333]
        );
    }
}
