//! SMS: by a provider with an API like Twilio's, or into files.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, StatusCode};
use serde::Deserialize;

use crate::{Accepted, Delivery, Fault, Folder, Links, Provider, Refusal, sms_text, text::with_sources};

const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// Codes of errors that are about the recipient, and final: no such number, it has opted out, it can't receive SMS.
const NO_RECIPIENT: [u32; 5] = [21_211, 21_214, 21_610, 21_612, 21_614];

/// An account at a provider.
#[derive(Clone)]
pub struct SmsAccount {
    /// The address of the API, as `https://api.twilio.com`.
    pub url: String,
    pub account: String,
    pub token: String,
    /// The number or the name that messages come from.
    pub sender: String,
}

/// Sends SMS by a provider.
pub struct SmsProvider {
    client: Client,
    account: SmsAccount,
    links: Links,
}

#[derive(Deserialize)]
struct Queued {
    sid: String,
    #[serde(default)]
    status: String,
}

#[derive(Default, Deserialize)]
struct Refused {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
}

impl SmsProvider {
    pub fn new(account: SmsAccount, links: Links) -> reqwest::Result<Self> {
        let client =
            Client::builder().connect_timeout(CONNECTED_WITHIN).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, account, links })
    }
}

#[async_trait]
impl Provider for SmsProvider {
    async fn send(&self, delivery: &Delivery<'_>) -> Result<Accepted, Refusal> {
        let SmsAccount { url, account, token, sender } = &self.account;
        let id = delivery.messages.first().map(|it| it.message.id.as_str()).unwrap_or_default();
        let form = [
            ("To", delivery.recipient.to_owned()),
            ("From", sender.clone()),
            ("Body", sms_text(delivery.messages, &self.links)),
            ("StatusCallback", self.links.sms_status(id)),
        ];
        let url = format!("{}/2010-04-01/Accounts/{account}/Messages.json", url.trim_end_matches('/'));
        let sent = self.client.post(url).basic_auth(account, Some(token)).form(&form).send().await;
        let response = sent.map_err(|error| lost(&error))?;
        let status = response.status();
        let body: Option<Vec<u8>> = response.bytes().await.ok().map(Into::into);
        if status.is_success() {
            // Accepted, whatever the rest says.
            let queued = body.and_then(|body| serde_json::from_slice::<Queued>(&body).ok());
            let (provider_id, detail) = queued.map(|it| (it.sid, it.status)).unzip();
            return Ok(Accepted { provider_id, detail });
        }
        let refused: Refused = body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
        let reason = format!("{status}: {} {}", refused.code, refused.message).trim_end().to_owned();
        if status == StatusCode::BAD_REQUEST && NO_RECIPIENT.contains(&refused.code) {
            return Err(Refusal::NoRecipient(reason));
        }
        Err(Refusal::Later { reason, at_fault: Fault::Provider })
    }
}

/// A request without an answer.
fn lost(error: &reqwest::Error) -> Refusal {
    let reason = with_sources(error);
    match error.is_connect() || error.is_builder() {
        true => Refusal::Later { reason, at_fault: Fault::Provider },
        false => Refusal::Unknown(reason),
    }
}

/// Writes SMS as files, for whoever has no provider.
pub struct SmsFiles {
    folder: Folder,
    links: Links,
}

impl SmsFiles {
    pub fn new(folder: Folder, links: Links) -> Self {
        Self { folder, links }
    }
}

#[async_trait]
impl Provider for SmsFiles {
    async fn send(&self, delivery: &Delivery<'_>) -> Result<Accepted, Refusal> {
        let text = format!("To: {}\n\n{}\n", delivery.recipient, sms_text(delivery.messages, &self.links));
        self.folder.write(&format!("{}.txt", delivery.reference), text.into_bytes()).await
    }
}
