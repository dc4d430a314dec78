//! Filters: which part of a region's board a client wants.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{BookmakerKey, Digest, EventId, MarketKey, SportKey};

/// The most names that one list of a filter may have.
const MAX_NAMES: usize = 100;
/// The lists of a filter.
const FIELDS: [&str; 4] = ["sports", "events", "bookmakers", "markets"];

/// Selects events by sport and id, and quotes by bookmaker and market. An absent list admits everything, an empty one
/// nothing. Names need not occur on the board.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sports: Option<BTreeSet<SportKey>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<BTreeSet<EventId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bookmakers: Option<BTreeSet<BookmakerKey>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub markets: Option<BTreeSet<MarketKey>>,
}

impl Filter {
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an event of this sport passes.
    pub fn admits_event(&self, id: &EventId, sport: &SportKey) -> bool {
        self.admits_sport(sport) && self.events.as_ref().is_none_or(|events| events.contains(id))
    }

    pub fn admits_sport(&self, sport: &SportKey) -> bool {
        self.sports.as_ref().is_none_or(|sports| sports.contains(sport))
    }

    pub fn admits_market(&self, market: &MarketKey) -> bool {
        self.markets.as_ref().is_none_or(|markets| markets.contains(market))
    }

    pub fn admits_quote(&self, bookmaker: &BookmakerKey, market: &MarketKey) -> bool {
        self.bookmakers.as_ref().is_none_or(|keys| keys.contains(bookmaker)) && self.admits_market(market)
    }

    /// A digest of the filter, which is part of its cursors; `None` if it admits everything.
    pub(crate) fn fingerprint(&self) -> Option<Digest> {
        (!self.is_all()).then(|| Digest::of(&[&serde_json::to_vec(self).expect("plain lists of strings")]))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidFilter {
    pub field: &'static str,
    reason: String,
}

impl Filter {
    /// Parses a filter. An error names the invalid field.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, InvalidFilter> {
        let Some(object) = value.as_object() else {
            return Err(InvalidFilter { field: "filter", reason: "expected an object with lists of names".into() });
        };
        if let Some(unknown) = object.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let reason = format!("unknown field {unknown:?}; known are {}", FIELDS.join(", "));
            return Err(InvalidFilter { field: "filter", reason });
        }
        Ok(Self {
            sports: names(object, "sports")?,
            events: names(object, "events")?,
            bookmakers: names(object, "bookmakers")?,
            markets: names(object, "markets")?,
        })
    }
}

fn names<K: Ord + std::str::FromStr<Err: fmt::Display>>(
    object: &serde_json::Map<String, serde_json::Value>,
    field: &'static str,
) -> Result<Option<BTreeSet<K>>, InvalidFilter> {
    let wrong = |reason: String| InvalidFilter { field, reason };
    let list = match object.get(field) {
        None | Some(serde_json::Value::Null) => return Ok(None),
        Some(serde_json::Value::Array(list)) => list,
        Some(_) => return Err(wrong("expected a list of names".into())),
    };
    if list.len() > MAX_NAMES {
        return Err(wrong(format!("{} names; at most {MAX_NAMES} are allowed", list.len())));
    }
    let name = |value: &serde_json::Value| {
        let text = value.as_str().ok_or_else(|| wrong(format!("{value} is not a name")))?;
        text.parse().map_err(|error: K::Err| wrong(error.to_string()))
    };
    list.iter().map(name).collect::<Result<_, _>>().map(Some)
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&serde_json::Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn absent_lists_admit_everything_and_empty_ones_nothing() {
        let sport = "soccer_epl".parse().unwrap();
        assert!(Filter::default().admits_sport(&sport));
        assert!(!Filter::from_value(&json!({ "sports": [] })).unwrap().admits_sport(&sport));
        assert!(Filter::from_value(&json!({ "sports": ["soccer_epl"] })).unwrap().admits_sport(&sport));
    }

    #[test]
    fn events_are_admitted_by_id_and_sport() {
        let filter = Filter::from_value(&json!({ "events": ["a"], "sports": ["soccer_epl"] })).unwrap();
        let admits = |id: &str, sport: &str| filter.admits_event(&id.parse().unwrap(), &sport.parse().unwrap());
        assert!(admits("a", "soccer_epl"));
        assert!(!admits("b", "soccer_epl") && !admits("a", "tennis"));
    }

    #[test]
    fn the_wrong_field_is_named() {
        for (value, field) in [
            (json!([]), "filter"),
            (json!({ "sport": [] }), "filter"),
            (json!({ "sports": "soccer_epl" }), "sports"),
            (json!({ "markets": ["h2h", 7] }), "markets"),
            (json!({ "bookmakers": ["a b"] }), "bookmakers"),
            (json!({ "events": [""] }), "events"),
            (json!({ "bookmakers": vec!["a"; MAX_NAMES + 1] }), "bookmakers"),
        ] {
            assert_eq!(Filter::from_value(&value).unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn the_fingerprint_ignores_order_and_repetition() {
        let print = |value| Filter::from_value(&value).unwrap().fingerprint();
        assert_eq!(print(json!({ "markets": ["a", "b"] })), print(json!({ "markets": ["b", "a", "b"] })));
        assert_ne!(print(json!({ "markets": ["a"] })), print(json!({ "sports": ["a"] })));
        assert_eq!(print(json!({})), None);
    }
}
