//! The words of messages.
//!
//! Whatever comes from users, feeds and other systems is plain text here: it can't end a header's line, and is escaped
//! in HTML.

use html_escape::{encode_double_quoted_attribute, encode_text};
use odds::Timestamp;

use crate::{AccountChange, Content, Links, StoredMessage, gsm::one_segment};

/// An e-mail without its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailText {
    pub subject: String,
    pub text: String,
    pub html: String,
    /// Where its recipient unsubscribes from such e-mails.
    pub unsubscribe: Option<String>,
}

const SUCCESSFUL: &str = "Transaction Successful";
const NOT_YOU: &str = "If it was not you, there is nothing to do.";

/// A paragraph.
enum Part {
    Say(String),
    Link { label: &'static str, url: String },
}

use Part::{Link, Say};

/// Text without control characters, so that it can't end a header's line or hide something.
fn plain(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect::<String>().trim().to_owned()
}

/// Keeps line breaks, and no other control characters.
fn lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// A time to the minute.
fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} UTC", text.get(..16).unwrap_or(&text).replace('T', " "))
}

impl EmailText {
    fn new(subject: &str, heading: &str, parts: &[Part]) -> Self {
        let mut text = vec![heading.to_owned()];
        let mut html = format!("<h1>{}</h1>", encode_text(heading));
        for part in parts {
            match part {
                Say(words) => {
                    text.push(words.clone());
                    html += &format!("<p style=\"white-space: pre-line\">{}</p>", encode_text(words));
                }
                Link { label, url } => {
                    text.push(format!("{label}: {url}"));
                    html += &format!("<p><a href=\"{}\">{label}</a></p>", encode_double_quoted_attribute(url));
                }
            }
        }
        let title = encode_text(subject);
        Self {
            subject: subject.to_owned(),
            text: format!("{}\n", text.join("\n\n")),
            html: format!(
                "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
                 <body style=\"font-family: sans-serif\">{html}</body></html>"
            ),
            unsubscribe: None,
        }
    }

    /// What is sent to the recipient of these messages, which are several if they are alerts.
    pub fn of(messages: &[StoredMessage], links: &Links) -> Self {
        match messages {
            [StoredMessage { message, .. }] => {
                let user = message.user.as_deref().unwrap_or_default();
                Self::of_one(&message.content, user, &message.recipient, links)
            }
            _ => Self::digest(messages, links),
        }
    }

    fn of_one(content: &Content, user: &str, recipient: &str, links: &Links) -> Self {
        match content {
            Content::Transaction { transaction_id, body } => {
                let (id, body) = (plain(transaction_id), lines(body));
                let parts = [Say(format!("Transaction: {id}")), Say(body)];
                Self::new(&format!("{SUCCESSFUL}: {id}"), SUCCESSFUL, &parts)
            }
            Content::Alert { title, text, at } => {
                let (title, text) = (plain(title), plain(text));
                let parts = [Say(text.clone()), Say(minute(*at))];
                Self::new(&format!("{title}: {text}"), &title, &parts).with_unsubscribe(user, *at, links)
            }
            Content::ConfirmEmail { name, asked_at } => {
                let asked = format!(
                    "The Toteboard account {} has this e-mail address. Confirm within a day that it is yours.",
                    plain(name)
                );
                let url = links.confirm(user, recipient, *asked_at);
                let parts = [Say(asked), Link { label: "Confirm the address", url }, Say(NOT_YOU.into())];
                Self::new("Confirm your e-mail address", "Confirm your e-mail address", &parts)
            }
            Content::ConfirmPhone { nonce, asked_at: _ } => {
                // Numbers get codes by SMS only.
                Self::new("Your code", "Your code", &[Say(links.key().code(recipient, nonce))])
            }
            Content::ForgotPassword { name, epoch, asked_at } => {
                let asked = format!(
                    "Somebody has asked to choose another password for the Toteboard account {}. The link works once, \
                     within an hour.",
                    plain(name)
                );
                let url = links.password(user, *epoch, *asked_at);
                let parts = [Say(asked), Link { label: "Choose another password", url }, Say(NOT_YOU.into())];
                Self::new("Choose another password", "Choose another password", &parts)
            }
            Content::AccountChanged { name, change, at, from } => {
                let (name, from) = (plain(name), plain(from));
                let what = change.sentence(&name);
                let parts = [
                    Say(format!("{what} This was at {}, from {from}.", minute(*at))),
                    Say("If it was not you, choose another password at once.".into()),
                    Link { label: "Open Toteboard", url: links.page().to_owned() },
                ];
                Self::new(&format!("Your account {name} was changed"), "Your account was changed", &parts)
            }
            Content::Test { name } => {
                let words = format!("Messages to the Toteboard account {} arrive here.", plain(name));
                Self::new("A test", "A test", &[Say(words)])
            }
        }
    }

