//! Messages to people: where they are kept, how programs ask for them, and those that the gateway itself sends.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use accounts::{ContactKind, Requester, User};
use kafka::{KafkaError, KafkaSettings, RecordProducer};
use messages::{AccountChange, Channel, Content, Links, NewMessage, Outbox, SigningKey};
use odds::Timestamp;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::session::AppState;

/// How many records may be on their way to Kafka.
const IN_FLIGHT: usize = 2_000;
/// For how long it is tried to tell a user that the account was changed.
const TELL_WITHIN_MS: i64 = 24 * 3_600_000;

/// What a gateway needs for messages.
pub struct MessageParts {
    pub outbox: Arc<dyn Outbox>,
    /// Signs the links in messages.
    pub key: SigningKey,
    /// The secret with which the SMS provider signs its reports.
    pub sms_token: Option<String>,
}

pub(crate) struct Messages {
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) producer: RecordProducer,
    /// The topics that programs may produce to.
    pub(crate) topics: Vec<String>,
    pub(crate) in_flight: Semaphore,
    /// `None` if the gateway has no public origin.
    pub(crate) links: Option<Links>,
    pub(crate) sms_token: Option<String>,
    next_partition: AtomicUsize,
}

impl Messages {
    /// The origin is that of links in messages.
    pub(crate) fn new(
        parts: MessageParts,
        origin: Option<&str>,
        kafka: &KafkaSettings,
        topics: Vec<String>,
    ) -> Result<Self, KafkaError> {
        let MessageParts { outbox, key, sms_token } = parts;
        Ok(Self {
            outbox,
            producer: RecordProducer::new(kafka)?,
            topics,
            in_flight: Semaphore::new(IN_FLIGHT),
            links: origin.map(|origin| Links::new(origin, key)),
            sms_token,
            next_partition: AtomicUsize::new(0),
        })
    }

    /// Chooses partitions one after the other.
    pub(crate) fn next_partition(&self, count: usize) -> i32 {
        (self.next_partition.fetch_add(1, Ordering::Relaxed) % count.max(1)) as i32
    }
}

/// A message to a user that is sent for `lasts_ms` at most.
pub(crate) fn message_to(
    user: &User,
    channel: Channel,
    recipient: &str,
    content: Content,
    now: Timestamp,
    lasts_ms: i64,
) -> NewMessage {
    let id = format!("{}-{:032x}", content.kind(), rand::random::<u128>());
    NewMessage {
        id: id.parse().expect("letters and digits"),
        channel,
        recipient: recipient.to_owned(),
        user: Some(user.id.as_str().to_owned()),
        content,
        created_at: now,
        deadline: now.plus_millis(lasts_ms),
        skipped: None,
    }
}

impl AppState {
    /// Tells a user by e-mail that the account was changed, in the background.
    pub(crate) fn tell_of_change(self: &Arc<Self>, user: &User, change: AccountChange, by: &Requester) {
        let (app, user, from) = (self.clone(), user.clone(), by.address.to_string());
        tokio::spawn(async move {
            let contacts = match app.accounts.contacts_of(&user.id).await {
                Ok(contacts) => contacts,
                Err(error) => return warn!(%error, user = %user.id, "a user can't be told of a change"),
            };
            if let Some(address) = contacts.confirmed(ContactKind::Email) {
                app.tell_address(&user, address, change, from).await;
            }
        });
    }

    /// Tells this address that the account was changed.
    pub(crate) async fn tell_address(&self, user: &User, address: &str, change: AccountChange, from: String) {
        let Some(messages) = &self.messages else { return };
        let now = (self.clock)();
        let content = Content::AccountChanged { name: user.name.as_str().to_owned(), change, at: now, from };
        let message = message_to(user, Channel::Email, address, content, now, TELL_WITHIN_MS);
        if let Err(error) = messages.outbox.add(&[message], now).await {
            warn!(%error, user = %user.id, "a user can't be told of a change");
        }
    }
}
