//! Reads an answer with odds. A part that can't be read is left out at the smallest level: an outcome rather than its
//! market, a market rather than its bookmaker, a bookmaker rather than its event.

use odds::{
    BookmakerKey, Credits, Decimal, Details, EventId, Image, Market, MarketKey, Outcome, Outcomes, Quotes, SportKey,
    Timestamp,
};
use serde::Deserialize;

use crate::source::{
    Answer, IncompleteEvent, Level, OddsQuery, SourceError,
    field::{Field, LeftOut, List, MAX_TEXT, bookmaker_name},
};

/// Positive American odds are never below this. Of several prices in decimal odds, at least one is.
const AMERICAN_FROM: i64 = 100;

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiEvent {
    id: Field<EventId>,
    sport_key: Field<SportKey>,
    sport_title: Field<String>,
    commence_time: Field<Timestamp>,
    home_team: Field<String>,
    away_team: Field<String>,
    bookmakers: List,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiBookmaker {
    key: Field<BookmakerKey>,
    title: Field<String>,
    last_update: Field<Timestamp>,
    markets: List,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiMarket {
    key: Field<MarketKey>,
    last_update: Field<Timestamp>,
    outcomes: List,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiOutcome {
    name: Field<String>,
    price: Field<Decimal>,
    point: Field<Decimal>,
    description: Field<String>,
}

/// A parser of one answer, event by event.
pub(crate) struct AnswerReader<'a> {
    query: &'a OddsQuery,
    answer: Answer,
    entries: usize,
    prices: PriceCount,
    left_out: LeftOut,
}

/// Counts that tell whether the prices of a market or an answer are decimal odds.
#[derive(Clone, Copy, Debug, Default)]
struct PriceCount {
    all: usize,
    /// Prices that are numbers.
    read: usize,
    /// Prices in the range of decimal odds.
    plausible: usize,
    /// Plausible prices that can't be American odds.
    decimal: usize,
}

impl PriceCount {
    fn add(&mut self, price: Option<Decimal>) {
        let is_plausible = price.is_some_and(Decimal::is_decimal_odds);
        self.all += 1;
        self.read += usize::from(price.is_some());
        self.plausible += usize::from(is_plausible);
        self.decimal += usize::from(is_plausible && price.is_some_and(|it| it < Decimal::new(AMERICAN_FROM, 0)));
    }

    fn merge(&mut self, other: Self) {
        self.all += other.all;
        self.read += other.read;
        self.plausible += other.plausible;
        self.decimal += other.decimal;
    }

    /// Whether the prices are not decimal odds. Positive American odds are in the range of decimal odds, but none is
    /// below 100; several prices in decimal odds always include one below 100.
    fn is_other_format(self) -> bool {
        self.all > 0 && (self.plausible == 0 || (self.read > 1 && self.decimal == 0))
    }
}

impl<'a> AnswerReader<'a> {
    pub(crate) fn new(query: &'a OddsQuery) -> Self {
        Self {
            query,
            answer: Answer::default(),
            entries: 0,
            prices: PriceCount::default(),
            left_out: LeftOut::default(),
        }
    }

    /// Returns the answer. Fails if no event can be read, or if the prices are not decimal odds.
    pub(crate) fn finish(self, credits: Credits, cost: f64) -> Result<Answer, SourceError> {
        let Self { query, answer, entries, prices, left_out } = self;
        let wrong = |reason: String| Err(SourceError::WrongFormat { reason, credits, cost });
        left_out.log(&query.sport);
        if entries > 0 && left_out.counts.count(Level::Event) == entries as u64 {
            return wrong(format!("none of the {entries} events can be read"));
        }
        if prices.is_other_format() {
            return wrong(format!("none of the {} prices is in decimal odds", prices.all));
        }
        Ok(Answer { credits, cost, unreadable: left_out.counts, ..answer })
    }

    pub(crate) fn event(&mut self, json: &str) {
        self.entries += 1;
        let Ok(event) = serde_json::from_str::<ApiEvent>(json) else { return self.left_out.add(Level::Event, json) };
        let Some(id) = event.id.value() else { return self.left_out.add(Level::Event, json) };
        let mut quotes = Quotes::new();
        match event.bookmakers.optional() {
            Ok(bookmakers) => {
                for bookmaker in bookmakers.unwrap_or_default() {
                    self.bookmaker(&mut quotes, bookmaker.get());
                }
            }
            Err(()) => self.left_out.add(Level::Bookmaker, json),
        }
        let mut complete = true;
        let mut text = |field: Field<String>| match field {
            Field::Is(text) if text.len() <= MAX_TEXT => Some(text),
            Field::Missing => None,
            Field::Is(_) | Field::Unreadable => {
                complete = false;
                None
            }
        };
        let (sport_title, home_team, away_team) =
            (text(event.sport_title), text(event.home_team), text(event.away_team));
        let sport_key = event.sport_key.value().unwrap_or_else(|| {
            complete = false;
            self.query.sport.clone()
        });
        let details = event.commence_time.value().map(|commence_time| Details {
            sport_title: sport_title.unwrap_or_else(|| sport_key.to_string()),
            sport_key,
            commence_time,
            home_team,
            away_team,
        });
        match details {
            Some(details) if complete => {
                self.answer.events.push((id, Image { polled_at: self.query.now, details, quotes }));
            }
            details => {
                self.left_out.add(Level::Details, json);
                self.answer.incomplete.push(IncompleteEvent { id, polled_at: self.query.now, quotes, details });
            }
        }
    }

    fn bookmaker(&mut self, quotes: &mut Quotes, json: &str) {
        let bookmaker = serde_json::from_str::<ApiBookmaker>(json).unwrap_or_default();
        let (Some(key), Ok(markets)) = (bookmaker.key.value(), bookmaker.markets.optional()) else {
            return self.left_out.add(Level::Bookmaker, json);
        };
        if let Some(name) = bookmaker.title.value().and_then(|title| bookmaker_name(&title)) {
            self.answer.bookmaker_names.insert(key.clone(), name);
        }
        let last_update = bookmaker.last_update.value();
        for market in markets.unwrap_or_default() {
            self.market(quotes, &key, last_update, market.get());
        }
    }

    fn market(&mut self, quotes: &mut Quotes, bookmaker: &BookmakerKey, seen: Option<Timestamp>, json: &str) {
        let market = serde_json::from_str::<ApiMarket>(json).unwrap_or_default();
        let (Some(key), Ok(list)) = (market.key.value(), market.outcomes.optional()) else {
            return self.left_out.add(Level::Market, json);
        };
        let now = self.query.now;
        // Upstream can't have seen a price later than now.
        let seen = market.last_update.value().or(seen).map(|seen| seen.min(now));
        if let Some(seen) = seen {
            let newest = self.answer.bookmakers.entry(bookmaker.clone()).or_insert(seen);
            *newest = seen.max(*newest);
        }
        let mut prices = PriceCount::default();
        let mut outcomes = Vec::new();
        let mut left_out = Vec::new();
        for outcome in list.unwrap_or_default() {
            match read_outcome(outcome.get(), &mut prices) {
                Some(outcome) => outcomes.push(outcome),
                None => left_out.push(outcome),
            }
        }
        self.prices.merge(prices);
        if !outcomes.is_empty() && prices.is_other_format() {
            return self.left_out.add(Level::Market, json);
        }
        for outcome in left_out {
            self.left_out.add(Level::Outcome, outcome.get());
        }
        if !outcomes.is_empty() {
            let market = Market { last_update: seen.unwrap_or(now), outcomes: Outcomes::new(outcomes) };
            quotes.insert((bookmaker.clone(), key), market);
        }
    }
}

fn read_outcome(json: &str, prices: &mut PriceCount) -> Option<Outcome> {
    let outcome = serde_json::from_str::<ApiOutcome>(json).unwrap_or_default();
    let price = outcome.price.value();
    prices.add(price);
    let is_short = |text: &String| text.len() <= MAX_TEXT;
    Some(Outcome {
        name: outcome.name.value().filter(is_short)?,
        price: price.filter(|price| price.is_decimal_odds())?,
        point: outcome.point.optional().ok()?,
        description: match outcome.description.optional().ok()? {
            Some(text) => Some(text).filter(is_short).map(Some)?,
            None => None,
        },
    })
}
