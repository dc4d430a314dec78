//! The gateway's REST interface, as this page uses it.

use std::{collections::BTreeMap, fmt};

use gloo_net::http::{Method, RequestBuilder, Response};
use odds::Region;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Why something was not done, in words for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) fields: BTreeMap<String, String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Me {
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Site {
    pub(crate) registration: String,
    /// Who is signed in.
    pub(crate) me: Option<Me>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: odds::Timestamp,
    pub(crate) used_at: Option<odds::Timestamp>,
    /// Right after it was made.
    #[serde(default)]
    pub(crate) token: Option<String>,
}

fn unreachable(_: impl fmt::Debug) -> Failure {
    let message = "The server can't be reached. Check your connection and try again.".into();
    Failure { code: "unreachable".into(), message, ..Failure::default() }
}

async fn ask(method: Method, path: &str, body: Option<Value>) -> Result<Response, Failure> {
    #[derive(Deserialize)]
    struct Refused {
        error: Reason,
    }
    #[derive(Deserialize)]
    struct Reason {
        code: String,
        message: String,
        #[serde(default)]
        fields: BTreeMap<String, String>,
    }

    let request = RequestBuilder::new(path).method(method);
    let response = match body {
        Some(body) => request.json(&body).map_err(unreachable)?.send().await,
        None => request.send().await,
    };
    let response = response.map_err(unreachable)?;
    if response.ok() {
        return Ok(response);
    }
    let wait = response.headers().get("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    let Refused { error: Reason { code, message, fields } } = response.json().await.map_err(unreachable)?;
    let message = match (code.as_str(), wait) {
        ("too_many_attempts", Some(seconds)) => format!("Too many attempts. Try again in {seconds} s."),
        _ => sentence(&message),
    };
    Err(Failure { code, message, fields })
}

async fn get<T: DeserializeOwned>(path: &str) -> Result<T, Failure> {
    ask(Method::GET, path, None).await?.json().await.map_err(unreachable)
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    let text: String = first.into_iter().flatten().chain(letters).collect();
    if text.ends_with('.') { text } else { format!("{text}.") }
}

pub(crate) async fn site() -> Result<Site, Failure> {
    get("/api/site").await
}

pub(crate) async fn sign_in(name: &str, password: &str, is_new: bool) -> Result<Me, Failure> {
    let path = if is_new { "/api/register" } else { "/api/login" };
    let body = json!({ "name": name, "password": password });
    ask(Method::POST, path, Some(body)).await?.json().await.map_err(unreachable)
}

pub(crate) async fn sign_out(everywhere: bool) -> Result<(), Failure> {
    ask(Method::POST, &format!("/api/logout?everywhere={everywhere}"), None).await.map(drop)
}

pub(crate) async fn change_password(current: &str, new: &str) -> Result<(), Failure> {
    let body = json!({ "current_password": current, "new_password": new });
    ask(Method::PUT, "/api/password", Some(body)).await.map(drop)
}

pub(crate) async fn delete_account(password: &str) -> Result<(), Failure> {
    ask(Method::DELETE, "/api/me", Some(json!({ "password": password }))).await.map(drop)
}

pub(crate) async fn subscriptions() -> Result<Vec<Region>, Failure> {
    #[derive(Deserialize)]
    struct Subscriptions {
        regions: Vec<Region>,
    }
    get::<Subscriptions>("/api/subscriptions").await.map(|subscriptions| subscriptions.regions)
}

pub(crate) async fn subscribe(regions: &[Region]) -> Result<(), Failure> {
    ask(Method::PUT, "/api/subscriptions", Some(json!({ "regions": regions }))).await.map(drop)
}

/// The payload of a snapshot, under the filter that this is a query of.
pub(crate) async fn board(region: Region, query: &str) -> Result<String, Failure> {
    ask(Method::GET, &format!("/api/odds/{region}{query}"), None).await?.text().await.map_err(unreachable)
}

pub(crate) async fn tokens() -> Result<Vec<Token>, Failure> {
    get("/api/tokens").await
}

pub(crate) async fn make_token(name: &str) -> Result<Token, Failure> {
    let body = json!({ "name": name });
    ask(Method::POST, "/api/tokens", Some(body)).await?.json().await.map_err(unreachable)
}

pub(crate) async fn revoke_token(id: &str) -> Result<(), Failure> {
    ask(Method::DELETE, &format!("/api/tokens/{id}"), None).await.map(drop)
}