    fn digest(messages: &[StoredMessage], links: &Links) -> Self {
        let mut parts = Vec::new();
        let (mut first, mut last, mut user) = (String::new(), None, "");
        for StoredMessage { message, .. } in messages {
            if let Content::Alert { title, text, at } = &message.content {
                if first.is_empty() {
                    first = plain(title);
                }
                last = Some(*at);
                user = message.user.as_deref().unwrap_or_default();
                parts.push(Say(format!("{}\n{}\n{}", plain(title), plain(text), minute(*at))));
            }
        }
        let heading = format!("{} alerts", parts.len());
        let email = Self::new(&format!("{heading}: {first} and others"), &heading, &parts);
        email.with_unsubscribe(user, last.unwrap_or(Timestamp::from_millis(0)), links)
    }

    fn with_unsubscribe(mut self, user: &str, at: Timestamp, links: &Links) -> Self {
        let url = links.unsubscribe(user, at);
        self.text += &format!("\nNo more of these e-mails: {url}\n");
        let end = format!(
            "<p><small><a href=\"{}\">No more of these e-mails</a></small></p></body>",
            encode_double_quoted_attribute(&url)
        );
        self.html = self.html.replace("</body>", &end);
        self.unsubscribe = Some(url);
        self
    }
}

impl AccountChange {
    fn sentence(&self, name: &str) -> String {
        match self {
            Self::Password => format!("The password of the Toteboard account {name} was changed."),
            Self::Email { now: Some(now) } => {
                format!("The Toteboard account {name} has another e-mail address: {now}.")
            }
            Self::Email { now: None } => format!("The Toteboard account {name} has no e-mail address any more."),
            Self::Phone { now: Some(now) } => format!("The Toteboard account {name} has another phone number: {now}."),
            Self::Phone { now: None } => format!("The Toteboard account {name} has no phone number any more."),
            Self::TokenCreated { name: token } => {
                format!("A token was created for the Toteboard account {name}: {}.", plain(token))
            }
            Self::TokenRevoked { name: token } => {
                format!("A token of the Toteboard account {name} was revoked: {}.", plain(token))
            }
        }
    }
}

/// The text of an SMS, which fits into one segment.
pub fn sms_text(messages: &[StoredMessage], links: &Links) -> String {
    let text = match messages {
        [StoredMessage { message, .. }] => match &message.content {
            Content::Transaction { transaction_id, body } => {
                let whole = format!("{SUCCESSFUL}: {}. {}", plain(transaction_id), plain(body));
                whole.trim_end_matches(". ").to_owned()
            }
            Content::Alert { title, text, .. } => format!("{}: {}", plain(title), plain(text)),
            Content::ConfirmPhone { nonce, .. } => {
                let code = links.key().code(&message.recipient, nonce);
                format!("{code} is your Toteboard code. It is valid for 10 minutes.")
            }
            Content::AccountChanged { name, change, .. } => change.sentence(&plain(name)),
            Content::Test { name } => format!("Messages to the Toteboard account {} arrive here.", plain(name)),
            // These have links, which are too long.
            Content::ConfirmEmail { .. } | Content::ForgotPassword { .. } => "Toteboard: see your e-mail.".to_owned(),
        },
        _ => {
            let titles = messages.iter().filter_map(|it| match &it.message.content {
                Content::Alert { title, text, .. } => Some(format!("{}: {}", plain(title), plain(text))),
                _ => None,
            });
            format!("{} alerts. {}", messages.len(), titles.collect::<Vec<_>>().join(". "))
        }
    };
    one_segment(&text)
}

