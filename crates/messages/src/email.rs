//! E-mail: by an SMTP server, or into files.

use std::{
    fmt,
    str::FromStr,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
    transport::smtp::{Error as SmtpError, PoolConfig},
};

use crate::{Accepted, Delivery, EmailText, Fault, Folder, Links, Provider, Refusal, text::with_sources};

const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// Replies that are about the recipient or the message, and final. Others, as those about the login, concern the
/// operator, and the message waits.
const FINAL: [u16; 6] = [501, 550, 551, 552, 553, 555];
/// Those of them that say that there is no such recipient.
const NO_RECIPIENT: [u16; 3] = [550, 551, 553];

/// Where e-mails go: `smtp://…` or `smtps://…`, or a folder.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpUrl(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected smtps://[USER:PASSWORD@]HOST[:PORT], smtp://…?tls=required (STARTTLS) or smtp://… (without encryption)"
)]
pub struct InvalidSmtpUrl;

impl FromStr for SmtpUrl {
    type Err = InvalidSmtpUrl;

    fn from_str(text: &str) -> Result<Self, InvalidSmtpUrl> {
        Transport::from_url(text).map_err(|_| InvalidSmtpUrl)?;
        Ok(Self(text.to_owned()))
    }
}

/// Hides the password that may be in the URL.
impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmtpUrl(…)")
    }
}

/// The sender of e-mails, as `Toteboard <odds@example.com>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailSender(Mailbox);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as odds@example.com or Toteboard <odds@example.com>")]
pub struct InvalidSender;

impl FromStr for EmailSender {
    type Err = InvalidSender;

    fn from_str(text: &str) -> Result<Self, InvalidSender> {
        text.parse().map(Self).map_err(|_| InvalidSender)
    }
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Sends e-mails by a server.
pub struct SmtpProvider {
    url: SmtpUrl,
    connections: u32,
    /// With its connections.
    transport: Mutex<Transport>,
    sender: EmailSender,
    links: Links,
}

impl SmtpProvider {
    /// Keeps up to `connections` open.
    pub fn new(url: &SmtpUrl, sender: EmailSender, links: Links, connections: u32) -> Self {
        let transport = Mutex::new(transport(url, connections));
        Self { url: url.clone(), connections, transport, sender, links }
    }

    fn transport(&self) -> MutexGuard<'_, Transport> {
        self.transport.lock().expect("nobody panics while holding it")
    }
}

fn transport(url: &SmtpUrl, connections: u32) -> Transport {
    let pool = PoolConfig::new().max_size(connections).idle_timeout(Duration::from_secs(30));
    let transport = Transport::from_url(&url.0).expect("it was checked");
    transport.timeout(Some(CONNECTED_WITHIN)).pool_config(pool).build()
}

/// An e-mail that is being sent. If that is given up, its connection goes back to the transport with an answer that is
/// still to come, and everything sent on it afterwards would be taken for answered by the answer before. So all
/// connections are given up.
struct Unanswered<'a> {
    provider: &'a SmtpProvider,
    is_answered: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            *self.provider.transport() = transport(&self.provider.url, self.provider.connections);
        }
    }
}

#[async_trait]
impl Provider for SmtpProvider {
    async fn send(&self, delivery: &Delivery<'_>) -> Result<Accepted, Refusal> {
        let message = compose(delivery, &self.sender, &self.links)?;
        let transport = self.transport().clone();
        let mut sending = Unanswered { provider: self, is_answered: false };
        let reply = transport.send(message).await;
        sending.is_answered = true;
        let reply = reply.map_err(|error| refusal(&error))?;
        let words: Vec<&str> = reply.message().collect();
        Ok(Accepted { provider_id: None, detail: Some(format!("{} {}", reply.code(), words.join(" "))) })
    }
}

