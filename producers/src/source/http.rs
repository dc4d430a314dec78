//! The HTTP client that all sources share: limits of time and size, and errors that never contain the key.

use std::{fmt, time::Duration};

use odds::Timestamp;
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tracing::warn;

use super::RetryAfter;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole request, including the body of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Far more than the largest answer seen so far, which had 200 kB.
const MAX_BODY: usize = 32 << 20;
/// The longest text of upstream's errors that is passed on, and the longest media type.
const MAX_MESSAGE: usize = 200;
const MAX_MEDIA_TYPE: usize = 64;
/// How much of an unexpected body is logged.
const MAX_LOGGED: usize = 120;

/// An API key. Its debug output doesn't contain the key.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(key: String) -> Self {
        Self(key)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

/// A client of one API.
#[derive(Debug)]
pub(super) struct ApiClient {
    base: Url,
    key: ApiKey,
    client: Client,
}

/// A whole response, whatever its status.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
}

/// A request without a whole response.
pub(super) struct NoReply {
    pub(super) reason: String,
    /// Whether upstream may have got the request, and charged for it.
    pub(super) was_sent: bool,
    /// The response's headers, if it broke off after them.
    pub(super) headers: HeaderMap,
}

impl ApiClient {
    pub(super) fn new(base: Url, key: ApiKey) -> anyhow::Result<Self> {
        anyhow::ensure!(!base.cannot_be_a_base(), "the address {base} can't have a path");
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).gzip(true).build()?;
        Ok(Self { base, key, client })
    }

    /// Sends a request with the key.
    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Reply, NoReply> {
        self.send(path, &[query, &[("apiKey", &self.key.0)]].concat()).await
    }

    /// Sends a request that needs no key.
    pub(super) async fn get_without_key(&self, path: &[&str]) -> Result<Reply, NoReply> {
        self.send(path, &[]).await
    }

    async fn send(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Reply, NoReply> {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("checked when the client was made").extend(path);
        let answer = self.client.get(url).query(query).send().await;
        let mut answer = answer.map_err(|error| NoReply {
            was_sent: !error.is_connect(),
            reason: causes(error),
            headers: HeaderMap::new(),
        })?;
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        match read(answer).await {
            Ok(body) => Ok(Reply { status, headers, body }),
            Err(reason) => Err(NoReply { reason, was_sent: true, headers }),
        }
    }

    /// Reads the body as JSON. Logs a body that is none, and returns the reason.
    pub(super) fn json<T: DeserializeOwned>(&self, reply: &Reply) -> Result<T, String> {
        serde_json::from_slice(&reply.body).map_err(|error| {
            warn!(status = %reply.status, %error, body = self.excerpt(&reply.body), "an answer is not the expected JSON");
            format!("an answer is not the expected JSON{}", reply.media_type())
        })
    }

    /// Logs a response that is no answer, and returns the reason.
    pub(super) fn failure(&self, reply: &Reply) -> String {
        warn!(status = %reply.status, body = self.excerpt(&reply.body), "the odds API fails");
        format!("status {}{}", reply.status.as_u16(), reply.media_type())
    }

    /// Returns upstream's error message in a form that is safe to show to clients.
    pub(super) fn words(&self, text: &str) -> String {
        if text.contains(['<', '>']) {
            return "its message is HTML".into();
        }
        let plain: String = text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
        self.hide_key(&plain)
    }

    /// Returns the beginning of a body, for the log only.
    pub(super) fn excerpt(&self, body: &[u8]) -> String {
        let whole = self.hide_key(&String::from_utf8_lossy(body));
        whole.chars().filter(|c| !c.is_control()).take(MAX_LOGGED).collect()
    }

    fn hide_key(&self, text: &str) -> String {
        if self.key.0.is_empty() { text.to_owned() } else { text.replace(&self.key.0, "[key]") }
    }
}

impl Reply {
    /// The body of an error, as far as it can be read.
    pub(super) fn error<T: DeserializeOwned + Default>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Reads `Retry-After`: a date, or a number of seconds, which may be too large for 64 bits.
    pub(super) fn retry_after(&self) -> Option<RetryAfter> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(RetryAfter::In(Duration::from_secs(text.parse().unwrap_or(u64::MAX))));
        }
        let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
        Some(RetryAfter::At(Timestamp::from_millis(date.unix_timestamp().saturating_mul(1_000))))
    }

    /// Returns the body's media type in parentheses, to be appended to a reason.
    fn media_type(&self) -> String {
        let text = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let text = text.split(';').next().unwrap_or_default().trim();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'.' | b'-');
        let is_plain = !text.is_empty() && text.len() <= MAX_MEDIA_TYPE && text.bytes().all(plain);
        if is_plain { format!(" ({text})") } else { String::new() }
    }
}

/// Reads a header with a number. It may be missing.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// Returns an error and its causes as text, without the URL, which contains the key.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(causes)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            return Err(format!("an answer has more than {MAX_BODY} bytes"));
        }
    }
    Ok(body)
}
