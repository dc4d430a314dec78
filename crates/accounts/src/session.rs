//! Browser sessions: their keys and data.

use odds::Timestamp;
use serde::{Deserialize, Serialize};
use tower_sessions::session::Id;

use crate::{secret::SecretHash, user::UserId};

/// The hash of a session's id. The store has only this, so that it doesn't reveal ids that could be used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionKey(SecretHash);

impl SessionKey {
    pub fn of(id: Id) -> Self {
        Self(SecretHash::of(&id.0.to_le_bytes()))
    }

    /// The key of the session that a cookie names; `None` if it is malformed.
    pub fn of_cookie(value: &str) -> Option<Self> {
        value.parse().ok().map(Self::of)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn known(text: String) -> Self {
        Self(SecretHash::known(text))
    }
}

/// Who signed in, when, and from where. It is invalid unless its epoch is the user's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionData {
    pub user: UserId,
    pub epoch: u64,
    pub since: Timestamp,
    /// When it ends, unless it is used before then.
    pub until: Timestamp,
    /// The address it began from, so that its user can recognise it.
    pub address: String,
    /// The user agent it began in.
    pub agent: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    pub key: SessionKey,
    pub data: SessionData,
}
