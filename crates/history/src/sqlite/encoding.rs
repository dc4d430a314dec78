//! Changes as bytes: numbers of variable length, and texts by their number in the table `texts`. A quote of three
//! outcomes takes about 15 bytes.

use std::sync::Arc;

use integer_encoding::VarInt;
use odds::{Change, Decimal, Details, EventId, Outcome, Outcomes, QuoteChange, Timestamp};
use rusqlite::Result;

/// Numbers texts. The same text always has the same number.
pub(super) trait Numbering {
    fn number(&mut self, text: &str) -> Result<u64>;
}

/// Finds texts by their numbers.
pub(super) trait Lookup {
    fn text(&mut self, number: u64) -> Result<Arc<str>>;

    /// The outcomes whose identities are in a text that [`shape_of`] made.
    fn shape(&mut self, number: u64) -> Result<Arc<[Outcome]>>;
}

const REMOVED: u64 = 0;
const CHANGED: u64 = 1;
const CHANGED_WITH_DETAILS: u64 = 2;

/// The outcomes' names, points and descriptions, without prices. Few quotes differ in them, so they are stored as text.
fn shape_of(outcomes: &[Outcome]) -> String {
    let without_price = |outcome: &Outcome| Outcome { price: Decimal::new(0, 0), ..outcome.clone() };
    Outcomes::new(outcomes.iter().map(without_price).collect()).as_json().to_owned()
}

/// A change whose texts have their numbers.
pub(super) struct NumberedChange {
    pub(super) event: u64,
    pub(super) kind: NumberedKind,
}

pub(super) enum NumberedKind {
    Removed,
    Changed { details: Option<u64>, quotes: Vec<NumberedQuote> },
}

pub(super) struct NumberedQuote {
    pub(super) bookmaker: u64,
    pub(super) market: u64,
    /// The encoded quote, without its keys.
    pub(super) value: Vec<u8>,
}

/// Numbers the texts of a step's changes.
pub(super) fn number(changes: &[Change], at: Timestamp, texts: &mut impl Numbering) -> Result<Vec<NumberedChange>> {
    changes.iter().map(|change| number_change(change, at, texts)).collect()
}

fn number_change(change: &Change, at: Timestamp, texts: &mut impl Numbering) -> Result<NumberedChange> {
    let event = texts.number(change.id().as_str())?;
    let kind = match change {
        Change::Removed { .. } => NumberedKind::Removed,
        Change::Changed { details, quotes, .. } => {
            let details = details.as_ref().map(|details| texts.number(&details_json(details))).transpose()?;
            let number_quote = |quote: &QuoteChange| {
                let bookmaker = texts.number(quote.bookmaker.as_str())?;
                let market = texts.number(quote.market.as_str())?;
                Ok(NumberedQuote { bookmaker, market, value: encode_quote(quote, at, texts)? })
            };
            NumberedKind::Changed { details, quotes: quotes.iter().map(number_quote).collect::<Result<_>>()? }
        }
    };
    Ok(NumberedChange { event, kind })
}

fn details_json(details: &Details) -> String {
    serde_json::to_string(details).expect("plain values")
}

fn encode_quote(quote: &QuoteChange, at: Timestamp, texts: &mut impl Numbering) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    put(&mut bytes, at.millis_since(quote.last_update));
    let outcomes = quote.outcomes.to_vec();
    put(&mut bytes, outcomes.len() as u64);
    if !outcomes.is_empty() {
        put(&mut bytes, texts.number(&shape_of(&outcomes))?);
    }
    for outcome in &outcomes {
        let (mantissa, scale) = outcome.price.parts();
        bytes.push(scale);
        put(&mut bytes, mantissa);
    }
    Ok(bytes)
}

pub(super) fn encode(changes: &[NumberedChange]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, changes.len() as u64);
    for NumberedChange { event, kind } in changes {
        put(&mut bytes, *event);
        let NumberedKind::Changed { details, quotes } = kind else {
            put(&mut bytes, REMOVED);
            continue;
        };
        match details {
            None => put(&mut bytes, CHANGED),
            Some(details) => {
                put(&mut bytes, CHANGED_WITH_DETAILS);
                put(&mut bytes, *details);
            }
        }
        put(&mut bytes, quotes.len() as u64);
        for quote in quotes {
            put(&mut bytes, quote.bookmaker);
            put(&mut bytes, quote.market);
            bytes.extend_from_slice(&quote.value);
        }
    }
    bytes
}

