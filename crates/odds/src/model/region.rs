//! The four regions. Whatever exists once per region is named after one of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Region {
    Us,
    Uk,
    Eu,
    Au,
}

impl Region {
    pub const ALL: [Self; 4] = [Self::Us, Self::Uk, Self::Eu, Self::Au];

    /// Its name in topics, JSON, flags and upstream's `regions` parameter.
    pub fn key(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Uk => "uk",
            Self::Eu => "eu",
            Self::Au => "au",
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Us => "United States",
            Self::Uk => "United Kingdom",
            Self::Eu => "Europe",
            Self::Au => "Australia",
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.key())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown region {0:?}: expected us, uk, eu or au")]
pub struct UnknownRegion(pub String);

impl FromStr for Region {
    type Err = UnknownRegion;

    fn from_str(text: &str) -> Result<Self, UnknownRegion> {
        Self::ALL.into_iter().find(|region| region.key() == text).ok_or_else(|| UnknownRegion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_read_as_it_was_written() {
        for region in Region::ALL {
            assert_eq!(region.key().parse(), Ok(region));
            assert_eq!(serde_json::to_string(&region).unwrap(), format!("{:?}", region.key()));
        }
    }

    #[test]
    fn an_unknown_region_is_named_in_the_error() {
        let error = "fr".parse::<Region>().unwrap_err();
        assert!(error.to_string().contains("\"fr\""), "{error}");
    }
}
