//! Refuses requests that come through a proxy to a private gateway. A gateway is private if it listens on loopback, has
//! open registration, and has no public origin or trusted proxy. If a proxy published it anyway, anybody could
//! register, and all clients would seem to come from this machine.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Version, header};
use serde_json::json;

use crate::settings::{AccountArgs, Registration};

/// Headers that only proxies send.
const FORWARDING: [HeaderName; 4] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
    header::FORWARDED,
];
/// Probes are answered in any case.
const PROBES: [&str; 2] = ["/readyz", "/healthz"];

/// Which requests are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    /// Only requests from this machine.
    Private,
}

impl Door {
    pub(crate) fn new(settings: &AccountArgs, listens_at: SocketAddr) -> Self {
        let is_private = settings.is_private(listens_at) && settings.registration == Some(Registration::Open);
        if is_private { Self::Private } else { Self::Open }
    }

    /// Returns the error response if the gateway is private and the request came through a proxy.
    pub(crate) fn refusal<R>(self, request: &Request<R>) -> Option<Response<Body>> {
        if self == Self::Open || PROBES.contains(&request.uri().path()) || !is_by_proxy(request) {
            return None;
        }
        let message = "this gateway serves its own machine only; to run it behind a proxy, set --public-origin and \
                       --trusted-proxy";
        let body = json!({ "error": { "code": "not_public", "message": message } }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::FORBIDDEN;
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        Some(response)
    }
}

/// Whether a proxy sent this request: it names another host, has a forwarding header, or uses HTTP/1.0, which is
/// nginx's default.
fn is_by_proxy<R>(request: &Request<R>) -> bool {
    let headers = request.headers();
    request.version() == Version::HTTP_10
        || FORWARDING.iter().any(|name| headers.contains_key(name))
        || !is_for_this_machine(headers)
}

fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|it| it.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_recognised() {
        let request = |headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri("/api/register");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(()).unwrap()
        };
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "127.0.0.2", "[::1]"] {
            assert!(Door::Private.refusal(&request(&[("host", host)])).is_none(), "{host}");
        }
        for host in ["odds.example.com", "192.0.2.1:8080", "localhost.example.com", "", "127.0.0.1.example.com:80"] {
            assert!(Door::Private.refusal(&request(&[("host", host)])).is_some(), "{host}");
            assert!(Door::Open.refusal(&request(&[("host", host)])).is_none(), "{host}");
        }
        for name in ["x-forwarded-for", "x-real-ip", "forwarded"] {
            assert!(Door::Private.refusal(&request(&[("host", "localhost"), (name, "192.0.2.1")])).is_some(), "{name}");
        }
        let mut old = request(&[("host", "localhost")]);
        *old.version_mut() = Version::HTTP_10;
        assert!(Door::Private.refusal(&old).is_some());
        *old.uri_mut() = PROBES[0].parse().unwrap();
        assert!(Door::Private.refusal(&old).is_none());
    }
}
