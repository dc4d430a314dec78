//! Puts the records of `transactions` into the outbox.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kafka::{RecordHandler, Refused, TopicRecord, Verdict};
use messages::{
    Channel, Content, EmailAddress, MESSAGE_ID, MessageId, NewMessage, Outbox, PhoneNumber, Transaction, USER,
};
use odds::Timestamp;
use tokio::sync::Notify;

use crate::Metrics;

pub(crate) struct Intake {
    pub(crate) channel: Channel,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) deliver_within: Duration,
    /// Notified when something was added.
    pub(crate) added: Arc<Notify>,
    pub(crate) metrics: Metrics,
}

#[async_trait]
impl RecordHandler for Intake {
    async fn handle(&self, records: &[TopicRecord]) -> Result<(), Refused> {
        let mut messages = Vec::new();
        let mut unreadable = None;
        for (at, record) in records.iter().enumerate() {
            match message_of(record, self.channel, self.deliver_within, (self.clock)()) {
                Ok(message) => messages.extend(message),
                Err(reason) => {
                    unreadable = Some((at, reason));
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
        match unreadable {
            None => Ok(()),
            Some((done, reason)) => Err(Refused { done, verdict: Verdict::DeadLetter(reason) }),
        }
    }
}

/// The message that a record asks for on this channel, if it does. A record without the id of a message is named by its
/// place. Fails with the reason if it can't be read.
fn message_of(
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
        message_of(record, channel, Duration::from_secs(1), Timestamp::from_millis(5))
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
}
