//! Events: their details, and the quotes of each bookmaker, one per market.

use std::{borrow::Borrow, collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

use super::{Decimal, Event, Timestamp, canonical::is_canonical};

/// The longest valid key or id, in bytes.
const MAX_KEY: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: expected 1 to {MAX_KEY} letters, digits or any of _ . : -")]
pub struct InvalidKey {
    text: String,
    what: &'static str,
}

macro_rules! key {
    ($name:ident, $what:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidKey;

            fn from_str(text: &str) -> Result<Self, InvalidKey> {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
                if !text.is_empty() && text.len() <= MAX_KEY && text.bytes().all(plain) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidKey { text: text.chars().take(MAX_KEY).collect(), what: $what })
                }
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<$name> for Arc<str> {
            fn from(key: $name) -> Self {
                key.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

key!(EventId, "an event id", "An event's id at its source, the same in every region that has this source.");
key!(SportKey, "a sport's key", "A sport or league, such as `soccer_epl`.");
key!(BookmakerKey, "a bookmaker's key", "A bookmaker, such as `betfair_ex_uk`. Titles are not unique, keys are.");
key!(MarketKey, "a market's key", "A market, such as `h2h`.");

/// An event's sport, start and teams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    pub sport_key: SportKey,
    pub sport_title: String,
    pub commence_time: Timestamp,
    pub home_team: Option<String>,
    pub away_team: Option<String>,
}

/// One result that can be backed, identified by name, point and description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub name: String,
    pub price: Decimal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<Decimal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// All outcomes of one market, as canonical JSON: sorted, each once, numbers in canonical form.
///
/// A board holds hundreds of thousands of these. It compares, hashes and forwards them, and never looks inside, so that
/// all three work on bytes. Text also takes less memory than parsed outcomes. The page keeps the text as the gateway
/// wrote it, which is canonical, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcomes(Box<str>);

impl Outcomes {
    /// Sorts the outcomes. Of those with the same name, point and description, it keeps the first.
    pub fn new(mut outcomes: Vec<Outcome>) -> Self {
        outcomes.sort_by(|a, b| a.identity().cmp(&b.identity()));
        outcomes.dedup_by(|later, first| later.identity() == first.identity());
        let json = serde_json::to_string(&outcomes).expect("outcomes are plain strings and numbers");
        Self(json.into_boxed_str())
    }

    /// No outcomes: the market was withdrawn.
    pub fn none() -> Self {
        Self("[]".into())
    }

    pub fn is_empty(&self) -> bool {
        &*self.0 == "[]"
    }

    pub fn as_json(&self) -> &str {
        &self.0
    }

    pub fn to_vec(&self) -> Vec<Outcome> {
        serde_json::from_str(&self.0).expect("only outcomes are kept")
    }
}

impl Outcome {
    /// What tells the outcomes of a market apart.
    pub fn identity(&self) -> (&str, Option<Decimal>, Option<&str>) {
        (&self.name, self.point, self.description.as_deref())
    }
}

impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        if is_canonical(json) {
            return Ok(Self(json.into()));
        }
        let outcomes = serde_json::from_str(json).map_err(de::Error::custom)?;
        // The page reads what gateways wrote, and is smaller without the code that writes it anew.
        if cfg!(target_arch = "wasm32") { Ok(Self(json.into())) } else { Ok(Self::new(outcomes)) }
    }
}

impl Serialize for Outcomes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).expect("only outcomes are kept");
        raw.serialize(serializer)
    }
}

/// One bookmaker's outcomes of one market, and when they last changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Market {
    pub last_update: Timestamp,
    pub outcomes: Outcomes,
}

/// The quotes of one event, without withdrawn ones.
pub type Quotes = BTreeMap<(BookmakerKey, MarketKey), Market>;

/// The complete state of one event in one region, as a poll returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub polled_at: Timestamp,
    pub details: Details,
    pub quotes: Quotes,
}

impl Image {
    pub fn into_event(self) -> Event {
        Event { details: self.details, quotes: self.quotes }
    }

    /// Whether details and quotes are equal, whenever they were polled.
    pub fn is_equal_except_time(&self, other: &Self) -> bool {
        self.details == other.details && self.quotes == other.quotes
    }

    /// Takes `last_update` from `known` for markets with the same outcomes. It means "this price since", whereas
    /// upstream's own timestamp changes at every poll.
    pub fn carry_forward(&mut self, known: &Self) {
        for (key, market) in &mut self.quotes {
            if let Some(before) = known.quotes.get(key)
                && before.outcomes == market.outcomes
            {
                market.last_update = before.last_update;
            }
        }
    }

    /// The value of an image's record. It has the shape of the odds API's answers.
    pub fn to_json(&self, id: &EventId) -> String {
        let mut bookmakers: Vec<BookmakerOut<'_>> = Vec::new();
        for ((bookmaker, market), quote) in &self.quotes {
            if bookmakers.last().is_none_or(|last| last.key != bookmaker) {
                bookmakers.push(BookmakerOut { key: bookmaker, markets: Vec::new() });
            }
            let market = MarketOut { key: market, last_update: quote.last_update, outcomes: &quote.outcomes };
            bookmakers.last_mut().expect("one was just pushed").markets.push(market);
        }
        let event = EventOut { id, details: &self.details, bookmakers };
        serde_json::to_string(&ImageOut { polled_at: self.polled_at, event }).expect("plain values")
    }

