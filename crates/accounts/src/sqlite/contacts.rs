//! Users' addresses in the SQLite file.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::{SqliteStore, USER, alerts::unreadable, breaks_a_constraint, user as read_user};
use crate::{
    contacts::{ContactStore, Contacts, email_key},
    store::StoreError,
    user::{User, UserId},
};

/// Added by version 7 of the schema.
pub(super) const SCHEMA: &str = "
    CREATE TABLE contacts (
        user TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
        version INTEGER NOT NULL,
        contacts TEXT NOT NULL,
        -- The confirmed e-mail address, in lower case.
        email TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX contacts_by_email ON contacts (email) WHERE email IS NOT NULL;
";

#[async_trait]
impl ContactStore for SqliteStore {
    async fn contacts(&self, user: &UserId) -> Result<Option<(Contacts, u64)>, StoreError> {
        let user = user.clone();
        self.read(move |connection| {
            let select =
                "SELECT contacts, coalesce(version, 0) FROM users LEFT JOIN contacts ON user = id WHERE id = ?1";
            let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, i64>(1)?));
            let found = connection.prepare_cached(select)?.query_row([user.as_str()], read).optional()?;
            let Some((text, version)) = found else { return Ok(None) };
            let contacts = text.map(|text| serde_json::from_str(&text)).transpose().map_err(unreadable)?;
            Ok(Some((contacts.unwrap_or_default(), version as u64)))
        })
        .await
    }

    async fn set_contacts(&self, user: &UserId, version: u64, contacts: &Contacts) -> Result<bool, StoreError> {
        let user = user.clone();
        let text = serde_json::to_string(contacts).expect("plain values");
        let email = contacts.email_key();
        let written = self.try_write(move |connection| match version {
            0 => {
                let insert = "INSERT INTO contacts (user, version, contacts, email) VALUES (?1, 1, ?2, ?3)";
                connection.execute(insert, params![user.as_str(), text, email])
            }
            _ => {
                let update = "UPDATE contacts SET version = version + 1, contacts = ?2, email = ?3
                    WHERE user = ?1 AND version = ?4";
                connection.execute(update, params![user.as_str(), text, email, version as i64])
            }
        });
        match written.await? {
            Ok(rows) => Ok(rows == 1),
            // Somebody was faster, or has deleted the user.
            Err(error) if breaks_a_constraint(&error) => Ok(false),
            Err(error) => Err(StoreError::new(error)),
        }
    }

    async fn users_with_email(&self, email: &str, most: usize) -> Result<Vec<User>, StoreError> {
        let email = email_key(email);
        self.read(move |connection| {
            let select = format!(
                "SELECT {USER} FROM users WHERE id IN (SELECT user FROM contacts WHERE email = ?1) ORDER BY id LIMIT ?2"
            );
            connection.prepare_cached(&select)?.query_map(params![email, most as i64], read_user)?.collect()
        })
        .await
    }
}
