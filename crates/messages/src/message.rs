//! Messages: what they say, to whom, and how far they are.

use std::{fmt, str::FromStr};

use odds::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Channel;

const ID_LENGTH: std::ops::RangeInclusive<usize> = 1..=200;

/// The id of a message, the same on all of its channels. A message that is added again with the same id is not sent
/// again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to 200 printable characters of ASCII without spaces")]
pub struct InvalidMessageId;

impl MessageId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MessageId {
    type Err = InvalidMessageId;

    fn from_str(text: &str) -> Result<Self, InvalidMessageId> {
        let fits = ID_LENGTH.contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidMessageId) }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a message says. The channel chooses the words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Content {
    /// A transaction was successful.
    Transaction { transaction_id: String, body: String },
    /// A rule of the user fired.
    Alert {
        /// What it is about.
        title: String,
        /// What happened.
        text: String,
        at: Timestamp,
    },
    /// Somebody says that this e-mail address is theirs. The link is made when it is sent.
    ConfirmEmail { name: String, asked_at: Timestamp },
    /// Somebody says that this number is theirs. The code is made of the nonce when it is sent.
    ConfirmPhone { nonce: String, asked_at: Timestamp },
    /// Somebody forgot the password of this account, and may choose another one unless it is changed in the meantime.
    ForgotPassword { name: String, epoch: u64, asked_at: Timestamp },
    /// The account was changed.
    AccountChanged { name: String, change: AccountChange, at: Timestamp, from: String },
    /// The user wants to see whether messages arrive.
    Test { name: String },
}

/// The kind of messages that are for other people than the user.
pub(crate) const TRANSACTION: &str = "transaction";

/// What was changed in an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum AccountChange {
    Password,
    Email { now: Option<String> },
    Phone { now: Option<String> },
    TokenCreated { name: String },
    TokenRevoked { name: String },
}

impl Content {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Transaction { .. } => TRANSACTION,
            Self::Alert { .. } => "alert",
            Self::ConfirmEmail { .. } => "confirm_email",
            Self::ConfirmPhone { .. } => "confirm_phone",
            Self::ForgotPassword { .. } => "forgot_password",
            Self::AccountChanged { .. } => "account_changed",
            Self::Test { .. } => "test",
        }
    }

    pub fn is_alert(&self) -> bool {
        matches!(self, Self::Alert { .. })
    }

    /// Whether it is sent to an address although others to it failed for good: it is about the account, or the user has
    /// just asked for it.
    pub fn is_about_the_account(&self) -> bool {
        match self {
            Self::Transaction { .. } | Self::Alert { .. } => false,
            Self::ConfirmEmail { .. }
            | Self::ConfirmPhone { .. }
            | Self::ForgotPassword { .. }
            | Self::AccountChanged { .. }
            | Self::Test { .. } => true,
        }
    }
}

/// A message that is to be sent on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    pub id: MessageId,
    pub channel: Channel,
    /// The address on this channel.
    pub recipient: String,
    /// The user whose message it is.
    pub user: Option<String>,
    pub content: Content,
    pub created_at: Timestamp,
    /// After this, it is not sent any more.
    pub deadline: Timestamp,
    /// Why it is not sent at all.
    pub skipped: Option<String>,
}

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits to be sent, for the first time or again.
    Waiting,
    /// A worker is sending it, or was when it died.
    Sending,
    /// The provider has accepted it.
    Sent,
    /// The provider has reported its delivery.
    Delivered,
    /// It can't be sent.
    Failed,
    /// Its deadline passed.
    Expired,
    /// It was not to be sent.
    Skipped,
    /// Whether the provider has accepted it is unknown, and it must not be sent twice.
    Unknown,
}

impl State {
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Sending,
        Self::Sent,
        Self::Delivered,
        Self::Failed,
        Self::Expired,
        Self::Skipped,
        Self::Unknown,
    ];

    pub fn key(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Skipped => "skipped",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.key() == key)
    }

    /// Whether it still has to be sent.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Sending)
    }
}

/// A message in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    pub message: NewMessage,
    /// Its place in the order in which messages were added.
    pub order: i64,
    pub state: State,
    /// How often sending it has failed.
    pub attempts: u32,
    /// What the provider said last.
    pub detail: Option<String>,
    /// The provider's own id.
    pub provider_id: Option<String>,
    /// The batch in which it was sent, if whether that succeeded is unknown: it is sent again in the same batch.
    pub batch: Option<String>,
    /// When it got its last state.
    pub changed_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_into_a_header() {
        assert_eq!("r1-1-1".parse::<MessageId>().unwrap().as_str(), "r1-1-1");
        for text in ["", "a b", "a\r\nb", "ä", &"x".repeat(201)] {
            assert_eq!(text.parse::<MessageId>(), Err(InvalidMessageId), "{text:?}");
        }
    }

    #[test]
    fn each_state_has_a_key() {
        for state in State::ALL {
            assert_eq!(State::from_key(state.key()), Some(state));
        }
    }
}
