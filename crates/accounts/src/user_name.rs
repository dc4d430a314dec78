//! The names of users.

use std::{fmt, str::FromStr};

const NAME_LENGTH: std::ops::RangeInclusive<usize> = 3..=64;

/// A name to sign in with, or an e-mail address: as it was written, and as a key in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserName {
    written: String,
    key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserName {
    #[error("has to have 3 to 64 characters")]
    Length,
    #[error("may have only letters from a to z, digits, and . _ - + @, and has to begin with a letter or digit")]
    Characters,
}

impl FromStr for UserName {
    type Err = InvalidUserName;

    fn from_str(text: &str) -> Result<Self, InvalidUserName> {
        if !NAME_LENGTH.contains(&text.chars().count()) {
            return Err(InvalidUserName::Length);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+@".contains(c);
        if !text.chars().all(allowed) || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(InvalidUserName::Characters);
        }
        Ok(Self { written: text.to_owned(), key: text.to_ascii_lowercase() })
    }
}

impl UserName {
    /// The name in lower case, by which users are found.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn as_str(&self) -> &str {
        &self.written
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_any_case() {
        let name: UserName = "Anna@Example.com".parse().unwrap();
        assert_eq!((name.as_str(), name.key()), ("Anna@Example.com", "anna@example.com"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (text, reason) in [
            ("", InvalidUserName::Length),
            ("ab", InvalidUserName::Length),
            (&"a".repeat(65), InvalidUserName::Length),
            ("$where", InvalidUserName::Characters),
            ("a b c", InvalidUserName::Characters),
            ("аdmin", InvalidUserName::Characters),
            ("-anna", InvalidUserName::Characters),
        ] {
            assert_eq!(text.parse::<UserName>(), Err(reason), "{text:?}");
        }
    }
}
