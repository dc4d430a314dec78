//! Security headers for browsers, on every response: of the API, the page and Socket.IO.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The policy of the page: only its own files, and WebAssembly.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";
/// The policy of /api/docs: Swagger UI has inline styles and images.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The policy of the pages that links in messages lead to: a form with a style of its own, and nothing else.
const LINKS_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
    frame-ancestors 'none'";

/// The security headers of a response, which depend on the request's path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProtectiveHeaders {
    policy: &'static str,
    referrer: &'static str,
    may_be_kept: bool,
    over_tls: bool,
}

impl ProtectiveHeaders {
    pub(crate) fn of(path: &str, over_tls: bool) -> Self {
        let (policy, referrer) = match path {
            _ if path.starts_with("/api/docs") => (DOCS_POLICY, "no-referrer"),
            // Browsers say where a form comes from only if they may.
            _ if path.starts_with("/links/") => (LINKS_POLICY, "same-origin"),
            _ => (PAGE_POLICY, "no-referrer"),
        };
        let may_be_kept = !["/api/", "/socket.io/", "/links/"].iter().any(|of| path.starts_with(of));
        Self { policy, referrer, may_be_kept, over_tls }
    }

    pub(crate) fn set(self, headers: &mut HeaderMap) {
        let mut set = |name: HeaderName, value: &'static str| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        set(header::CONTENT_SECURITY_POLICY, self.policy);
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        set(header::REFERRER_POLICY, self.referrer);
        set(header::X_FRAME_OPTIONS, "DENY");
        set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
        set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
        set(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()");
        if self.over_tls {
            set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains");
        }
        if !self.may_be_kept {
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        }
    }
}
