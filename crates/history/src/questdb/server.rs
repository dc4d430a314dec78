//! Requests to a QuestDB server: rows are written to `/write` and queried by `/exec`.

use std::{borrow::Cow, ops::Deref, time::Duration};

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

use super::address::{Credentials, QuestDbAddress};
use crate::StoreError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take, with its response.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest response that is read. Queries ask for pages that are far smaller.
const MAX_RESPONSE: usize = 256 << 20;
/// How much of an error's text is kept.
const MAX_ERROR: usize = 300;

#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    address: QuestDbAddress,
}

/// The response to a query.
pub(super) struct Answer(Vec<u8>);

/// A text of an answer. It is copied only if it is escaped there.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
struct Dataset<T> {
    dataset: Vec<T>,
}

impl Answer {
    /// The rows, each as a tuple of its columns.
    pub(super) fn rows<'a, T: Deserialize<'a>>(&'a self) -> Result<Vec<T>, StoreError> {
        let answer: Result<Dataset<T>, _> = serde_json::from_slice(&self.0);
        answer.map(|answer| answer.dataset).map_err(|error| StoreError(format!("an unexpected response: {error}")))
    }
}

impl Server {
    pub(super) fn new(address: QuestDbAddress) -> Result<Self, StoreError> {
        let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).build();
        Ok(Self { client: client.map_err(|error| StoreError(described(&error)))?, address })
    }

    /// Runs a statement, and returns its rows.
    pub(super) async fn query<T: DeserializeOwned>(&self, sql: &str) -> Result<Vec<T>, StoreError> {
        self.fetch(sql).await?.rows()
    }

    /// Runs a statement that has no rows.
    pub(super) async fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.fetch(sql).await.map(drop)
    }

    /// Runs a query. Its rows are parsed later.
    pub(super) async fn fetch(&self, sql: &str) -> Result<Answer, StoreError> {
        let url = self.address.url.join("exec").expect("a valid path");
        let request = self.client.get(url).query(&[("query", sql), ("nm", "true")]);
        Ok(Answer(self.send(request).await?))
    }

    /// Writes lines of one table. They are stored together or not at all.
    pub(super) async fn write(&self, lines: String) -> Result<(), StoreError> {
        let url = self.address.url.join("write").expect("a valid path");
        self.send(self.client.post(url).query(&[("precision", "us")]).body(lines)).await.map(drop)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, StoreError> {
        let request = match &self.address.credentials {
            Credentials::None => request,
            Credentials::Password { user, password } => request.basic_auth(user, Some(password)),
            Credentials::Token(token) => request.bearer_auth(token),
        };
        let sent = request.send().await;
        let response = sent.map_err(|error| StoreError(format!("QuestDB: {}", described(&error))))?;
        let status = response.status();
        let body = read(response).await?;
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    }
}

/// Reads a response, up to the longest one.
async fn read(mut response: Response) -> Result<Vec<u8>, StoreError> {
    let failed = |error: reqwest::Error| StoreError(format!("QuestDB: {}", described(&error)));
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(failed)? {
        if body.len() + part.len() > MAX_RESPONSE {
            return Err(StoreError("QuestDB: the response is too long".to_owned()));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn refusal(status: StatusCode, body: &[u8]) -> StoreError {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(alias = "message")]
        error: String,
    }
    let text = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    let text: String = text.chars().take(MAX_ERROR).collect();
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ": check the user and the password in the address",
        _ => "",
    };
    StoreError(format!("QuestDB refused ({}): {text}{hint}", status.as_u16()))
}

/// The error and its causes, without the URL: it has the whole query.
fn described(error: &reqwest::Error) -> String {
    let what = match () {
        () if error.is_timeout() => "no response in time",
        () if error.is_connect() => "can't connect",
        () => "the connection failed",
    };
    let mut causes = vec![what.to_owned()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes.join(": ")
}
