//! Prices over time, as charts show them: a price stands until it changes.

use std::sync::atomic::{AtomicUsize, Ordering};

use odds::{BookmakerKey, Cursor, Decimal, EventId, MarketKey, Outcome, Region, Timestamp};

use crate::HistoryError;

/// How many values of quotes one query may still read.
#[derive(Debug)]
pub(crate) struct ValuesLeft(AtomicUsize);

impl ValuesLeft {
    const MOST: usize = 300_000;

    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(Self::MOST))
    }

    /// Counts a value that was read.
    pub(crate) fn take(&self) -> Result<(), HistoryError> {
        let less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).map(drop).map_err(|_| HistoryError::TooMuch)
    }
}

/// Which prices are wanted, and of which time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceQuery {
    pub event: EventId,
    /// All of them, if `None`.
    pub market: Option<MarketKey>,
    /// All of them, if `None`.
    pub outcome: Option<OutcomeKey>,
    pub regions: Vec<Region>,
    /// All of them, if empty.
    pub bookmakers: Vec<BookmakerKey>,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// What tells the outcomes of a market apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutcomeKey {
    pub name: String,
    pub point: Option<Decimal>,
    pub description: Option<String>,
}

/// What was recorded of prices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PriceHistory {
    /// The price at each step that changed its quote. It begins with the one that was valid when the wanted time began.
    pub quotes: Vec<Series>,
    pub regions: Vec<RecordedTime>,
}

/// Of which time a region was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedTime {
    pub region: Region,
    /// In the order of their times.
    pub gaps: Vec<Gap>,
    /// The times of steps of which the whole board was recorded, and not what they changed: what was there before and is
    /// not on that board has ended.
    pub whole_boards: Vec<Timestamp>,
    /// The newest recorded step: live changes go on from its cursor.
    pub newest: Option<(Timestamp, Cursor)>,
}

/// A time of which nothing is recorded, between two recorded steps. Without a step before it, it has no beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub from: Option<Timestamp>,
    pub until: Timestamp,
}

/// The price of an outcome at a bookmaker. `None`: there was no price, or it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub region: Region,
    pub bookmaker: BookmakerKey,
    pub market: MarketKey,
    pub outcome: OutcomeKey,
    pub prices: Vec<PriceAt>,
}

/// What a price did over time. Each price has the time from which on it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceSummary {
    /// The first one.
    pub opening: KnownPrice,
    /// The last one before the event's start. `None` if there was none yet.
    pub closing: Option<KnownPrice>,
    pub lowest: KnownPrice,
    pub highest: KnownPrice,
    /// How often it changed. A price that comes back counts if it is another one.
    pub changes: u64,
    pub last_change: Timestamp,
}

pub type KnownPrice = (Timestamp, Decimal);

/// A price from a time on.
pub type PriceAt = (Timestamp, Option<Decimal>);

impl PriceQuery {
    pub(crate) fn wants(&self, bookmaker: &BookmakerKey, market: &MarketKey) -> bool {
        self.market.as_ref().is_none_or(|wanted| wanted == market)
            && (self.bookmakers.is_empty() || self.bookmakers.contains(bookmaker))
    }
}

impl OutcomeKey {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        Self { name: outcome.name.clone(), point: outcome.point, description: outcome.description.clone() }
    }

    pub(crate) fn is(&self, outcome: &Outcome) -> bool {
        (&*self.name, self.point, self.description.as_deref()) == outcome.identity()
    }
}

