//! The origin of the page: what browsers name in the header `Origin`.

use std::{net::SocketAddr, str::FromStr};

/// Scheme, host and port, as browsers send them in `Origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an origin such as https://odds.example.com, without a path")]
pub struct InvalidOrigin;

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let uri: axum::http::Uri = text.parse().map_err(|_| InvalidOrigin)?;
        let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).ok_or(InvalidOrigin)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(InvalidOrigin)?.to_lowercase();
        if uri.path() != "/" || uri.query().is_some() || uri.authority().is_some_and(|it| it.as_str().contains('@')) {
            return Err(InvalidOrigin);
        }
        // Browsers omit the scheme's default port.
        let default = if scheme == "https" { 443 } else { 80 };
        Ok(Self(match uri.port_u16().filter(|port| *port != default) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }))
    }
}

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Those of a page that a program serves on loopback at this address.
    pub fn of_loopback(address: SocketAddr, over_tls: bool) -> [Self; 2] {
        let scheme = if over_tls { "https" } else { "http" };
        [format!("{scheme}://{address}"), format!("{scheme}://localhost:{}", address.port())].map(Self)
    }

    pub fn is_secure(&self) -> bool {
        self.0.starts_with("https:")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_as_browsers_say_it() {
        for (given, sent) in [
            ("https://Odds.Example.com", "https://odds.example.com"),
            ("https://odds.example.com:443/", "https://odds.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(given.parse::<Origin>().unwrap().as_str(), sent);
        }
        for text in ["", "odds.example.com", "ftp://x", "https://x/path", "https://a@x", "null"] {
            assert!(text.parse::<Origin>().is_err(), "{text:?}");
        }
    }
}
