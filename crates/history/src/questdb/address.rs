//! The address of a QuestDB server.

use std::{fmt, str::FromStr};

use reqwest::Url;

const DEFAULT_PREFIX: &str = "toteboard";
const MAX_PREFIX: usize = 64;

/// Where a QuestDB server is, how to sign in there, and how the names of our tables begin.
#[derive(Clone, PartialEq, Eq)]
pub struct QuestDbAddress {
    pub(super) url: Url,
    pub(super) credentials: Credentials,
    pub(super) prefix: String,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    Password { user: String, password: String },
    Token(String),
}

/// Reads `http://[USER:PASSWORD@|TOKEN@]HOST:PORT[/PREFIX]`.
impl FromStr for QuestDbAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut url: Url = text.parse().map_err(|_| ())?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            return Err(());
        }
        let user = decoded(url.username())?;
        let credentials = match url.password() {
            Some(password) => Credentials::Password { user, password: decoded(password)? },
            None if user.is_empty() => Credentials::None,
            None => Credentials::Token(user),
        };
        url.set_username("")?;
        url.set_password(None)?;
        let prefix = match url.path().trim_matches('/') {
            "" => DEFAULT_PREFIX.to_owned(),
            prefix => prefix.to_owned(),
        };
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if prefix.len() > MAX_PREFIX || !prefix.bytes().all(is_plain) {
            return Err(());
        }
        url.set_path("/");
        Ok(Self { url, credentials, prefix })
    }
}

/// Hides the password or the token.
impl fmt::Debug for QuestDbAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.url, self.prefix)
    }
}

/// Decodes `%40` and the like.
fn decoded(text: &str) -> Result<String, ()> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| ())?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, String)> {
        let address: QuestDbAddress = text.parse().ok()?;
        Some((address.url.to_string(), address.prefix))
    }

    #[test]
    fn an_address_has_a_server_and_perhaps_a_prefix() {
        let plain = Some(("http://db:9000/".to_owned(), "toteboard".to_owned()));
        assert_eq!(read("http://db:9000"), plain);
        assert_eq!(read("http://db:9000/"), plain);
        assert_eq!(read("https://db:9000/other_1"), Some(("https://db:9000/".to_owned(), "other_1".to_owned())));
        for wrong in
            ["db:9000", "ftp://db", "http://", "http://db/a'b", "http://db/A", "http://db/a/b", "http://db?a=b"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn credentials_are_read_and_not_shown() {
        let address: QuestDbAddress = "http://anna:s3%40cret@db:9000".parse().unwrap();
        let password = Credentials::Password { user: "anna".into(), password: "s3@cret".into() };
        assert!(address.credentials == password);
        assert_eq!(format!("{address:?}"), "http://db:9000/toteboard");
        let address: QuestDbAddress = "http://t0ken@db:9000".parse().unwrap();
        assert!(address.credentials == Credentials::Token("t0ken".into()));
        assert!("http://a%zz@db".parse::<QuestDbAddress>().is_err());
    }
}