impl Series {
    /// What the price did. `None` if there never was one.
    pub fn summary(&self, start: Option<Timestamp>) -> Option<PriceSummary> {
        let mut known = self.prices.iter().filter_map(|(at, price)| Some((*at, (*price)?)));
        let opening = known.next()?;
        let is_before = |at: Timestamp| start.is_none_or(|start| at <= start);
        let closing = is_before(opening.0).then_some(opening);
        let first =
            PriceSummary { opening, closing, lowest: opening, highest: opening, changes: 0, last_change: opening.0 };
        let (summary, _) = known.fold((first, opening.1), |(mut summary, last), (at, price)| {
            if price != last {
                summary.changes += 1;
                summary.last_change = at;
                summary.closing = if is_before(at) { Some((at, price)) } else { summary.closing };
            }
            if price < summary.lowest.1 {
                summary.lowest = (at, price);
            }
            if price > summary.highest.1 {
                summary.highest = (at, price);
            }
            (summary, price)
        });
        Some(summary)
    }
}

impl PriceHistory {
    /// The series of each bookmaker that had the outcome, with at most this many prices each.
    pub fn series(&self, from: Timestamp, points: usize) -> Vec<Series> {
        let series = |quote: &Series| {
            let recorded = self.regions.iter().find(|recorded| recorded.region == quote.region)?;
            let prices = clipped(changes(&quote.prices, recorded), from);
            let is_there = prices.iter().any(|(_, price)| price.is_some());
            let prices = thinned(prices, points);
            let Series { region, bookmaker, market, outcome, prices: _ } = quote;
            let (bookmaker, market, outcome) = (bookmaker.clone(), market.clone(), outcome.clone());
            is_there.then_some(Series { region: *region, bookmaker, market, outcome, prices })
        };
        self.quotes.iter().filter_map(series).collect()
    }
}

/// The prices in the order of their times, with an end where the event was removed after the first of them.
pub(crate) fn ended_by(removals: &[Timestamp], mut prices: Vec<PriceAt>) -> Vec<PriceAt> {
    let first = prices.iter().map(|(at, _)| *at).min();
    prices.extend(removals.iter().filter(|at| first.is_some_and(|first| first < **at)).map(|at| (*at, None)));
    prices.sort_by_key(|(at, _)| *at);
    prices
}

/// The price at each time when it changed. After the last step before a gap, it is unknown.
fn changes(known: &[PriceAt], recorded: &RecordedTime) -> Vec<PriceAt> {
    let after_gaps = recorded.gaps.iter().filter_map(|gap| Some((gap.from?.plus_millis(1), None)));
    let unknown = recorded.whole_boards.iter().map(|at| (*at, None)).chain(after_gaps);
    let mut all: Vec<PriceAt> = unknown.chain(known.iter().copied()).collect();
    // What is known at a time comes after what is not: the sort keeps their order.
    all.sort_by_key(|(at, _)| *at);
    let mut changes: Vec<PriceAt> = Vec::new();
    for (at, price) in all {
        changes.pop_if(|last| last.0 == at);
        if changes.last().map_or(price.is_some(), |last| last.1 != price) {
            changes.push((at, price));
        }
    }
    changes
}

/// What was valid when the wanted time began, and everything after it.
fn clipped(mut prices: Vec<PriceAt>, from: Timestamp) -> Vec<PriceAt> {
    let before = prices.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
    prices.drain(..before);
    if let Some(first) = prices.first_mut() {
        first.0 = first.0.max(from);
    }
    if prices.first().is_some_and(|first| first.1.is_none()) {
        prices.remove(0);
    }
    prices
}

