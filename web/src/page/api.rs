//! A client of the gateway's REST interface, as far as the page uses it.

use std::{collections::BTreeMap, fmt};

use leptos::prelude::window;
use odds::{Region, Timestamp};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Request, RequestInit, Response};

use crate::{
    text,
    view::{Key, Rule},
};

/// The address of the gateway's sockets.
pub(crate) fn socket_url() -> String {
    let location = window().location();
    let scheme = if location.protocol().is_ok_and(|it| it == "https:") { "wss" } else { "ws" };
    let host = location.host().unwrap_or_default();
    format!("{scheme}://{host}/socket.io/?EIO=4&transport=websocket")
}

/// A failed request, with a message to show.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Me {
    pub(crate) name: String,
    pub(crate) regions: Vec<Region>,
    /// Whether there are views that not all accounts have.
    #[serde(default)]
    pub(crate) more: bool,
}

/// A view that not all accounts have.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct ExtraView {
    pub(crate) name: Key,
    pub(crate) title: String,
    /// The path of its code.
    pub(crate) code: String,
    /// What the socket's `auth` has in addition.
    pub(crate) auth: BTreeMap<String, bool>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Site {
    pub(crate) registration: String,
    /// The signed-in user.
    pub(crate) me: Option<Me>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: odds::Timestamp,
    pub(crate) used_at: Option<odds::Timestamp>,
    /// The secret, only in the response that creates the token.
    #[serde(default)]
    pub(crate) token: Option<String>,
}

/// An address of the user.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Contact {
    pub(crate) address: String,
    pub(crate) confirmed: bool,
    pub(crate) alerts: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct QuietHours {
    pub(crate) from: String,
    pub(crate) until: String,
    pub(crate) time_zone: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Contacts {
    pub(crate) email: Option<Contact>,
    pub(crate) sms: Option<Contact>,
    pub(crate) quiet_hours: Option<QuietHours>,
}

/// What is to be changed: which alerts are sent, or when none are.
#[derive(Default, Serialize)]
pub(crate) struct ContactChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    email_alerts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sms_alerts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quiet_hours: Option<Option<QuietHours>>,
}

impl ContactChanges {
    pub(crate) fn alerts(channel: &str, wanted: bool) -> Self {
        match channel {
            "email" => Self { email_alerts: Some(wanted), ..Self::default() },
            _ => Self { sms_alerts: Some(wanted), ..Self::default() },
        }
    }

    pub(crate) fn quiet(hours: Option<QuietHours>) -> Self {
        Self { quiet_hours: Some(hours), ..Self::default() }
    }
}

/// A message to the user, or of the user's programs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) channel: String,
    pub(crate) recipient: String,
    pub(crate) state: String,
    pub(crate) kind: String,
    pub(crate) about: Option<String>,
    pub(crate) changed_at: Timestamp,
    pub(crate) detail: Option<String>,
}

/// What is recorded of an event in one region.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct EventInRegion {
    pub(crate) region: Region,
    pub(crate) first_seen: odds::Timestamp,
    pub(crate) price_changes: u64,
}

/// The code of a failure without an answer.
pub(crate) const UNREACHABLE: &str = "unreachable";

fn unreachable(_: impl fmt::Debug) -> Failure {
    let message = text::UNREACHABLE.into();
    Failure { code: UNREACHABLE.into(), message, ..Failure::default() }
}

/// Sends a request and returns the response's text. Fails on any status that isn't 2xx.
async fn ask(method: &str, path: &str, body: Option<String>) -> Result<String, Failure> {
    let (status, wait, text) = fetch(method, path, body.as_deref()).await.map_err(unreachable)?;
    if (200..300).contains(&status) { Ok(text) } else { Err(refused(wait, &text)) }
}

