//! Quotes and events as text of a few characters: numbers of variable length, in Base64.
//!
//! The names of a quote's outcomes are not in it. They are a symbol: the server stores each once.

use std::io::{Read, Write};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use integer_encoding::VarInt;
use odds::{Decimal, Details, Outcome, Outcomes, QuoteChange, Timestamp};
use serde::{Deserialize, Serialize};

/// What is stored is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage;

/// The longest event that is unpacked.
const MAX_EVENT: u64 = 64 << 20;

/// An outcome's name, with its description if it has one.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Plain(String),
    Described(String, String),
}

/// The names of a quote's outcomes. Few quotes differ in them.
pub(super) fn names(outcomes: &[Outcome]) -> String {
    let name = |outcome: &Outcome| match &outcome.description {
        None => Name::Plain(outcome.name.clone()),
        Some(description) => Name::Described(outcome.name.clone(), description.clone()),
    };
    serde_json::to_string(&outcomes.iter().map(name).collect::<Vec<_>>()).expect("plain values")
}

/// A quote without its keys and without the names of its outcomes.
pub(super) fn encode_quote(quote: &QuoteChange, outcomes: &[Outcome], at: Timestamp) -> String {
    let mut bytes = Vec::new();
    put_quote(&mut bytes, quote, outcomes, at);
    BASE64.encode(bytes)
}

fn put_quote(bytes: &mut Vec<u8>, quote: &QuoteChange, outcomes: &[Outcome], at: Timestamp) {
    put(bytes, at.millis_since(quote.last_update));
    for outcome in outcomes {
        put_decimal(bytes, Some(outcome.price));
        put_decimal(bytes, outcome.point);
    }
}

/// The names of a quote's outcomes, read.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Vec<Outcome>);

impl Names {
    pub(super) fn read(names: &str) -> Result<Self, Damage> {
        let names: Vec<Name> = serde_json::from_str(names).map_err(|_| Damage)?;
        let outcome = |name: Name| {
            let (name, description) = match name {
                Name::Plain(name) => (name, None),
                Name::Described(name, description) => (name, Some(description)),
            };
            Outcome { name, price: Decimal::new(0, 0), point: None, description }
        };
        Ok(Self(names.into_iter().map(outcome).collect()))
    }

    /// The outcomes, with the prices and points of the quote that was read last.
    pub(super) fn outcomes(&self) -> &[Outcome] {
        &self.0
    }

    /// Reads a quote with these names. Returns its last update.
    pub(super) fn read_quote(&mut self, content: &str, at: Timestamp) -> Result<Timestamp, Damage> {
        let bytes = BASE64.decode(content).map_err(|_| Damage)?;
        let mut decoder = Decoder(&bytes);
        let last_update = decoder.quote(self, at)?;
        if decoder.0.is_empty() { Ok(last_update) } else { Err(Damage) }
    }
}

/// An event of a whole board, with its quotes.
pub(super) fn encode_event(details: &Details, quotes: &[QuoteChange], at: Timestamp) -> String {
    let mut bytes = Vec::new();
    put_text(&mut bytes, &serde_json::to_string(details).expect("plain values"));
    put(&mut bytes, quotes.len() as u64);
    for quote in quotes {
        let outcomes = quote.outcomes.to_vec();
        put_text(&mut bytes, quote.bookmaker.as_str());
        put_text(&mut bytes, quote.market.as_str());
        put_text(&mut bytes, &names(&outcomes));
        put_quote(&mut bytes, quote, &outcomes, at);
    }
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&bytes).expect("writing to memory");
    BASE64.encode(encoder.finish().expect("writing to memory"))
}

pub(super) fn decode_event(content: &str, at: Timestamp) -> Result<(Details, Vec<QuoteChange>), Damage> {
    let compressed = BASE64.decode(content).map_err(|_| Damage)?;
    let mut bytes = Vec::new();
    DeflateDecoder::new(&*compressed).take(MAX_EVENT).read_to_end(&mut bytes).map_err(|_| Damage)?;
    let mut decoder = Decoder(&bytes);
    let details = serde_json::from_str(decoder.text()?).map_err(|_| Damage)?;
    let count: u64 = decoder.take()?;
    let mut quotes = Vec::new();
    for _ in 0..count {
        let bookmaker = decoder.text()?.parse().map_err(|_| Damage)?;
        let market = decoder.text()?.parse().map_err(|_| Damage)?;
        let mut names = Names::read(decoder.text()?)?;
        let last_update = decoder.quote(&mut names, at)?;
        quotes.push(QuoteChange { bookmaker, market, last_update, outcomes: Outcomes::new(names.0) });
    }
    Ok((details, quotes))
}

