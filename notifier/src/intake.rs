//! Puts records into the outbox: transactions of other systems, and alerts of users.

use std::{sync::Arc, time::Duration};

use accounts::{AlertRecord, ContactKind, Contacts, Store, UserId};
use async_trait::async_trait;
use kafka::{ALERTS, RecordHandler, Refused, TopicRecord, Verdict};
use messages::{
    Channel, Content, EmailAddress, MESSAGE_ID, MessageId, NewMessage, Outbox, PhoneNumber, Transaction, USER,
};
use odds::Timestamp;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::Metrics;

pub(crate) struct Intake {
    pub(crate) channel: Channel,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) accounts: Arc<dyn Store>,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) deliver_within: Duration,
    pub(crate) deliver_alerts_within: Duration,
    /// Notified when something was added.
    pub(crate) added: Arc<Notify>,
    pub(crate) metrics: Metrics,
}

/// Why a record is no message yet.
enum NotRead {
    Unreadable(String),
    Later(String),
}

#[async_trait]
impl RecordHandler for Intake {
    async fn handle(&self, records: &[TopicRecord]) -> Result<(), Refused> {
        let mut messages = Vec::new();
        let mut refused = None;
        for (done, record) in records.iter().enumerate() {
            match self.message_of(record).await {
                Ok(message) => messages.extend(message),
                Err(NotRead::Unreadable(reason)) => {
                    refused = Some(Refused { done, verdict: Verdict::DeadLetter(reason) });
                    break;
                }
                Err(NotRead::Later(reason)) => {
                    refused = Some(Refused { done, verdict: Verdict::RetryLater(reason) });
                    break;
                }
            }
        }
        if !messages.is_empty() {
            match self.outbox.add(&messages, (self.clock)()).await {
                Ok(added) => self.metrics.added.inc_by(added as u64),
                Err(error) => return Err(Refused { done: 0, verdict: Verdict::RetryLater(error.to_string()) }),
            };
            self.added.notify_one();
        }
        refused.map_or(Ok(()), Err)
    }
}

impl Intake {
    /// The message that a record asks for on this channel, if it does.
    async fn message_of(&self, record: &TopicRecord) -> Result<Option<NewMessage>, NotRead> {
        let now = (self.clock)();
        if record.topic != ALERTS {
            return transaction(record, self.channel, self.deliver_within, now).map_err(NotRead::Unreadable);
        }
        let Some(alert) = Alert::read(record, self.channel).map_err(NotRead::Unreadable)? else { return Ok(None) };
        let contacts = self.accounts.contacts(&alert.user).await;
        // If the account was deleted, there is nobody to tell.
        let contacts = contacts.map_err(|error| NotRead::Later(error.to_string()))?;
        Ok(contacts.map(|(contacts, _)| alert.message(&contacts, self.channel, self.deliver_alerts_within, now)))
    }
}

/// An alert that a rule sends by this channel.
struct Alert {
    id: MessageId,
    user: UserId,
    created_at: Option<Timestamp>,
    content: Content,
}

impl Alert {
    fn read(record: &TopicRecord, channel: Channel) -> Result<Option<Self>, String> {
        #[derive(Deserialize)]
        struct Head {
            id: String,
            at: Timestamp,
            #[serde(default)]
            missed: bool,
            channels: Vec<String>,
        }
        let value = record.value.as_deref().ok_or("the record has no value")?;
        let AlertRecord { user, alert } = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let head: Head = serde_json::from_str(alert.get()).map_err(|error| error.to_string())?;
        let facts: alerts::Facts = serde_json::from_str(alert.get()).map_err(|error| error.to_string())?;
        if head.missed || head.channels.iter().all(|it| it != channel.key()) {
            return Ok(None);
        }
        Ok(Some(Self {
            id: head.id.parse().map_err(|error| format!("id: {error}"))?,
            user: UserId::named(&user),
            created_at: record.written_at.map(Timestamp::from_millis),
            content: Content::Alert { title: facts.title(), text: facts.sentence(), at: head.at },
        }))
    }