/// Sends a request and returns the status, `retry-after` and the body.
async fn fetch(method: &str, path: &str, body: Option<&str>) -> Result<(u16, Option<String>, String), JsValue> {
    let init = RequestInit::new();
    init.set_method(method);
    if let Some(body) = body {
        init.set_body(&body.into());
    }
    let request = Request::new_with_str_and_init(path, &init)?;
    if body.is_some() {
        request.headers().set("content-type", "application/json")?;
    }
    let response: Response = JsFuture::from(window().fetch_with_request(&request)).await?.dyn_into()?;
    let text = JsFuture::from(response.text()?).await?.as_string().unwrap_or_default();
    Ok((response.status(), response.headers().get("retry-after")?, text))
}

/// The failure in a response that refuses.
pub(crate) fn refused(wait: Option<String>, text: &str) -> Failure {
    #[derive(Deserialize)]
    struct Refused {
        error: Failure,
    }
    match serde_json::from_str(text) {
        Ok(Refused { error }) => {
            let message = match (error.code.as_str(), wait) {
                ("too_many_attempts", Some(seconds)) => text::too_many_attempts(&seconds),
                _ => sentence(&error.message),
            };
            Failure { message, ..error }
        }
        Err(error) => unreachable(error),
    }
}

pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values")
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(unreachable)
}

pub(crate) async fn get<T: DeserializeOwned>(path: &str) -> Result<T, Failure> {
    read(&ask("GET", path, None).await?)
}

/// Returns a text with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut text = text.to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

pub(crate) async fn site() -> Result<Site, Failure> {
    get("/api/site").await
}

pub(crate) async fn extra_views() -> Result<Vec<ExtraView>, Failure> {
    get("/api/me/views").await
}

#[derive(Serialize)]
struct Credentials<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<&'a str>,
}

pub(crate) async fn sign_in(name: &str, password: &str, is_new: bool) -> Result<Me, Failure> {
    let path = if is_new { "/api/register" } else { "/api/login" };
    read(&ask("POST", path, Some(json(&Credentials { name: Some(name), password: Some(password) }))).await?)
}

/// Signs in with the code of a link.
pub(crate) async fn sign_in_with_code(code: &str) -> Result<Me, Failure> {
    #[derive(Serialize)]
    struct Code<'a> {
        code: &'a str,
    }
    read(&ask("POST", "/api/login/code", Some(json(&Code { code }))).await?)
}

pub(crate) async fn sign_out(everywhere: bool) -> Result<(), Failure> {
    ask("POST", &format!("/api/logout?everywhere={everywhere}"), None).await.map(drop)
}

pub(crate) async fn change_password(current: &str, new: &str) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Change<'a> {
        current_password: &'a str,
        new_password: &'a str,
    }
    let change = Change { current_password: current, new_password: new };
    ask("PUT", "/api/password", Some(json(&change))).await.map(drop)
}

pub(crate) async fn delete_account(password: &str) -> Result<(), Failure> {
    ask("DELETE", "/api/me", Some(json(&Credentials { name: None, password: Some(password) }))).await.map(drop)
}

/// Changes the subscriptions, and returns the payload of the event `subscriptions`.
pub(crate) async fn subscribe(regions: &[Region]) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct Wanted<'a> {
        regions: &'a [Region],
    }
    ask("PUT", "/api/subscriptions", Some(json(&Wanted { regions }))).await
}

/// Returns the payload of a snapshot, with the filter in this query string.
pub(crate) async fn board(region: Region, query: &str) -> Result<String, Failure> {
    ask("GET", &format!("/api/odds/{region}{query}"), None).await
}

/// Returns what is recorded of an event.
pub(crate) async fn event_history(id: &str) -> Result<Vec<EventInRegion>, Failure> {
    #[derive(Deserialize)]
    struct History {
        regions: Vec<EventInRegion>,
    }
    get::<History>(&format!("/api/history/events/{id}")).await.map(|it| it.regions)
}

pub(crate) async fn tokens() -> Result<Vec<Token>, Failure> {
    get("/api/tokens").await
}

pub(crate) async fn make_token(name: &str, password: &str) -> Result<Token, Failure> {
    read(&ask("POST", "/api/tokens", Some(json(&Credentials { name: Some(name), password: Some(password) }))).await?)
}

pub(crate) async fn revoke_token(id: &str) -> Result<(), Failure> {
    ask("DELETE", &format!("/api/tokens/{id}"), None).await.map(drop)
}