/// Bytes that are being decoded.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// Reads the prices and points of a quote with these names. Returns its last update.
    fn quote(&mut self, names: &mut Names, at: Timestamp) -> Result<Timestamp, Damage> {
        let last_update = at.plus_millis(self.take::<i64>()?.saturating_neg());
        for outcome in &mut names.0 {
            outcome.price = self.decimal()?.ok_or(Damage)?;
            outcome.point = self.decimal()?;
        }
        Ok(last_update)
    }

    fn decimal(&mut self) -> Result<Option<Decimal>, Damage> {
        match self.byte()?.checked_sub(1) {
            None => Ok(None),
            Some(scale) if scale <= Decimal::MAX_SCALE => Ok(Some(Decimal::new(self.take()?, scale))),
            Some(_) => Err(Damage),
        }
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        let (first, rest) = self.0.split_first().ok_or(Damage)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take<N: VarInt>(&mut self) -> Result<N, Damage> {
        let (number, length) = N::decode_var(self.0).ok_or(Damage)?;
        self.0 = &self.0[length..];
        Ok(number)
    }

    fn text(&mut self) -> Result<&'a str, Damage> {
        let length = usize::try_from(self.take::<u64>()?).map_err(|_| Damage)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Damage)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Damage)
    }
}

/// A decimal begins with its scale plus 1. There is none after a 0.
fn put_decimal(bytes: &mut Vec<u8>, decimal: Option<Decimal>) {
    let Some((mantissa, scale)) = decimal.map(Decimal::parts) else {
        bytes.push(0);
        return;
    };
    bytes.push(scale + 1);
    put(bytes, mantissa);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn put(bytes: &mut Vec<u8>, number: impl VarInt) {
    let mut buffer = [0; 10];
    let length = number.encode_var(&mut buffer);
    bytes.extend_from_slice(&buffer[..length]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal() -> impl Strategy<Value = Decimal> {
        (-999_999_999_999_999_999..=999_999_999_999_999_999_i64, 0..=Decimal::MAX_SCALE)
            .prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale))
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        let description = proptest::option::of(".{0,6}");
        (".{0,6}", decimal(), proptest::option::of(decimal()), description)
            .prop_map(|(name, price, point, description)| Outcome { name, price, point, description })
    }

    proptest! {
        #[test]
        fn a_quote_is_read_as_it_was_written(outcomes in proptest::collection::vec(outcome(), 0..4), age in any::<i32>()) {
            let at = Timestamp::from_millis(1_795_780_800_000);
            let last_update = at.plus_millis(-i64::from(age));
            let key = "a".parse().unwrap();
            let quote = QuoteChange {
                bookmaker: key, market: "m".parse().unwrap(), last_update, outcomes: Outcomes::new(outcomes),
            };
            let sorted = quote.outcomes.to_vec();
            let content = encode_quote(&quote, &sorted, at);
            let mut read = Names::read(&names(&sorted)).unwrap();
            prop_assert_eq!(read.read_quote(&content, at), Ok(last_update));
            prop_assert_eq!(read.outcomes(), &sorted);
            let details = Details {
                sport_key: "s".parse().unwrap(), sport_title: String::new(), commence_time: at, home_team: None, away_team: None,
            };
            let event = encode_event(&details, std::slice::from_ref(&quote), at);
            prop_assert_eq!(decode_event(&event, at), Ok((details, vec![quote])));
        }

        #[test]
        fn damaged_text_is_never_a_panic(content in "[A-Za-z0-9+/]{0,40}") {
            let at = Timestamp::default();
            let _ = Names::read(r#"["a","b"]"#).unwrap().read_quote(&content, at);
            let _ = decode_event(&content, at);
        }
    }
}
