//! A digest of a whole board that is updated with each change.
//!
//! It is the sum, modulo 2^128, of the XXH3-128 hashes of all items on the board: of each event's details and of each
//! quote. A sum doesn't depend on the order, and a removed item is subtracted. It guards against mistakes, not against
//! forgery.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_128;

use crate::{BookmakerKey, Details, EventId, Market, MarketKey};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(u128);

impl Digest {
    pub(crate) fn add(&mut self, item: Self) {
        self.0 = self.0.wrapping_add(item.0);
    }

    pub(crate) fn remove(&mut self, item: Self) {
        self.0 = self.0.wrapping_sub(item.0);
    }

    /// The digest of an event's details.
    pub(crate) fn of_details(id: &EventId, details: &Details) -> Self {
        let home = details.home_team.as_deref();
        let away = details.away_team.as_deref();
        Self::of(&[
            b"event",
            id.as_str().as_bytes(),
            details.sport_key.as_str().as_bytes(),
            details.sport_title.as_bytes(),
            &details.commence_time.as_millis().to_le_bytes(),
            &[u8::from(home.is_some()), u8::from(away.is_some())],
            home.unwrap_or_default().as_bytes(),
            away.unwrap_or_default().as_bytes(),
        ])
    }

    /// The digest of a quote.
    pub(crate) fn of_quote(id: &EventId, bookmaker: &BookmakerKey, market: &MarketKey, quote: &Market) -> Self {
        Self::of(&[
            b"quote",
            id.as_str().as_bytes(),
            bookmaker.as_str().as_bytes(),
            market.as_str().as_bytes(),
            &quote.last_update.as_millis().to_le_bytes(),
            quote.outcomes.as_json().as_bytes(),
        ])
    }

    /// The digest of one item. Each part is hashed with its length, so that no two lists of parts hash the same bytes.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut text = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
        for part in parts {
            text.extend_from_slice(&(part.len() as u64).to_le_bytes());
            text.extend_from_slice(part);
        }
        Self(xxh3_128(&text))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex { u128::from_str_radix(text, 16).map(Self).map_err(|_| ()) } else { Err(()) }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| de::Error::custom(format_args!("{text:?} is not a digest of 32 hexadecimal digits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_removing_cancel_out_in_any_order() {
        let items = [Digest::of(&[b"a"]), Digest::of(&[b"b"]), Digest::of(&[b"c"])];
        let mut forth = Digest::default();
        let mut back = Digest::default();
        for item in items {
            forth.add(item);
        }
        for item in items.into_iter().rev() {
            back.add(item);
        }
        assert_eq!(forth, back);
        for item in items {
            forth.remove(item);
        }
        assert_eq!(forth, Digest::default());
    }

    #[test]
    fn parts_are_kept_apart() {
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
        assert_ne!(Digest::of(&[b"a"]), Digest::of(&[b"a", b""]));
    }

    #[test]
    fn the_hash_is_xxh3_128_and_stays_so() {
        // The reference implementation's hash of empty input. Readers of old topics must compute the same digests.
        assert_eq!(Digest::of(&[]).to_string(), "99aa06d3014798d86001c324468d497f");
    }
}