/// An error with its causes, each once. Libraries' errors often say the least themselves.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Channel, NewMessage, SigningKey, State};

    fn at() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn links() -> Links {
        Links::new("https://odds.example.com", SigningKey::random())
    }

    fn stored(content: Content) -> StoredMessage {
        StoredMessage {
            message: NewMessage {
                id: "m-1".parse().unwrap(),
                channel: Channel::Email,
                recipient: "anna@example.com".into(),
                user: Some("u1".into()),
                content,
                created_at: at(),
                deadline: at(),
                skipped: None,
            },
            order: 1,
            state: State::Waiting,
            attempts: 0,
            detail: None,
            provider_id: None,
            batch: None,
            changed_at: at(),
        }
    }

    fn transaction(id: &str, body: &str) -> [StoredMessage; 1] {
        [stored(Content::Transaction { transaction_id: id.into(), body: body.into() })]
    }

    fn alert(title: &str, text: &str) -> StoredMessage {
        stored(Content::Alert { title: title.into(), text: text.into(), at: at() })
    }

    #[test]
    fn a_transaction_says_that_it_was_successful() {
        let content = transaction("t-17", "2 tickets\nSeat 4");
        let email = EmailText::of(&content, &links());
        assert_eq!(email.subject, "Transaction Successful: t-17");
        assert_eq!(email.text, "Transaction Successful\n\nTransaction: t-17\n\n2 tickets\nSeat 4\n");
        assert!(email.html.contains("Transaction: t-17</p>") && email.html.contains("2 tickets\nSeat 4"));
        assert_eq!(email.unsubscribe, None);
        assert_eq!(sms_text(&content, &links()), "Transaction Successful: t-17. 2 tickets Seat 4");
    }

    #[test]
    fn nobody_adds_a_header_or_a_tag() {
        let forged = transaction("1\r\nBcc: eve@example.com", "<script>alert(1)</script>\u{1b}[2J & co");
        let email = EmailText::of(&forged, &links());
        assert_eq!(email.subject, "Transaction Successful: 1  Bcc: eve@example.com");
        assert!(!email.html.contains("<script>") && email.html.contains("&lt;script&gt;"), "{}", email.html);
        assert!(email.html.contains("&amp; co") && !email.text.contains('\u{1b}'));
        let email = EmailText::of(&[alert("Leeds\nTo: eve@example.com", "</title><img src=x>")], &links());
        assert!(!email.subject.contains('\n') && !email.html.contains("<img"), "{}", email.html);
    }

    #[test]
    fn alerts_come_with_a_link_that_ends_them() {
        let links = links();
        let one = EmailText::of(&[alert("Arsenal - Leeds", "Arsenal reached 2.10")], &links);
        assert_eq!(one.subject, "Arsenal - Leeds: Arsenal reached 2.10");
        let url = one.unsubscribe.unwrap();
        assert!(url.starts_with("https://odds.example.com/links/unsubscribe?token=") && one.text.contains(&url));
        let (_, token) = url.split_once('=').unwrap();
        assert_eq!(links.key().check(token, at()), Ok(crate::Permit::Unsubscribe { user: "u1".into() }));
        let many = EmailText::of(&[alert("A - B", "A moved"), alert("C - D", "C moved")], &links);
        assert_eq!(many.subject, "2 alerts: A - B and others");
        assert!(many.text.contains("C - D\nC moved\n2026-01-02 03:04 UTC") && many.unsubscribe.is_some());
        let sms = sms_text(&[alert("A - B", "A moved"), alert("C - D", "C moved")], &links);
        assert_eq!(sms, "2 alerts. A - B: A moved. C - D: C moved");
    }

    #[test]
    fn each_of_our_own_texts_fits_into_one_segment_uncut() {
        let links = links();
        let name = "x".repeat(64);
        for content in [
            Content::ConfirmPhone { nonce: "n".into(), asked_at: at() },
            Content::Test { name: name.clone() },
            Content::ConfirmEmail { name: name.clone(), asked_at: at() },
            Content::AccountChanged { name, change: AccountChange::Password, at: at(), from: "10.0.0.1".into() },
        ] {
            let text = sms_text(&[stored(content)], &links);
            assert!(text.chars().count() <= 160 && !text.ends_with("..."), "{text}");
        }
        let code = links.key().code("anna@example.com", "n");
        let asked = stored(Content::ConfirmPhone { nonce: "n".into(), asked_at: at() });
        assert!(sms_text(&[asked], &links).starts_with(&code));
    }

    #[test]
    fn an_sms_is_one_segment() {
        let text = sms_text(&transaction("t-17", &"word ".repeat(100)), &links());
        assert!(text.starts_with("Transaction Successful: t-17. word") && text.ends_with("..."));
        assert!(text.chars().count() <= 160, "{text}");
    }
}
