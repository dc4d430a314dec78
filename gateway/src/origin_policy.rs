//! Session cookies and the pages that may use them. A browser sends cookies with requests from any page, so a request
//! with a cookie is accepted only if it comes from one of our origins.

use accounts::SessionKey;
use http::{HeaderMap, header};
use service::Origin;

/// The origins of our page, and the session cookie that they use.
#[derive(Clone, Debug)]
pub(crate) struct OriginPolicy {
    origins: Vec<Origin>,
    secure: bool,
}

impl OriginPolicy {
    pub(crate) fn new(origins: Vec<Origin>, secure: bool) -> Self {
        Self { origins, secure }
    }

    /// Whether no origin is configured, so that browsers can't sign in.
    pub(crate) fn are_none(&self) -> bool {
        self.origins.is_empty()
    }

    /// The origin of links in messages.
    pub(crate) fn first(&self) -> Option<&str> {
        self.origins.first().map(Origin::as_str)
    }

    /// Whether the page is served over TLS.
    pub(crate) fn are_secure(&self) -> bool {
        self.secure
    }

    /// The name of the session cookie. With TLS it has the `__Host-` prefix: no other host can set such a cookie.
    pub(crate) fn cookie(&self) -> &'static str {
        if self.secure { "__Host-toteboard" } else { "toteboard" }
    }

    /// Returns the session that a request's cookie names.
    pub(crate) fn session_of(&self, headers: &HeaderMap) -> Option<SessionKey> {
        self.cookie_in(headers).and_then(SessionKey::of_cookie)
    }

    pub(crate) fn cookie_in<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies.flat_map(|cookies| cookies.split(';')).find_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == self.cookie()).then_some(value)
        })
    }

    /// Whether a request has exactly one `Origin`, and that is one of ours.
    pub(crate) fn is_ours(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::ORIGIN).iter();
        match (values.next().and_then(|origin| origin.to_str().ok()), values.next()) {
            (Some(origin), None) => self.origins.iter().any(|ours| ours.as_str() == origin),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_our_own_pages_are_listened_to() {
        let origins = OriginPolicy::new(vec!["https://odds.example.com".parse().unwrap()], true);
        assert!(origins.is_ours(&headers(header::ORIGIN, "https://odds.example.com")));
        for origin in [
            "https://odds.example.com.evil.com",
            "http://odds.example.com",
            "https://odds.example.com:444",
            "https://example.com",
            "null",
            "",
        ] {
            assert!(!origins.is_ours(&headers(header::ORIGIN, origin)), "{origin:?}");
        }
        assert!(!origins.is_ours(&HeaderMap::new()));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let origins = OriginPolicy::new(Vec::new(), false);
        let found = |value| origins.cookie_in(&headers(header::COOKIE, value)).map(str::to_owned);
        assert_eq!(found("a=b; toteboard=x; c=d").as_deref(), Some("x"));
        assert_eq!(found("a=b; nottoteboard=x"), None);
    }
}
