//! What sends messages: a provider of a channel.

use async_trait::async_trait;
use odds::Timestamp;
use sha2::{Digest, Sha256};

use crate::{MessageId, StoredMessage};

/// A message, or several as one, on its way to a provider.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// Names these messages. It is the same in each attempt.
    pub reference: String,
    pub recipient: &'a str,
    /// All of them to this recipient, in their order. There is at least one.
    pub messages: &'a [StoredMessage],
    /// The time of the first message, for the header.
    pub at: Timestamp,
}

impl<'a> Delivery<'a> {
    /// Several messages to the same recipient, in their order.
    pub fn of(messages: &'a [StoredMessage]) -> Option<Self> {
        let first = &messages.first()?.message;
        let ids: Vec<&MessageId> = messages.iter().map(|it| &it.message.id).collect();
        Some(Self {
            reference: reference(first.channel.key(), &ids),
            recipient: &first.recipient,
            messages,
            at: first.created_at,
        })
    }
}

/// A name for these messages that can be used in headers and as a file's name.
fn reference(channel: &str, ids: &[&MessageId]) -> String {
    let mut hash = Sha256::new();
    hash.update(channel);
    for id in ids {
        hash.update([0]);
        hash.update(id.as_str());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A message was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    pub provider_id: Option<String>,
    /// The provider's own words.
    pub detail: Option<String>,
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The provider can't take it now.
    Later { reason: String, at_fault: Fault },
    /// The provider will never take it.
    Never(String),
    /// There is no such recipient, or the recipient wants no messages.
    NoRecipient(String),
    /// The answer was lost: it may have been accepted.
    Unknown(String),
}

/// Whose fault it is that something can't be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Other messages may be accepted.
    Message,
    /// No message would be accepted.
    Provider,
}

#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Sends it. Whoever calls this limits its time.
    async fn send(&self, delivery: &Delivery<'_>) -> Result<Accepted, Refusal>;
}