    /// The message to a user with these addresses. If it is not to be sent, it says why.
    fn message(self, contacts: &Contacts, channel: Channel, within: Duration, now: Timestamp) -> NewMessage {
        let kind = match channel {
            Channel::Email => ContactKind::Email,
            Channel::Sms => ContactKind::Phone,
        };
        let is_quiet = contacts.quiet_hours.as_ref().is_some_and(|quiet| quiet.contain(now));
        let skipped = match contacts.get(kind) {
            None => Some("there is no address"),
            Some(contact) if contact.confirmed_at.is_none() => Some("the address is not confirmed"),
            Some(contact) if !contact.alerts => Some("unsubscribed"),
            Some(_) if is_quiet => Some("quiet hours"),
            Some(_) => None,
        };
        let created_at = self.created_at.unwrap_or(now);
        let deadline = created_at.plus_millis(within.as_millis() as i64);
        // What could not be sent before the quiet hours is not sent in them.
        let quiet_from = contacts.quiet_hours.as_ref().filter(|_| !is_quiet).map(|quiet| quiet.next_after(now));
        NewMessage {
            id: self.id,
            channel,
            recipient: contacts.get(kind).map(|it| it.address.clone()).unwrap_or_default(),
            user: Some(self.user.as_str().to_owned()),
            content: self.content,
            created_at,
            deadline: quiet_from.map_or(deadline, |from| from.min(deadline)),
            skipped: skipped.map(ToOwned::to_owned),
        }
    }
}

