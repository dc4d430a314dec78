//! Browser sessions: tower-sessions on top of a [`Store`].

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use odds::Timestamp;
use tower_sessions::{
    SessionStore,
    session::{Id, Record},
    session_store::{Error, Result},
};

use crate::{
    session::{SessionKey, StoredSession},
    store::Store,
};

/// The key of [`SessionData`] in a session's record.
pub const SESSION_DATA: &str = "signed_in";

/// The sessions of a store, for tower-sessions.
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
        // The id has 128 random bits, so none is drawn twice.
        self.store.create_session(&stored(record)?).await.map_err(backend)
    }

    /// A session that has ended in the meantime stays ended.
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