/// Bytes that are being decoded.
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    at: Timestamp,
}

/// What a quote was at a time.
struct Quote {
    last_update: Timestamp,
    /// None if it was withdrawn.
    outcomes: Vec<Outcome>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8], at: Timestamp) -> Self {
        Self { bytes, at }
    }

    pub(super) fn changes(&mut self, texts: &mut impl Lookup) -> Result<Vec<Change>> {
        let count: u64 = self.take()?;
        let mut changes = Vec::new();
        for _ in 0..count {
            let id: EventId = key(&texts.text(self.take()?)?)?;
            let kind: u64 = self.take()?;
            if kind == REMOVED {
                changes.push(Change::Removed { id });
                continue;
            }
            let details = match kind {
                CHANGED => None,
                CHANGED_WITH_DETAILS => Some(serde_json::from_str(&texts.text(self.take()?)?).map_err(|_| damaged())?),
                _ => return Err(damaged()),
            };
            let mut quotes = Vec::new();
            for _ in 0..self.take::<u64>()? {
                let bookmaker = key(&texts.text(self.take()?)?)?;
                let market = key(&texts.text(self.take()?)?)?;
                let Quote { last_update, outcomes } = self.quote(texts)?;
                quotes.push(QuoteChange { bookmaker, market, last_update, outcomes: Outcomes::new(outcomes) });
            }
            changes.push(Change::Changed { id, details, quotes });
        }
        Ok(changes)
    }

    fn quote(&mut self, texts: &mut impl Lookup) -> Result<Quote> {
        let mut prices = Vec::new();
        let (last_update, shape) = self.quote_prices(texts, &mut prices)?;
        let mut outcomes = shape.to_vec();
        for (outcome, price) in outcomes.iter_mut().zip(prices) {
            outcome.price = price;
        }
        Ok(Quote { last_update, outcomes })
    }

    /// The outcomes of an encoded quote, without their prices, which are put into `prices`.
    pub(super) fn prices(&mut self, texts: &mut impl Lookup, prices: &mut Vec<Decimal>) -> Result<Arc<[Outcome]>> {
        Ok(self.quote_prices(texts, prices)?.1)
    }

    fn quote_prices(
        &mut self,
        texts: &mut impl Lookup,
        prices: &mut Vec<Decimal>,
    ) -> Result<(Timestamp, Arc<[Outcome]>)> {
        prices.clear();
        let last_update = self.at.plus_millis(self.take::<i64>()?.saturating_neg());
        let count: u64 = self.take()?;
        if count == 0 {
            return Ok((last_update, Arc::default()));
        }
        let shape = texts.shape(self.take()?)?;
        if shape.len() as u64 != count {
            return Err(damaged());
        }
        for _ in &*shape {
            let (&scale, rest) = self.bytes.split_first().ok_or_else(damaged)?;
            if scale > Decimal::MAX_SCALE {
                return Err(damaged());
            }
            self.bytes = rest;
            prices.push(Decimal::new(self.take()?, scale));
        }
        Ok((last_update, shape))
    }

    fn take<N: VarInt>(&mut self) -> Result<N> {
        let (number, length) = N::decode_var(self.bytes).ok_or_else(damaged)?;
        self.bytes = &self.bytes[length..];
        Ok(number)
    }
}

fn key<K: std::str::FromStr>(text: &str) -> Result<K> {
    text.parse().map_err(|_| damaged())
}

/// The bytes are not what was written.
pub(super) fn damaged() -> rusqlite::Error {
    let message = "a row is damaged".to_owned();
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(message))
}

fn put(bytes: &mut Vec<u8>, number: impl VarInt) {
    let mut buffer = [0; 10];
    let length = number.encode_var(&mut buffer);
    bytes.extend_from_slice(&buffer[..length]);
}
