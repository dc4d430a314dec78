//! Tokens, by which programs sign in.

use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use odds::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    secret::{self, SecretHash},
    user::UserId,
};

const PREFIX: &str = "tb_";
const BYTES: usize = 32;
const NAME_LENGTH: std::ops::RangeInclusive<usize> = 1..=64;

/// A token's secret: shown once, stored nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token")]
pub struct InvalidToken;

impl TokenText {
    pub fn random() -> Self {
        Self(format!("{PREFIX}{}", secret::random_text::<BYTES>()))
    }

    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.0.as_bytes())
    }

    /// The text, to show it to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenText {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let secret = text.strip_prefix(PREFIX).ok_or(InvalidToken)?;
        let bytes = URL_SAFE_NO_PAD.decode(secret).map_err(|_| InvalidToken)?;
        if bytes.len() == BYTES { Ok(Self(text.to_owned())) } else { Err(InvalidToken) }
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(String);

impl TokenId {
    pub fn random() -> Self {
        Self(secret::random_text::<9>())
    }

    /// The id with this text. There may be no such token.
    pub fn named(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name that its owner gave a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("has to have 1 to 64 printable characters")]
pub struct InvalidTokenName;

impl FromStr for TokenName {
    type Err = InvalidTokenName;

    fn from_str(text: &str) -> Result<Self, InvalidTokenName> {
        let text = text.trim();
        let fits = NAME_LENGTH.contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidTokenName) }
    }
}

impl TokenName {
    pub(crate) fn known(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Boards, the history, rules, alerts and messages of its user.
    Stream,
    /// Producing records.
    Produce,
    /// What operators see. Only operators have such tokens.
    Operator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a scope")]
pub struct UnknownScope;

impl Scope {
    pub const ALL: [Self; 3] = [Self::Stream, Self::Produce, Self::Operator];

    pub fn key(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Produce => "produce",
            Self::Operator => "operator",
        }
    }

    /// What tokens may do that were made before there were scopes.
    pub(crate) fn of_old_tokens() -> BTreeSet<Self> {
        BTreeSet::from([Self::Stream])
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.key() == text).ok_or(UnknownScope)
    }
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub user: UserId,
    pub name: TokenName,
    pub created_at: Timestamp,
    pub used_at: Option<Timestamp>,
    /// When it expires. Absent in tokens made by earlier versions.
    pub expires_at: Option<Timestamp>,
    pub scopes: BTreeSet<Scope>,
}

impl Token {
    /// When it expires if no token may last longer than `lifetime`.
    pub fn ends_at(&self, lifetime: Duration) -> Timestamp {
        let latest = self.created_at.plus_millis(lifetime.as_millis() as i64);
        self.expires_at.map_or(latest, |asked| asked.min(latest))
    }
}

#[derive(Clone, Debug)]
pub struct NewToken {
    pub id: TokenId,
    pub user: UserId,
    pub name: TokenName,
    pub hash: SecretHash,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub scopes: BTreeSet<Scope>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_from_what_is_none() {
        let token = TokenText::random();
        assert_eq!(token.reveal().parse::<TokenText>(), Ok(token.clone()));
        assert_ne!(token, TokenText::random());
        for text in ["", "tb_", "tb_abc", &token.reveal()[3..], &format!("{}AA", token.reveal())] {
            assert_eq!(text.parse::<TokenText>(), Err(InvalidToken), "{text:?}");
        }
        assert!(!format!("{token:?}").contains(token.reveal()));
    }

    #[test]
    fn a_token_has_a_name_that_can_be_shown() {
        assert_eq!(" my bot ".parse::<TokenName>().unwrap().as_str(), "my bot");
        for text in ["", "  ", "a\nb", &"x".repeat(65)] {
            assert!(text.parse::<TokenName>().is_err(), "{text:?}");
        }
    }
}
