//! The names of rules and firings.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A random number that names a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected {0}")]
pub struct InvalidId(&'static str);

impl RuleId {
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for RuleId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        hex(text).map(Self).ok_or(InvalidId("16 hexadecimal digits"))
    }
}

/// Parses 16 lower-case hexadecimal digits, the only valid spelling.
fn hex(text: &str) -> Option<u64> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    if text.len() == 16 && text.bytes().all(is_hex) { u64::from_str_radix(text, 16).ok() } else { None }
}

/// The name of one firing: the rule, its revision, what fired if the rule is about many outcomes, and the number of the
/// arming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FiringId {
    pub rule: RuleId,
    pub revision: u32,
    /// The hash of the subject; 0 if the rule has only one.
    pub subject: u64,
    pub episode: u32,
}

impl fmt::Display for FiringId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.rule, self.revision, self.episode)?;
        if self.subject == 0 { Ok(()) } else { write!(f, "-{:016x}", self.subject) }
    }
}

impl FromStr for FiringId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let parsed = || {
            let mut parts = text.split('-');
            let rule = parts.next()?.parse().ok()?;
            let [revision, episode] = [parts.next()?, parts.next()?];
            let subject = parts.next().map_or(Some(0), hex)?;
            let id = Self { rule, revision: revision.parse().ok()?, subject, episode: episode.parse().ok()? };
            (id.to_string() == text).then_some(id)
        };
        parsed().ok_or(InvalidId("the id of an alert"))
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {
        $(
            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                }
            }
        )*
    };
}

as_text!(RuleId FiringId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = FiringId { rule: RuleId::new(0xab), revision: 3, subject: 0, episode: 12 };
        assert_eq!(id.to_string(), "00000000000000ab-3-12");
        let of_many = FiringId { subject: 7, ..id };
        assert_eq!(of_many.to_string(), "00000000000000ab-3-12-0000000000000007");
        for id in [id, of_many] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in ["", "ab-3-12", "00000000000000ab-03-12", "00000000000000ab-3-12-", "00000000000000AB-3-12"] {
            assert!(wrong.parse::<FiringId>().is_err(), "{wrong}");
        }
        assert!("00000000000000ab-3-12-0000000000000000".parse::<FiringId>().is_err(), "0 is left out");
    }
}