/// Keeps the first, the last, the lowest and the highest of each of some equal times, and the first time without a
/// price.
fn thinned(prices: Vec<PriceAt>, points: usize) -> Vec<PriceAt> {
    const EACH: usize = 5;
    let (Some(first), Some(last)) = (prices.first(), prices.last()) else { return prices };
    if prices.len() <= points {
        return prices;
    }
    let count = (points / EACH).max(1) as i64;
    let (begin, span) = (first.0, last.0.millis_since(first.0) + 1);
    let mut kept = Vec::new();
    let mut rest = &prices[..];
    while let Some((at, _)) = rest.first() {
        let bucket = at.millis_since(begin) * count / span;
        // The first time of the next bucket, rounded up.
        let next = begin.plus_millis(((bucket + 1) * span + count - 1) / count);
        let (part, others) = rest.split_at(rest.partition_point(|(at, _)| *at < next));
        rest = others;
        let known = || part.iter().enumerate().filter_map(|(n, (_, price))| Some((n, (*price)?)));
        let lowest = known().min_by_key(|(_, price)| *price).map(|(n, _)| n);
        let highest = known().max_by_key(|(_, price)| *price).map(|(n, _)| n);
        let unknown = part.iter().position(|(_, price)| price.is_none());
        let mut places: Vec<usize> =
            [Some(0), lowest, highest, unknown, Some(part.len() - 1)].into_iter().flatten().collect();
        places.sort_unstable();
        places.dedup();
        kept.extend(places.into_iter().map(|place| part[place]));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn price(cents: i64) -> Option<Decimal> {
        Some(Decimal::new(cents, 2))
    }

    fn value(millis: i64, cents: Option<i64>) -> PriceAt {
        (at(millis), cents.and_then(price))
    }

    fn recorded(gaps: &[Gap], whole_boards: &[i64]) -> RecordedTime {
        let whole_boards = whole_boards.iter().map(|millis| at(*millis)).collect();
        RecordedTime { region: Region::Uk, gaps: gaps.to_vec(), whole_boards, newest: None }
    }

    #[test]
    fn a_price_stands_until_it_changes_and_is_unknown_in_a_gap() {
        let values =
            [value(10, Some(190)), value(20, Some(190)), value(30, Some(200)), value(60, Some(200)), value(70, None)];
        let gap = Gap { from: Some(at(40)), until: at(60) };
        let expected =
            [(at(10), price(190)), (at(30), price(200)), (at(41), None), (at(60), price(200)), (at(70), None)];
        assert_eq!(changes(&values, &recorded(&[gap], &[60])), expected);
    }

    #[test]
    fn a_gap_of_a_moment_ends_what_did_not_come_back() {
        let gap = Gap { from: Some(at(20)), until: at(21) };
        assert_eq!(changes(&[value(10, Some(190))], &recorded(&[gap], &[21])), [(at(10), price(190)), (at(21), None)]);
        let back = [value(10, Some(190)), value(21, Some(190))];
        assert_eq!(changes(&back, &recorded(&[gap], &[21])), [(at(10), price(190))]);
    }

    #[test]
    fn what_is_not_on_a_whole_board_has_ended() {
        let values = [value(10, Some(190)), value(20, Some(190))];
        assert_eq!(changes(&values, &recorded(&[], &[20, 30])), [(at(10), price(190)), (at(30), None)]);
    }

    #[test]
    fn the_wanted_time_begins_with_what_was_valid_then() {
        let prices = vec![(at(10), price(190)), (at(30), price(200))];
        assert_eq!(clipped(prices.clone(), at(20)), [(at(20), price(190)), (at(30), price(200))]);
        assert_eq!(clipped(prices.clone(), at(5)), prices);
        assert_eq!(clipped(vec![(at(10), price(190)), (at(20), None)], at(25)), []);
    }

    #[test]
    fn fewer_prices_keep_the_extremes() {
        let mut all: Vec<PriceAt> = (0..10_000).map(|n| (at(n), price(150 + n * 7_919 % 100))).collect();
        all[3_000].1 = None;
        all[5_000].1 = price(9_900);
        all[7_000].1 = price(101);
        let kept = thinned(all.clone(), 400);
        assert!(kept.len() <= 400 && kept.len() > 200, "{}", kept.len());
        assert!([3_000, 5_000, 7_000].into_iter().all(|n| kept.contains(&all[n])));
        assert_eq!((kept.first(), kept.last()), (all.first(), all.last()));
        assert!(kept.is_sorted_by_key(|(at, _)| *at));
        assert_eq!(thinned(all.clone(), 10_000), all);
    }
}