/// The newest alerts, the oldest first.
#[derive(Deserialize)]
pub(crate) struct Inbox {
    pub(crate) alerts: Vec<Box<RawValue>>,
    /// How many of all are unread.
    pub(crate) unread: usize,
    /// The oldest first.
    pub(crate) unwatched: Vec<UnwatchedTime>,
}

/// A time in which rules about a region were not evaluated.
#[derive(Deserialize)]
pub(crate) struct UnwatchedTime {
    pub(crate) region: Region,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

pub(crate) async fn alerts(limit: usize) -> Result<Inbox, Failure> {
    get(&format!("/api/alerts?limit={limit}")).await
}

/// Marks these alerts as read, or all. Returns how many are still unread.
pub(crate) async fn read_alerts(ids: Option<Vec<String>>) -> Result<usize, Failure> {
    #[derive(Serialize)]
    struct Read {
        #[serde(skip_serializing_if = "Option::is_none")]
        ids: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    struct Unread {
        unread: usize,
    }
    read::<Unread>(&ask("POST", "/api/alerts/read", Some(json(&Read { ids }))).await?).map(|it| it.unread)
}

pub(crate) async fn rules() -> Result<Vec<Rule>, Failure> {
    get("/api/rules").await
}

/// Makes a rule of these fields.
pub(crate) async fn make_rule(fields: &impl Serialize) -> Result<(), Failure> {
    ask("POST", "/api/rules", Some(json(fields))).await.map(drop)
}

pub(crate) async fn delete_rule(id: &str) -> Result<(), Failure> {
    ask("DELETE", &format!("/api/rules/{id}"), None).await.map(drop)
}

pub(crate) async fn contacts() -> Result<Contacts, Failure> {
    get("/api/contacts").await
}

/// Sets the e-mail address, or removes it if it is empty.
pub(crate) async fn set_email(address: &str, password: &str) -> Result<Contacts, Failure> {
    #[derive(Serialize)]
    struct New<'a> {
        #[serde(skip_serializing_if = "str::is_empty")]
        address: &'a str,
        password: &'a str,
    }
    let method = if address.is_empty() { "DELETE" } else { "PUT" };
    read(&ask(method, "/api/contacts/email", Some(json(&New { address, password }))).await?)
}

/// Sets the phone number, or removes it if it is empty.
pub(crate) async fn set_sms(address: &str) -> Result<Contacts, Failure> {
    #[derive(Serialize)]
    struct New<'a> {
        address: &'a str,
    }
    let (method, body) = match address.is_empty() {
        true => ("DELETE", None),
        false => ("PUT", Some(json(&New { address }))),
    };
    read(&ask(method, "/api/contacts/sms", body).await?)
}

pub(crate) async fn enter_code(code: &str) -> Result<Contacts, Failure> {
    #[derive(Serialize)]
    struct Code<'a> {
        code: &'a str,
    }
    read(&ask("POST", "/api/contacts/sms/code", Some(json(&Code { code }))).await?)
}

/// Asks for a `confirmation` or a `test`.
pub(crate) async fn ask_for_message(channel: &str, what: &str) -> Result<(), Failure> {
    ask("POST", &format!("/api/contacts/{channel}/{what}"), None).await.map(drop)
}

pub(crate) async fn change_contacts(changes: &ContactChanges) -> Result<Contacts, Failure> {
    read(&ask("PATCH", "/api/contacts", Some(json(changes))).await?)
}

/// The newest messages, the newest first.
pub(crate) async fn messages() -> Result<Vec<Message>, Failure> {
    #[derive(Deserialize)]
    struct Page {
        messages: Vec<Message>,
    }
    get::<Page>("/api/messages?limit=50").await.map(|it| it.messages)
}

/// Has a link sent to choose another password, if there is such an account.
pub(crate) async fn forgot_password(name: &str) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Forgotten<'a> {
        name: &'a str,
    }
    ask("POST", "/api/password/forgotten", Some(json(&Forgotten { name }))).await.map(drop)
}