fn refusal(error: &SmtpError) -> Refusal {
    let reason = with_sources(error);
    match error.status().map(u16::from) {
        Some(code) if NO_RECIPIENT.contains(&code) && is_about_the_recipient(&reason) => Refusal::NoRecipient(reason),
        Some(code) if FINAL.contains(&code) => Refusal::Never(reason),
        Some(code) if (450..=452).contains(&code) => Refusal::Later { reason, at_fault: Fault::Message },
        Some(_) => Refusal::Later { reason, at_fault: Fault::Provider },
        None if was_not_connected(error) => Refusal::Later { reason, at_fault: Fault::Provider },
        // The connection may have been lost after the final dot.
        None => Refusal::Unknown(reason),
    }
}

/// Whether a reply about a recipient says that there is no such one. Its enhanced status code, if it has one, tells this
/// from an e-mail that is not wanted.
fn is_about_the_recipient(reason: &str) -> bool {
    let enhanced = reason.split(|it: char| it.is_whitespace() || "():,".contains(it)).find(|it| it.starts_with("5."));
    enhanced.is_none_or(|code| code.starts_with("5.1.") || code == "5.2.1")
}

/// Whether the server was never reached, so that nothing was sent.
fn was_not_connected(error: &SmtpError) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
            return [AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable].contains(&error.kind());
        }
        cause = error.source();
    }
    false
}

/// Where the recipient unsubscribes.
#[derive(Clone)]
struct ListUnsubscribe(String);

/// That a POST to that address is enough, as RFC 8058 has it.
#[derive(Clone)]
struct ListUnsubscribePost(String);

macro_rules! header {
    ($type:ident, $name:literal) => {
        impl Header for $type {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($name)
            }

            fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Self(text.to_owned()))
            }

            fn display(&self) -> HeaderValue {
                // As it is: folding or encoding it would break the address.
                HeaderValue::dangerous_new_pre_encoded(Self::name(), self.0.clone(), self.0.clone())
            }
        }
    };
}

header!(ListUnsubscribe, "List-Unsubscribe");
header!(ListUnsubscribePost, "List-Unsubscribe-Post");

fn compose(delivery: &Delivery<'_>, sender: &EmailSender, links: &Links) -> Result<Message, Refusal> {
    let never = |error: &dyn fmt::Display| Refusal::Never(error.to_string());
    let EmailText { subject, text, html, unsubscribe } = EmailText::of(delivery.messages, links);
    let date = std::time::UNIX_EPOCH + Duration::from_millis(delivery.at.as_millis().max(0) as u64);
    let recipient: lettre::Address = delivery.recipient.parse().map_err(|error| never(&error))?;
    let mut message = Message::builder()
        .from(sender.0.clone())
        .to(Mailbox::new(None, recipient))
        .subject(subject)
        .date(date)
        .message_id(Some(format!("<{}@{}>", delivery.reference, sender.0.email.domain())));
    if let Some(url) = unsubscribe {
        message = message
            .header(ListUnsubscribe(format!("<{url}>")))
            .header(ListUnsubscribePost("List-Unsubscribe=One-Click".to_owned()));
    }
    message.multipart(MultiPart::alternative_plain_html(text, html)).map_err(|error| never(&error))
}

/// Writes e-mails as files, for whoever has no server.
pub struct EmailFiles {
    folder: Folder,
    sender: EmailSender,
    links: Links,
}

impl EmailFiles {
    pub fn new(folder: Folder, sender: EmailSender, links: Links) -> Self {
        Self { folder, sender, links }
    }
}

#[async_trait]
impl Provider for EmailFiles {
    async fn send(&self, delivery: &Delivery<'_>) -> Result<Accepted, Refusal> {
        let message = compose(delivery, &self.sender, &self.links)?;
        self.folder.write(&format!("{}.eml", delivery.reference), message.formatted()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_about_the_recipient_or_about_the_message() {
        for reason in ["permanent error (550): 5.1.1 no such user", "permanent error (550): no such user", "5.2.1 off"]
        {
            assert!(is_about_the_recipient(reason), "{reason}");
        }
        for reason in ["permanent error (550): 5.7.1 looks like spam", "permanent error (550): 5.7.26 no DKIM"] {
            assert!(!is_about_the_recipient(reason), "{reason}");
        }
    }
}