    pub fn from_json(json: &[u8]) -> Result<(EventId, Self), serde_json::Error> {
        let ImageIn { polled_at, event } = serde_json::from_slice(json)?;
        let EventIn { id, sport_key, sport_title, commence_time, home_team, away_team, bookmakers } = event;
        let mut quotes = Quotes::new();
        for BookmakerIn { key, markets } in bookmakers {
            for MarketIn { key: market, last_update, outcomes } in markets {
                if !outcomes.is_empty() {
                    quotes.insert((key.clone(), market), Market { last_update, outcomes });
                }
            }
        }
        let details = Details { sport_key, sport_title, commence_time, home_team, away_team };
        Ok((id, Self { polled_at, details, quotes }))
    }
}

#[derive(Serialize)]
struct ImageOut<'a> {
    polled_at: Timestamp,
    event: EventOut<'a>,
}

#[derive(Serialize)]
struct EventOut<'a> {
    id: &'a EventId,
    #[serde(flatten)]
    details: &'a Details,
    bookmakers: Vec<BookmakerOut<'a>>,
}

#[derive(Serialize)]
struct BookmakerOut<'a> {
    key: &'a BookmakerKey,
    markets: Vec<MarketOut<'a>>,
}

#[derive(Serialize)]
struct MarketOut<'a> {
    key: &'a MarketKey,
    last_update: Timestamp,
    outcomes: &'a Outcomes,
}

#[derive(Deserialize)]
struct ImageIn {
    polled_at: Timestamp,
    event: EventIn,
}

// Not flattened: flattening buffers values, and a `Decimal` is parsed from the number's original text.
#[derive(Deserialize)]
struct EventIn {
    id: EventId,
    sport_key: SportKey,
    sport_title: String,
    commence_time: Timestamp,
    #[serde(default)]
    home_team: Option<String>,
    #[serde(default)]
    away_team: Option<String>,
    bookmakers: Vec<BookmakerIn>,
}

#[derive(Deserialize)]
struct BookmakerIn {
    key: BookmakerKey,
    markets: Vec<MarketIn>,
}

#[derive(Deserialize)]
struct MarketIn {
    key: MarketKey,
    last_update: Timestamp,
    outcomes: Outcomes,
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = r#"{"polled_at":"2026-11-21T12:00:00Z","event":{"id":"e1","sport_key":"soccer_epl",
        "sport_title":"EPL","commence_time":"2026-11-21T15:00:00Z","home_team":"Arsenal","away_team":null,"new":1,
        "bookmakers":[{"key":"pinnacle","title":"Pinnacle","markets":[
            {"key":"totals","last_update":"2026-11-21T11:59:00Z","outcomes":[
                {"name":"Under","price":1.90,"point":2.5},{"name":"Over","price":2,"point":2.50,"link":"x"},
                {"name":"Over","price":9,"point":2.5}]},
            {"key":"h2h","last_update":"2026-11-21T11:59:00Z","outcomes":[]}]}]}}"#;

    #[test]
    fn an_image_is_read_tolerantly_and_kept_canonically() {
        let (id, image) = Image::from_json(IMAGE.as_bytes()).unwrap();
        assert_eq!(id.as_str(), "e1");
        assert_eq!(image.details.away_team, None);
        let texts: Vec<_> =
            image.quotes.iter().map(|((b, m), quote)| format!("{b} {m} {}", quote.outcomes.as_json())).collect();
        assert_eq!(
            texts,
            [r#"pinnacle totals [{"name":"Over","price":2,"point":2.5},{"name":"Under","price":1.9,"point":2.5}]"#]
        );
    }

    #[test]
    fn an_image_is_read_as_it_was_written() {
        let (id, image) = Image::from_json(IMAGE.as_bytes()).unwrap();
        assert_eq!(Image::from_json(image.to_json(&id).as_bytes()).unwrap(), (id, image));
    }

    #[test]
    fn the_order_of_outcomes_makes_no_difference() {
        let outcome = |name: &str, point: &str| Outcome {
            name: name.into(),
            price: "1.5".parse().unwrap(),
            point: Some(point.parse().unwrap()),
            description: None,
        };
        let forth = Outcomes::new(vec![outcome("Over", "2.5"), outcome("Over", "3"), outcome("Under", "2.5")]);
        let back = Outcomes::new(vec![outcome("Under", "2.5"), outcome("Over", "3"), outcome("Over", "2.5")]);
        assert_eq!(forth, back);
        assert_eq!(forth.to_vec().len(), 3);
    }

    #[test]
    fn an_unchanged_price_keeps_its_time() {
        let (_, before) = Image::from_json(IMAGE.as_bytes()).unwrap();
        let later = IMAGE.replace("11:59:00", "12:01:00");
        let (_, mut same) = Image::from_json(later.as_bytes()).unwrap();
        same.carry_forward(&before);
        assert!(same.is_equal_except_time(&before));
        let (_, mut moved) = Image::from_json(later.replace("1.90", "1.95").as_bytes()).unwrap();
        moved.carry_forward(&before);
        assert_eq!(moved.quotes.values().next().unwrap().last_update.to_string(), "2026-11-21T12:01:00Z");
    }

    #[test]
    fn keys_with_special_characters_are_refused() {
        for bad in ["", "a b", "~step", "a\"b", "a/b", "ключ", &"x".repeat(MAX_KEY + 1)] {
            assert!(bad.parse::<EventId>().is_err(), "{bad:?}");
        }
        assert!("soccer_epl".parse::<SportKey>().is_ok());
    }
}
