//! What operators did, and what they decided for the whole site.

use async_trait::async_trait;
use odds::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{SqliteStore, USER, millis, user};
use crate::{
    operator::{AuditEntry, OperatorStore},
    store::StoreError,
    user::User,
};

/// Added by version 9.
pub(super) const SCHEMA: &str = "
    CREATE TABLE actions (
        id TEXT PRIMARY KEY,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        address TEXT NOT NULL,
        agent TEXT NOT NULL,
        action TEXT NOT NULL,
        about TEXT NOT NULL,
        failure TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE site (id INTEGER PRIMARY KEY, registration INTEGER NOT NULL) STRICT;
";

fn entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        id: row.get("id")?,
        at: Timestamp::from_millis(row.get("at")?),
        by: row.get("actor")?,
        address: row.get("address")?,
        agent: row.get("agent")?,
        action: row.get("action")?,
        about: row.get("about")?,
        failure: row.get("failure")?,
    })
}

#[async_trait]
impl OperatorStore for SqliteStore {
    async fn note_action(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let entry = entry.clone();
        self.write(move |connection| {
            let AuditEntry { id, at, by, address, agent, action, about, failure } = entry;
            let insert = "INSERT INTO actions (id, at, actor, address, agent, action, about, failure)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            connection.execute(insert, params![id, millis(at), by, address, agent, action, about, failure]).map(drop)
        })
        .await
    }

    async fn actions(&self, before: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let before = before.map(str::to_owned);
        self.read(move |connection| {
            let select = "SELECT * FROM actions WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2";
            connection.prepare_cached(select)?.query_map(params![before, limit as i64], entry)?.collect()
        })
        .await
    }

    async fn users_named(&self, begin: &str, after: &str, limit: usize) -> Result<Vec<User>, StoreError> {
        let (begin, after) = (begin.to_ascii_lowercase(), after.to_ascii_lowercase());
        self.read(move |connection| {
            // Names are ASCII.
            let select = format!(
                "SELECT {USER} FROM users WHERE name_key >= ?1 AND name_key < ?1 || char(127) AND name_key > ?2
                 ORDER BY name_key LIMIT ?3"
            );
            connection.prepare_cached(&select)?.query_map(params![begin, after, limit as i64], user)?.collect()
        })
        .await
    }

    async fn registration(&self) -> Result<Option<bool>, StoreError> {
        self.read(|connection| {
            connection.query_row("SELECT registration FROM site WHERE id = 1", [], |row| row.get(0)).optional()
        })
        .await
    }

    async fn set_registration(&self, is_open: Option<bool>) -> Result<(), StoreError> {
        self.write(move |connection| {
            let done = match is_open {
                Some(is_open) => {
                    connection.execute("INSERT OR REPLACE INTO site (id, registration) VALUES (1, ?1)", [is_open])
                }
                None => connection.execute("DELETE FROM site", []),
            };
            done.map(drop)
        })
        .await
    }
}
