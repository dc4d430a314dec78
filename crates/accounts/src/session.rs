//! Sessions of browsers: tower-sessions' over our store.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use odds::Timestamp;
use serde::{Deserialize, Serialize};
use tower_sessions::{
    SessionStore,
    session::{Id, Record},
    session_store::{Error, Result},
};

use crate::{secret::SecretHash, store::Store, user::UserId};

/// Where in a session's record it stands who signed in.
pub const SESSION_DATA: &str = "signed_in";

/// A session as the store knows it: who reads the store can't take the session over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionKey(SecretHash);

impl SessionKey {
    pub fn of(id: Id) -> Self {
        Self(SecretHash::of(&id.0.to_le_bytes()))
    }

    /// What a session's cookie says.
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

/// Who signed in, and when. Of an earlier epoch than the user's it is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionData {
    pub user: UserId,
    pub epoch: u64,
    pub since: Timestamp,
    /// When it ends, unless it is used before.
    pub until: Timestamp,
    /// Where it began, for its user to recognise it.
    pub address: String,
    /// The browser it began in, as that calls itself.
    pub agent: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    pub key: SessionKey,
    pub data: SessionData,
}

/// The sessions of a store, as tower-sessions wants them.
#[derive(Clone)]
pub struct Sessions {
    store: Arc<dyn Store>,
    clock: fn() -> Timestamp,
}

impl Sessions {
    pub fn new(store: Arc<dyn Store>, clock: fn() -> Timestamp) -> Self {
        Self { store, clock }
    }
}

fn stored(record: &Record) -> Result<StoredSession> {
    let data = record.data.get(SESSION_DATA).cloned().unwrap_or_default();
    let data = serde_json::from_value(data).map_err(|error| Error::Encode(error.to_string()))?;
    Ok(StoredSession { key: SessionKey::of(record.id), data })
}

fn backend(error: impl fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        // 128 random bits: none is met twice.
        self.store.create_session(&stored(record)?).await.map_err(backend)
    }

    /// A session that was ended meanwhile stays so.
    async fn save(&self, record: &Record) -> Result<()> {
        self.store.extend_session(&stored(record)?).await.map_err(backend)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let found = self.store.session(&SessionKey::of(*id), (self.clock)()).await.map_err(backend)?;
        let Some(session) = found else { return Ok(None) };
        let data = serde_json::to_value(&session.data).map_err(|error| Error::Decode(error.to_string()))?;
        let seconds = session.data.until.millis_since(Timestamp::from_millis(0)) / 1_000;
        let expiry_date = time::OffsetDateTime::from_unix_timestamp(seconds).map_err(backend)?;
        Ok(Some(Record { id: *id, data: [(SESSION_DATA.to_owned(), data)].into(), expiry_date }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.store.end_session(&SessionKey::of(*id)).await.map(drop).map_err(backend)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
