//! Collects the prices of one event in one region from rows.

use std::collections::HashMap;

use odds::{BookmakerKey, Decimal, MarketKey, Outcome, Region, Timestamp};

use super::{
    encoding::{Damage, decode_event, names},
    known_names::KnownNames,
    layout::{EVENT, REMOVED},
    reader::ReadError,
    server::Text,
    sql::time,
};
use crate::{HistoryError, PriceQuery, Series, quote_prices::QuotePrices, series::ValuesLeft};

/// The time, market, bookmaker, names and content of a change. The names may be a number: see [`KnownNames`].
pub(super) type ChangeRow<'a> = (i64, Text<'a>, Text<'a>, Option<Text<'a>>, Text<'a>);

pub(super) struct EventPrices<'q> {
    pub(super) query: &'q PriceQuery,
    quotes: Vec<QuoteSeries>,
    /// Where a quote is in `quotes`, by its keys as rows have them. `None` if it is not wanted.
    places: HashMap<String, Option<usize>>,
    /// The keys that were looked up last. The buffer is used again for each row, like the one of `prices`.
    key: String,
    prices: Vec<Decimal>,
    pub(super) names: KnownNames,
    /// When the event was removed. That ends its quotes.
    removals: Vec<Timestamp>,
    left: &'q ValuesLeft,
}

struct QuoteSeries {
    bookmaker: BookmakerKey,
    market: MarketKey,
    prices: QuotePrices,
}

impl<'q> EventPrices<'q> {
    pub(super) fn new(query: &'q PriceQuery, left: &'q ValuesLeft) -> Self {
        Self {
            query,
            quotes: Vec::new(),
            places: HashMap::new(),
            key: String::new(),
            prices: Vec::new(),
            names: KnownNames::default(),
            removals: Vec::new(),
            left,
        }
    }

    pub(super) fn add_board(&mut self, at: Timestamp, content: &str) -> Result<(), HistoryError> {
        let (_, quotes) = decode_event(content, at).map_err(ReadError::from)?;
        for quote in quotes {
            let place = self.place(quote.bookmaker.as_str(), quote.market.as_str()).map_err(ReadError::from)?;
            if place.is_some() {
                let outcomes = quote.outcomes.to_vec();
                self.names.find(Some(&names(&outcomes))).map_err(ReadError::from)?;
                add(&mut self.quotes, place, self.left, at, &outcomes, &mut self.prices)?;
            }
        }
        Ok(())
    }

    pub(super) fn add_change(
        &mut self,
        (micros, market, bookmaker, names, content): &ChangeRow<'_>,
    ) -> Result<(), HistoryError> {
        let at = time(*micros);
        if **market == *EVENT {
            if **content == *REMOVED {
                self.removals.push(at);
            }
            return Ok(());
        }
        let place = self.place(bookmaker, market).map_err(ReadError::from)?;
        let names = self.names.find(names.as_deref()).map_err(ReadError::from)?;
        names.read_quote(content, at).map_err(ReadError::from)?;
        add(&mut self.quotes, place, self.left, at, names.outcomes(), &mut self.prices)
    }

    /// The place of a quote, or `None` if it is not wanted.
    fn place(&mut self, bookmaker: &str, market: &str) -> Result<Option<usize>, Damage> {
        // Keys contain no spaces.
        self.key.clear();
        self.key.extend([bookmaker, " ", market]);
        if let Some(place) = self.places.get(&self.key) {
            return Ok(*place);
        }
        let bookmaker: BookmakerKey = bookmaker.parse().map_err(|_| Damage)?;
        let market: MarketKey = market.parse().map_err(|_| Damage)?;
        let place = self.query.wants(&bookmaker, &market).then_some(self.quotes.len());
        if place.is_some() {
            let prices = QuotePrices::new(self.query.outcome.as_ref());
            self.quotes.push(QuoteSeries { bookmaker, market, prices });
        }
        self.places.insert(self.key.clone(), place);
        Ok(place)
    }

    pub(super) fn finish(self, region: Region) -> Vec<Series> {
        let Self { mut quotes, removals, .. } = self;
        quotes.sort_by(|a, b| (&a.bookmaker, &a.market).cmp(&(&b.bookmaker, &b.market)));
        let mut all = Vec::new();
        for QuoteSeries { bookmaker, market, prices } in quotes {
            all.extend(prices.series(region, &bookmaker, &market, &removals));
        }
        all
    }
}

/// Adds a value of a quote, if it is wanted.
fn add(
    quotes: &mut [QuoteSeries],
    place: Option<usize>,
    left: &ValuesLeft,
    at: Timestamp,
    outcomes: &[Outcome],
    prices: &mut Vec<Decimal>,
) -> Result<(), HistoryError> {
    let Some(place) = place else { return Ok(()) };
    left.take()?;
    prices.clear();
    prices.extend(outcomes.iter().map(|outcome| outcome.price));
    quotes[place].prices.add(at, outcomes, prices);
    Ok(())
}
