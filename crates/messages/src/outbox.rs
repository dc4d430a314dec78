//! What an outbox does.

use std::fmt;

use async_trait::async_trait;
use odds::Timestamp;

use crate::{
    Channel, Delivery, MessageId, NewMessage, State, StoredMessage,
    produce::{Begun, ProduceRequest, Produced},
};

/// The store is unavailable. The reason is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of messages is unavailable: {0}")]
pub struct StoreError(pub String);

impl StoreError {
    pub(crate) fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The right to send to one recipient until a time. Nobody else sends to it meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub channel: Channel,
    pub recipient: String,
    /// Whoever holds it; different for each lease of each worker.
    pub holder: String,
    pub until: Timestamp,
}

/// A lease, and what is to be sent to its recipient now: one message, or several as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub lease: Lease,
    pub messages: Vec<StoredMessage>,
    /// Another worker began to send them, and did not say how it ended.
    pub is_taken_over: bool,
    /// Why nothing more is to be sent to this recipient, unless it is about the account.
    pub suppressed: Option<String>,
}

impl Claim {
    /// The name by which its messages belong together, if an attempt to send them may have succeeded.
    pub fn batch(&self) -> Option<String> {
        match self.is_taken_over {
            true => Delivery::of(&self.messages).map(|delivery| delivery.reference),
            false => self.messages.first()?.batch.clone(),
        }
    }

    /// What becomes of it if it is not sent now. That another worker may have sent it is not forgotten.
    pub fn postponed(&self, due_at: Timestamp) -> Outcome {
        match (self.lease.channel, self.is_taken_over, self.batch()) {
            (Channel::Sms, true, Some(batch)) => Outcome::Unknown { batch },
            (_, _, batch) => Outcome::Postponed { due_at, batch },
        }
    }

    pub fn finished(&self, outcome: Outcome, detail: Option<String>) -> Finished {
        let messages = self.messages.iter().map(|it| it.message.id.clone()).collect();
        Finished { lease: self.lease.clone(), messages, outcome, detail }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent {
        provider_id: Option<String>,
    },
    /// It is tried again at this time, as the same batch if there is one.
    Later {
        due_at: Timestamp,
        batch: Option<String>,
    },
    /// Nothing was attempted now. It is due at this time, as the same batch if there is one.
    Postponed {
        due_at: Timestamp,
        batch: Option<String>,
    },
    Failed,
    /// There is no such recipient, or it wants no messages: nothing more is sent to it.
    NoRecipient,
    Expired,
    Skipped,
    /// They may have been sent, as this batch.
    Unknown {
        batch: String,
    },
}

impl Outcome {
    /// The name by which its messages belong together from now on.
    pub(crate) fn batch(&self) -> Option<&str> {
        match self {
            Self::Later { batch, .. } | Self::Postponed { batch, .. } => batch.as_deref(),
            Self::Unknown { batch } => Some(batch),
            _ => None,
        }
    }

    /// When its messages are due again.
    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Later { due_at, .. } | Self::Postponed { due_at, .. } => Some(*due_at),
            _ => None,
        }
    }

    /// Whether an attempt failed.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Later { .. } | Self::Failed | Self::NoRecipient)
    }

    pub fn state(&self) -> State {
        match self {
            Self::Sent { .. } => State::Sent,
            Self::Later { .. } | Self::Postponed { .. } => State::Waiting,
            Self::Failed | Self::NoRecipient => State::Failed,
            Self::Expired => State::Expired,
            Self::Skipped => State::Skipped,
            Self::Unknown { .. } => State::Unknown,
        }
    }
}

/// How many messages of a kind may be sent in a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is counted, as `sms of 17`.
    pub of: String,
    pub most: u32,
}

/// What a provider reports about a message that it has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusReport<'a> {
    pub channel: Channel,
    /// The first of the messages that were sent together.
    pub id: Option<&'a MessageId>,
    /// The provider's own id.
    pub provider_id: Option<&'a str>,
    pub state: State,
    pub detail: Option<&'a str>,
}

/// A claim that was worked off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    pub lease: Lease,
    pub messages: Vec<MessageId>,
    pub outcome: Outcome,
    /// The provider's own words.
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// Messages that still have to be sent.
    pub open: u64,
    /// The oldest of them.
    pub oldest: Option<Timestamp>,
}

/// Messages that wait to be sent, what became of the others, and the requests that produced them. Several processes may
/// use it at the same time. What it has acknowledged survives a power failure.
#[async_trait]
pub trait Outbox: fmt::Debug + Send + Sync + 'static {
    /// Adds messages. Those whose id and channel are known already stay as they are. Returns how many were new.
    async fn add(&self, messages: &[NewMessage], now: Timestamp) -> Result<usize, StoreError>;

    /// Leases up to `most` recipients that have something due, and chooses what is sent to each. `holder` must not have
    /// been used before. The lease of a worker that is late is taken over.
    async fn claim(
        &self,
        channel: Channel,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<Claim>, StoreError>;

    /// Notes how claims ended, and ends their leases. What is reported under a lease that was taken over counts only if
    /// it says that messages were sent.
    async fn finish(&self, finished: &[Finished], now: Timestamp) -> Result<(), StoreError>;

    /// Notes what a provider reported. Returns whether there is such a message.
    async fn report(&self, report: &StatusReport<'_>, now: Timestamp) -> Result<bool, StoreError>;

    /// From now on, nothing is sent to this address unless it is about the account; without a reason, everything is.
    async fn suppress(
        &self,
        channel: Channel,
        recipient: &str,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Takes one message from each of these limits, if none is reached. Returns the first one that is.
    async fn spend(&self, limits: &[Limit], now: Timestamp) -> Result<Option<Limit>, StoreError>;

    async fn message(&self, channel: Channel, id: &MessageId) -> Result<Option<StoredMessage>, StoreError>;

    /// The user's messages, the newest first, from those added before `before` on.
    async fn messages_of(&self, user: &str, before: Option<i64>, most: usize)
    -> Result<Vec<StoredMessage>, StoreError>;

    async fn counts(&self, channel: Channel) -> Result<OutboxCounts, StoreError>;

    /// Deletes up to `most` messages that were finished before, and requests that began before, and what was counted on
    /// days before today. Returns how many messages and requests it deleted.
    async fn forget(
        &self,
        messages_before: Timestamp,
        requests_before: Timestamp,
        now: Timestamp,
        most: usize,
    ) -> Result<u64, StoreError>;

    /// Deletes the user's messages and requests. Transactions that are still to be sent stay, without the user: they are
    /// for other people.
    async fn forget_user(&self, user: &str) -> Result<(), StoreError>;

    /// Begins a request of a program to produce a record, unless the same one was made before.
    async fn begin_request(
        &self,
        request: &ProduceRequest,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Begun, StoreError>;

    /// Notes where the record of a request is.
    async fn finish_request(&self, user: &str, request_id: &str, produced: &Produced) -> Result<(), StoreError>;

    /// Requests that began at or after a time, the oldest first, beginning behind one of them.
    async fn requests_since(
        &self,
        since: Timestamp,
        after: Option<&ProduceRequest>,
        most: usize,
    ) -> Result<Vec<ProduceRequest>, StoreError>;
}

const DAY_MS: i64 = 24 * 3_600_000;

/// The day of a limit, in UTC.
pub(crate) fn day_of(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(DAY_MS)
}

/// When limits are those of the next day.
pub fn next_day(time: Timestamp) -> Timestamp {
    Timestamp::from_millis((day_of(time) + 1) * DAY_MS)
}
