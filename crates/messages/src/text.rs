//! The words of messages.

use html_escape::encode_text;

use crate::{Content, gsm::one_segment};

/// An e-mail without its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailText {
    pub subject: String,
    pub text: String,
    pub html: String,
}

const SUCCESSFUL: &str = "Transaction Successful";

/// Text without control characters, so that it can't end a header's line or hide something.
fn plain(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect::<String>().trim().to_owned()
}

/// Keeps line breaks, and no other control characters.
fn lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

impl EmailText {
    pub fn of(content: &Content) -> Self {
        match content {
            Content::Transaction { transaction_id, body } => {
                let (id, body) = (plain(transaction_id), lines(body));
                Self {
                    subject: format!("{SUCCESSFUL}: {id}"),
                    text: format!("{SUCCESSFUL}\n\nTransaction: {id}\n\n{body}\n"),
                    html: page(
                        SUCCESSFUL,
                        &format!(
                            "<p>Transaction: <b>{}</b></p><p style=\"white-space: pre-line\">{}</p>",
                            encode_text(&id),
                            encode_text(&body)
                        ),
                    ),
                }
            }
        }
    }
}

/// The text of an SMS, which fits into one segment.
pub fn sms_text(content: &Content) -> String {
    match content {
        Content::Transaction { transaction_id, body } => {
            let whole = format!("{SUCCESSFUL}: {}. {}", plain(transaction_id), plain(body));
            one_segment(whole.trim_end_matches(". "))
        }
    }
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

/// A page with a heading and parts that are HTML already.
fn page(heading: &str, parts: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{heading}</title>\
         <body style=\"font-family: sans-serif\"><h1>{heading}</h1>{parts}</body></html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(id: &str, body: &str) -> Content {
        Content::Transaction { transaction_id: id.into(), body: body.into() }
    }

    #[test]
    fn a_transaction_says_that_it_was_successful() {
        let content = transaction("t-17", "2 tickets\nSeat 4");
        let email = EmailText::of(&content);
        assert_eq!(email.subject, "Transaction Successful: t-17");
        assert_eq!(email.text, "Transaction Successful\n\nTransaction: t-17\n\n2 tickets\nSeat 4\n");
        assert!(email.html.contains("<b>t-17</b>") && email.html.contains("2 tickets\nSeat 4"));
        assert_eq!(sms_text(&content), "Transaction Successful: t-17. 2 tickets Seat 4");
    }

    #[test]
    fn nobody_adds_a_header_or_a_tag() {
        let email = EmailText::of(&transaction("1\r\nBcc: eve@example.com", "<script>alert(1)</script>\u{1b}[2J & co"));
        assert_eq!(email.subject, "Transaction Successful: 1  Bcc: eve@example.com");
        assert!(!email.html.contains("<script>") && email.html.contains("&lt;script&gt;"), "{}", email.html);
        assert!(email.html.contains("&amp; co") && !email.text.contains('\u{1b}'));
    }

    #[test]
    fn an_sms_is_one_segment() {
        let long = transaction("t-17", &"word ".repeat(100));
        let text = sms_text(&long);
        assert!(text.starts_with("Transaction Successful: t-17. word") && text.ends_with("..."));
        assert!(text.chars().count() <= 160, "{text}");
    }
}
