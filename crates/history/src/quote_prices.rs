//! Collects the prices of a quote's outcomes, value by value.

use odds::{BookmakerKey, Decimal, MarketKey, Outcome, Region, Timestamp};

use crate::{OutcomeKey, PriceAt, Series, series::ended_by};

/// The prices of a quote's outcomes, or of the wanted one, at each time when the quote changed.
#[derive(Debug)]
pub(crate) struct QuotePrices {
    takes_all: bool,
    outcomes: Vec<(OutcomeKey, Vec<PriceAt>)>,
}

impl QuotePrices {
    pub(crate) fn new(wanted: Option<&OutcomeKey>) -> Self {
        let outcomes = wanted.map(|wanted| (wanted.clone(), Vec::new()));
        Self { takes_all: wanted.is_none(), outcomes: outcomes.into_iter().collect() }
    }

    /// Adds what the quote was from a time on: each of its outcomes has the price at the same place.
    pub(crate) fn add(&mut self, at: Timestamp, outcomes: &[Outcome], prices: &[Decimal]) {
        let mut found = 0;
        for (n, (key, known)) in self.outcomes.iter_mut().enumerate() {
            // Mostly, nothing but prices has changed.
            let is_there = outcomes.get(n).is_some_and(|outcome| key.is(outcome));
            let place = if is_there { Some(n) } else { outcomes.iter().position(|outcome| key.is(outcome)) };
            found += usize::from(place.is_some());
            known.push((at, place.map(|place| prices[place])));
        }
        if !self.takes_all || found == outcomes.len() {
            return;
        }
        for (outcome, price) in outcomes.iter().zip(prices) {
            if !self.outcomes.iter().any(|(key, _)| key.is(outcome)) {
                self.outcomes.push((OutcomeKey::of(outcome), vec![(at, Some(*price))]));
            }
        }
    }

    /// The time of the first value.
    pub(crate) fn begins(&self) -> Option<Timestamp> {
        self.outcomes.iter().filter_map(|(_, prices)| prices.first()).map(|(at, _)| *at).min()
    }

    /// The series of each outcome. The event was removed at these times.
    pub(crate) fn series(
        self,
        region: Region,
        bookmaker: &BookmakerKey,
        market: &MarketKey,
        removals: &[Timestamp],
    ) -> impl Iterator<Item = Series> {
        self.outcomes.into_iter().filter(|(_, prices)| !prices.is_empty()).map(move |(outcome, prices)| Series {
            region,
            bookmaker: bookmaker.clone(),
            market: market.clone(),
            outcome,
            prices: ended_by(removals, prices),
        })
    }
}