/// The message that a transaction asks for on this channel, if it does. A record without the id of a message is named by
/// its place. Fails with the reason if it can't be read.
fn transaction(
    record: &TopicRecord,
    channel: Channel,
    deliver_within: Duration,
    now: Timestamp,
) -> Result<Option<NewMessage>, String> {
    let value = record.value.as_deref().ok_or("the record has no value")?;
    let transaction: Transaction = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let recipient = match channel {
        Channel::Email => transaction.email.as_deref().map(|email| match email.parse::<EmailAddress>() {
            Ok(email) => Ok(email.as_str().to_owned()),
            Err(error) => Err(format!("email: {error}")),
        }),
        Channel::Sms => transaction.phone.as_deref().map(|phone| match phone.parse::<PhoneNumber>() {
            Ok(phone) => Ok(phone.as_str().to_owned()),
            Err(error) => Err(format!("phone: {error}")),
        }),
    };
    let Some(recipient) = recipient.transpose()? else { return Ok(None) };
    let id = match record.header(MESSAGE_ID) {
        Some(id) => id.to_owned(),
        None => format!("{}-{}-{}", record.topic, record.partition, record.offset),
    };
    let id: MessageId = id.parse().map_err(|error| format!("{MESSAGE_ID}: {error}"))?;
    let created_at = record.written_at.map_or(now, Timestamp::from_millis);
    Ok(Some(NewMessage {
        id,
        channel,
        recipient,
        user: record.header(USER).map(ToOwned::to_owned),
        content: Content::Transaction { transaction_id: transaction.transaction_id, body: transaction.message_body },
        created_at,
        deadline: created_at.plus_millis(deliver_within.as_millis() as i64),
        skipped: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &str, headers: &[(&str, &str)]) -> TopicRecord {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec())));
        TopicRecord {
            topic: "transactions".into(),
            partition: 2,
            offset: 17,
            written_at: Some(1_000),
            key: None,
            value: Some(value.into()),
            headers: headers.collect(),
        }
    }

    fn read(record: &TopicRecord, channel: Channel) -> Result<Option<NewMessage>, String> {
        transaction(record, channel, Duration::from_secs(1), Timestamp::from_millis(5))
    }

    const BOTH: &str =
        r#"{"transaction_id":"t-1","message_body":"Hello","email":"Anna@Example.com","phone":"+44 7700 900123"}"#;

    #[test]
    fn a_record_is_a_message_on_each_channel_that_it_has_an_address_for() {
        let headers = [(MESSAGE_ID, "m-1"), (USER, "anna")];
        let email = read(&record(BOTH, &headers), Channel::Email).unwrap().unwrap();
        assert_eq!((email.id.as_str(), email.recipient.as_str()), ("m-1", "Anna@example.com"));
        assert_eq!(email.user.as_deref(), Some("anna"));
        assert_eq!((email.created_at.as_millis(), email.deadline.as_millis()), (1_000, 2_000));
        let sms = read(&record(BOTH, &headers), Channel::Sms).unwrap().unwrap();
        assert_eq!((sms.id.as_str(), sms.recipient.as_str()), ("m-1", "+447700900123"));
        let without = record(r#"{"transaction_id":"t-1","message_body":"Hello","phone":"+447700900123"}"#, &[]);
        assert_eq!(read(&without, Channel::Email), Ok(None));
        assert_eq!(read(&without, Channel::Sms).unwrap().unwrap().id.as_str(), "transactions-2-17");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (value, reason) in [
            ("{", "EOF"),
            (r#"{"transaction_id":"t-1"}"#, "message_body"),
            (r#"{"transaction_id":"t-1","message_body":"x","email":"anna"}"#, "email: expected"),
        ] {
            let error = read(&record(value, &[]), Channel::Email).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let empty = TopicRecord { value: None, ..record("", &[]) };
        assert!(read(&empty, Channel::Sms).is_err());
        assert!(read(&record(BOTH, &[(MESSAGE_ID, "a b")]), Channel::Sms).is_err());
    }

    fn alert(fields: &str) -> TopicRecord {
        let value = format!(
            r#"{{"user":"u1","alert":{{"id":"00000000000000a1-1-1","rule":"00000000000000a1","at":"2026-01-01T12:00:00Z",
                "kind":"price","home_team":"Arsenal","away_team":"Leeds","outcome":"Arsenal","price":2.1,"region":"uk",
                {fields}}}}}"#
        );
        TopicRecord {
            topic: ALERTS.into(),
            written_at: Some(at("2026-01-01T12:00:01Z").as_millis()),
            ..record(&value, &[])
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn contacts(text: &str) -> Contacts {
        serde_json::from_str(text).unwrap()
    }

    fn message(contacts: &Contacts) -> NewMessage {
        let record = alert(r#""channels":["page","email"]"#);
        let alert = Alert::read(&record, Channel::Email).unwrap().unwrap();
        alert.message(contacts, Channel::Email, Duration::from_secs(3_600), at("2026-01-01T12:00:02Z"))
    }

    const CONFIRMED: &str =
        r#""email":{"address":"anna@example.com","confirmed_at":"2026-01-01T00:00:00Z","alerts":true}"#;

    #[test]
    fn an_alert_is_sent_by_the_channels_of_its_rule() {
        let record = alert(r#""channels":["page","email"]"#);
        assert!(Alert::read(&record, Channel::Sms).unwrap().is_none());
        let missed = alert(r#""channels":["email"],"missed":true"#);
        assert!(Alert::read(&missed, Channel::Email).unwrap().is_none());
        let message = message(&contacts(&format!("{{{CONFIRMED}}}")));
        assert_eq!((message.id.as_str(), message.recipient.as_str()), ("00000000000000a1-1-1", "anna@example.com"));
        let text = "Arsenal reached 2.10 (UK)".to_owned();
        let content = Content::Alert { title: "Arsenal - Leeds".into(), text, at: at("2026-01-01T12:00:00Z") };
        assert_eq!((message.content, message.skipped), (content, None));
        assert_eq!(message.deadline, at("2026-01-01T13:00:01Z"));
    }

    #[test]
    fn an_alert_that_is_not_to_be_sent_says_why() {
        for (fields, reason) in [
            (String::new(), "there is no address"),
            (r#""email":{"address":"anna@example.com","alerts":true}"#.into(), "the address is not confirmed"),
            (CONFIRMED.replace("true", "false"), "unsubscribed"),
            (
                format!(r#"{CONFIRMED},"quiet_hours":{{"from":"11:00","until":"13:00","time_zone":"UTC"}}"#),
                "quiet hours",
            ),
        ] {
            assert_eq!(message(&contacts(&format!("{{{fields}}}"))).skipped.as_deref(), Some(reason));
        }
        let soon = format!(r#"{{{CONFIRMED},"quiet_hours":{{"from":"12:30","until":"13:00","time_zone":"UTC"}}}}"#);
        let message = message(&contacts(&soon));
        assert_eq!((message.skipped, message.deadline), (None, at("2026-01-01T12:30:00Z")));
    }
}
