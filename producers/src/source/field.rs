//! What the readers of all sources' answers share: fields that may be unreadable, and the limits of texts.

use odds::SportKey;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;
use tracing::warn;

use super::{Level, Unreadable};

/// The longest text, such as the name of a team or an outcome, in bytes.
pub(super) const MAX_TEXT: usize = 300;
/// The longest name of a bookmaker, in bytes.
const MAX_NAME: usize = 64;

/// A JSON field that can be unreadable without making its whole object unreadable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Field<T> {
    /// Absent or null.
    #[default]
    Missing,
    Unreadable,
    Is(T),
}

impl<T> Field<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Missing | Self::Unreadable => None,
        }
    }

    /// Returns the value of a field that may be missing. Fails if the field is there but can't be read.
    pub(super) fn optional(self) -> Result<Option<T>, ()> {
        match self {
            Self::Is(value) => Ok(Some(value)),
            Self::Missing => Ok(None),
            Self::Unreadable => Err(()),
        }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        Ok(match serde_json::from_str(json) {
            _ if json == "null" => Self::Missing,
            Ok(value) => Self::Is(value),
            Err(_) => Self::Unreadable,
        })
    }
}

/// A list whose entries are read one by one.
pub(super) type List = Field<Vec<Box<RawValue>>>;

/// The parts of an answer that are left out because they can't be read.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftOut {
    pub(super) counts: Unreadable,
    /// The first of them, for the log.
    example: Option<String>,
}

impl LeftOut {
    pub(super) fn add(&mut self, level: Level, json: &str) {
        self.counts.add(level);
        self.example.get_or_insert_with(|| format!("{}: {}", level.key(), json.chars().take(160).collect::<String>()));
    }

    pub(super) fn log(&self, sport: &SportKey) {
        let Some(example) = &self.example else { return };
        let counts: Vec<String> = self.counts.iter().map(|(level, n)| format!("{} {n}", level.key())).collect();
        warn!(%sport, unreadable = counts.join(", "), example, "unreadable parts of an answer are left out");
    }
}

/// Returns the trimmed name, or None if it is empty, too long or has control characters.
pub(super) fn bookmaker_name(title: &str) -> Option<String> {
    let name = title.trim();
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    is_name.then(|| name.to_owned())
}
