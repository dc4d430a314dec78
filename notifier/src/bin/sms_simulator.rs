//! The program `sms-simulator`: stands in for an SMS provider with an API like Twilio's. It shows what it was given on
//! a page, and reports deliveries as a provider does.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use axum::{
    Form, Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Parser;
use html_escape::encode_text;
use messages::{PhoneNumber, signature};
use serde_json::{Value, json};
use service::ProgramSettings;
use tokio::net::TcpListener;
use tracing::{info, warn};

/// How many messages the page shows.
const SHOWN: usize = 500;
/// When a message is reported as sent and as delivered.
const REPORTS: [(Duration, &str); 2] = [(Duration::from_secs(1), "sent"), (Duration::from_secs(3), "delivered")];
/// Numbers that are never valid or can't receive SMS, as with Twilio's test credentials.
const INVALID: &str = "+15005550001";
const UNREACHABLE: &str = "+15005550009";

/// Stands in for an SMS provider: accepts messages, shows them on a page, and reports their delivery.
#[derive(Clone, Debug, Parser)]
#[command(name = "sms-simulator", version)]
struct Settings {
    /// The address of the API and of the page.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4200")]
    listen: SocketAddr,

    /// The account that it knows.
    #[arg(long, value_name = "ACCOUNT", default_value = "AC-simulator")]
    sms_account: String,

    /// The account's secret token, which also signs reports.
    #[arg(long, value_name = "TOKEN", default_value = "simulator", hide_env_values = true)]
    sms_token: String,

    /// Where reports are sent, as http://gateway:8080, instead of the host that a message names.
    #[arg(long, value_name = "URL")]
    reports_to: Option<String>,

    /// How many messages are kept.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    keep: usize,

    #[command(flatten)]
    program: ProgramSettings,
}

struct Sms {
    to: String,
    body: String,
    status: &'static str,
}

struct Simulator {
    settings: Settings,
    client: reqwest::Client,
    state: Mutex<Received>,
}

/// What was received, the oldest first, and the number of the oldest one.
#[derive(Default)]
struct Received {
    first: usize,
    all: VecDeque<Sms>,
}

fn main() -> ExitCode {
    service::main(run)
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let program = settings.program.start("sms-simulator")?;
    let listener = TcpListener::bind(settings.listen).await.with_context(|| settings.listen.to_string())?;
    info!(address = %listener.local_addr()?, "listening");
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let simulator = Arc::new(Simulator { settings, client, state: Mutex::default() });
    let router = Router::new()
        .route("/", get(page))
        .route("/2010-04-01/Accounts/{account}/Messages.json", get(list).post(take))
        .with_state(simulator);
    let stop = program.stopping();
    program.lifecycle.run("the API", async move {
        axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?;
        Ok(())
    });
    program.wait().await
}

fn refused(status: StatusCode, code: u32, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message, "status": status.as_u16() }))).into_response()
}

/// All messages that are kept, the newest first.
async fn list(State(simulator): State<Arc<Simulator>>, Path(account): Path<String>, headers: HeaderMap) -> Response {
    if !simulator.knows(&account, &headers) {
        return refused(StatusCode::UNAUTHORIZED, 20_003, "Authenticate");
    }
    let state = simulator.state();
    let json = |(at, Sms { to, body, status }): (usize, &Sms)| json!({ "sid": sid(state.first + at), "to": to, "body": body, "status": status });
    let messages: Vec<Value> = state.all.iter().enumerate().rev().map(json).collect();
    Json(json!({ "messages": messages })).into_response()
}

/// The id of the message with this number.
fn sid(number: usize) -> String {
    format!("SM{number:032x}")
}

type Fields = Vec<(String, String)>;

async fn take(
    State(simulator): State<Arc<Simulator>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Response {
    if !simulator.knows(&account, &headers) {
        return refused(StatusCode::UNAUTHORIZED, 20_003, "Authenticate");
    }
    let field =
        |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default();
    let (to, body, callback) = (field("To"), field("Body"), field("StatusCallback"));
    if to.parse::<PhoneNumber>().is_err() || to == INVALID {
        return refused(StatusCode::BAD_REQUEST, 21_211, "Invalid 'To' Phone Number");
    }
    if to == UNREACHABLE {
        return refused(StatusCode::BAD_REQUEST, 21_614, "'To' number is not a valid mobile number");
    }
    if body.is_empty() {
        return refused(StatusCode::BAD_REQUEST, 21_602, "Message body is required");
    }
    let number = simulator.receive(Sms { to, body, status: "queued" });
    let sid = sid(number);
    if !callback.is_empty() {
        tokio::spawn(simulator.clone().report(number, sid.clone(), callback));
    }
    (StatusCode::CREATED, Json(json!({ "sid": sid, "status": "queued" }))).into_response()
}

impl Simulator {
    fn state(&self) -> std::sync::MutexGuard<'_, Received> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Whether a request has the login of this account.
    fn knows(&self, account: &str, headers: &HeaderMap) -> bool {
        let Settings { sms_account, sms_token, .. } = &self.settings;
        let login = format!("Basic {}", STANDARD.encode(format!("{sms_account}:{sms_token}")));
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        given == Some(&login) && account == sms_account
    }

    /// Returns its number.
    fn receive(&self, sms: Sms) -> usize {
        let mut state = self.state();
        state.all.push_back(sms);
        if state.all.len() > self.settings.keep.max(1) {
            state.all.pop_front();
            state.first += 1;
        }
        state.first + state.all.len() - 1
    }

    fn set_status(&self, number: usize, status: &'static str) {
        let mut state = self.state();
        let place = number.checked_sub(state.first);
        if let Some(sms) = place.and_then(|place| state.all.get_mut(place)) {
            sms.status = status;
        }
    }

    async fn report(self: Arc<Self>, number: usize, sid: String, callback: String) {
        let path = callback.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        let url = match (&self.settings.reports_to, path) {
            (Some(host), Some(path)) => format!("{}{path}", host.trim_end_matches('/')),
            _ => callback.clone(),
        };
        let mut waited = Duration::ZERO;
        for (after, status) in REPORTS {
            tokio::time::sleep(after - waited).await;
            waited = after;
            self.set_status(number, status);
            let form = vec![
                ("MessageSid".to_owned(), sid.clone()),
                ("MessageStatus".to_owned(), status.to_owned()),
                ("AccountSid".to_owned(), self.settings.sms_account.clone()),
            ];
            let signature = signature(&self.settings.sms_token, &callback, &form);
            let sent = self.client.post(&url).header("x-twilio-signature", signature).form(&form).send().await;
            match sent {
                Ok(response) if response.status().is_success() => {}
                Ok(response) => warn!(status = %response.status(), "a report was refused"),
                Err(error) => warn!(%error, "a report was not taken"),
            }
        }
    }
}

/// The newest messages.
async fn page(State(simulator): State<Arc<Simulator>>) -> Html<String> {
    let state = simulator.state();
    let row = |sms: &Sms| {
        let [to, body] = [&sms.to, &sms.body].map(|text| encode_text(text));
        format!("<tr><td>{to}<td>{body}<td>{}", sms.status)
    };
    let rows: String = state.all.iter().rev().take(SHOWN).map(row).collect();
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\">\
         <title>SMS</title><h1>SMS of the simulator</h1><table border=\"1\" cellpadding=\"6\">\
         <tr><th>To<th>Text<th>Status{rows}</table>"
    ))
}
