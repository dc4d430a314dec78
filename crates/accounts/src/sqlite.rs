//! Accounts in one SQLite file. Acknowledged writes survive a crash and a power failure.
//!
//! Two threads with a connection each carry out jobs one by one: one writes, the other reads, so that a read never
//! waits for a slow disk or for another process that writes. Several processes may have the file open at the same time.

mod alerts;
mod contacts;
mod decisions;
mod operator;

use std::{collections::BTreeSet, fs::OpenOptions, io, path::Path, sync::mpsc, time::Duration};

use async_trait::async_trait;
use odds::{Region, Timestamp};
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, named_params, params, types::Type,
};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    alerts::ALERTS_KEPT,
    password::PasswordHash,
    secret::SecretHash,
    session::{SessionData, SessionKey, StoredSession},
    store::{ACTIONS_KEPT, CreateTokenError, CreateUserError, FAMILIAR_FOR, Known, Place, Store, StoreError},
    token::{NewToken, Token, TokenId, TokenName},
    user::{Changed, NewUser, User, UserId},
    user_name::UserName,
};

const SCHEMA_VERSION: i64 = 9;
const SCHEMA: &str = "
    CREATE TABLE users (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        name_key TEXT NOT NULL UNIQUE,
        password TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        disabled INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        revision INTEGER NOT NULL,
        regions TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE sessions (
        key TEXT PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        epoch INTEGER NOT NULL,
        since INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sessions_of ON sessions (user);
    CREATE INDEX sessions_by_end ON sessions (expires_at);
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        used_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tokens_of ON tokens (user);
";
/// Added by version 2.
const PLACES: &str = "
    CREATE TABLE places (
        place TEXT PRIMARY KEY,
        user TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX places_of ON places (user);
";
/// Added by version 3.
const ORIGINS_AND_ENDS: &str = "
    ALTER TABLE sessions ADD COLUMN address TEXT NOT NULL DEFAULT '';
    ALTER TABLE sessions ADD COLUMN agent TEXT NOT NULL DEFAULT '';
    ALTER TABLE tokens ADD COLUMN expires_at INTEGER;
    CREATE TABLE checks (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
";
/// Added by version 6.
const SCOPES: &str = "ALTER TABLE tokens ADD COLUMN scopes TEXT NOT NULL DEFAULT 'stream';";
/// Added by version 8.
const OPERATORS: &str = "ALTER TABLE users ADD COLUMN is_operator INTEGER NOT NULL DEFAULT 0;";
/// How long to wait for another process that has locked the file.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// How long to wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How many jobs may wait for a thread.
const WAITING: usize = 10_000;

const USER: &str = "id, name, created_at, disabled, epoch, revision, regions, is_operator";

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

#[derive(Debug)]
pub struct SqliteStore {
    writer: Worker,
    reader: Worker,
}

/// A thread with a connection, by the queue of its jobs.
#[derive(Debug)]
struct Worker(mpsc::SyncSender<Job>);

impl SqliteStore {
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let named = |error: &dyn std::fmt::Display| StoreError(format!("{}: {error}", path.display()));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| named(&error))?;
        }
        claim(path).map_err(|error| named(&error))?;
        let mut connection = Connection::open(path).map_err(|error| named(&error))?;
        prepare(&mut connection).map_err(|error| named(&error))?;
        let writer = Worker::start("accounts: write", connection)?;
        let connection = Connection::open(path).map_err(|error| named(&error))?;
        connection.busy_timeout(BUSY_FOR).map_err(|error| named(&error))?;
        connection.pragma_update(None, "query_only", true).map_err(|error| named(&error))?;
        let reader = Worker::start("accounts: read", connection)?;
        Ok(Self { writer, reader })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader.ask(|connection| work(connection)).await?.map_err(StoreError::new)
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.try_write(work).await?.map_err(StoreError::new)
    }

    /// Runs `work` in a transaction, because only an explicit commit reports whether something is stored: in autocommit
    /// mode, a statement that returns rows commits when it is reset, and rusqlite drops an error at that moment.
    async fn try_write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<rusqlite::Result<T>, StoreError> {
        let write = |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        self.writer.ask(write).await
    }
}

impl Worker {
    fn start(name: &str, mut connection: Connection) -> Result<Self, StoreError> {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(WAITING);
        let work = move || {
            while let Ok(job) = inbox.recv() {
                job(&mut connection);
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(StoreError::new)?;
        Ok(Self(jobs))
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // The caller has given up waiting.
            if !answer.is_closed() {
                let _ = answer.send(work(connection));
            }
        });
        self.0.try_send(job).map_err(|_| StoreError::new("too many jobs are waiting"))?;
        match timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(StoreError::new("its thread has ended")),
            Err(_) => Err(StoreError::new("no answer in time")),
        }
    }
}

/// Creates a new file that only its owner can read. Fails if the file exists and is empty: a file that lost its content
/// must not pass for a store without accounts.
fn claim(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match path.metadata()?.len() {
            0 => Err(io::Error::other(
                "the file is empty: restore it from a backup, or delete it to start without accounts",
            )),
            _ => deny_others(path),
        },
        Err(error) => Err(error),
    }
}

/// Takes away the access of other users, which files made by an earlier version allow.
fn deny_others(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    for suffix in ["", "-wal", "-shm"] {
        use std::os::unix::fs::PermissionsExt;
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let Ok(metadata) = std::fs::metadata(&file) else { continue };
        let mode = metadata.permissions().mode();
        if mode & 0o007 != 0 {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode & 0o770))?;
        }
    }
    Ok(())
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_FOR)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if !(0..=SCHEMA_VERSION).contains(&version) {
        let message = format!("its format {version} was made by a newer version of this program");
        return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(1), Some(message)));
    }
    let steps = [
        SCHEMA,
        PLACES,
        ORIGINS_AND_ENDS,
        alerts::SCHEMA,
        alerts::UNWATCHED,
        SCOPES,
        contacts::SCHEMA,
        OPERATORS,
        operator::SCHEMA,
    ];
    for step in steps.iter().skip(version as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}

fn millis(time: Timestamp) -> i64 {
    time.millis_since(Timestamp::from_millis(0))
}

fn regions_text(regions: &BTreeSet<Region>) -> String {
    regions.iter().map(|region| region.key()).collect::<Vec<_>>().join(",")
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let broken = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error)
    };
    let regions: String = row.get("regions")?;
    let regions = regions.split(',').filter(|key| !key.is_empty()).map(str::parse).collect::<Result<_, _>>();
    Ok(User {
        id: UserId::named(&row.get::<_, String>("id")?),
        name: row.get::<_, String>("name")?.parse::<UserName>().map_err(|error| broken(1, error.into()))?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        disabled: row.get("disabled")?,
        epoch: row.get::<_, i64>("epoch")? as u64,
        revision: row.get::<_, i64>("revision")? as u64,
        regions: regions.map_err(|error: odds::UnknownRegion| broken(6, error.into()))?,
        is_operator: row.get("is_operator")?,
    })
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: TokenId::named(&row.get::<_, String>("id")?),
        user: UserId::named(&row.get::<_, String>("user")?),
        name: TokenName::known(row.get("name")?),
        created_at: Timestamp::from_millis(row.get("created_at")?),
        used_at: row.get::<_, Option<i64>>("used_at")?.map(Timestamp::from_millis),
        expires_at: row.get::<_, Option<i64>>("expires_at")?.map(Timestamp::from_millis),
        // A scope of a later version is none here.
        scopes: row.get::<_, String>("scopes")?.split(',').filter_map(|scope| scope.parse().ok()).collect(),
    })
}

fn session(row: &Row<'_>) -> rusqlite::Result<StoredSession> {
    let data = SessionData {
        user: UserId::named(&row.get::<_, String>("user")?),
        epoch: row.get::<_, i64>("epoch")? as u64,
        since: Timestamp::from_millis(row.get("since")?),
        until: Timestamp::from_millis(row.get("expires_at")?),
        address: row.get("address")?,
        agent: row.get("agent")?,
    };
    Ok(StoredSession { key: SessionKey::known(row.get("key")?), data })
}

fn breaks_a_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// Changes a user's row and raises its revision. Returns the new row.
fn change(
    connection: &Connection,
    id: &UserId,
    set: &str,
    value: &dyn rusqlite::ToSql,
) -> rusqlite::Result<Option<User>> {
    let update = format!("UPDATE users SET revision = revision + 1, {set} WHERE id = :id RETURNING {USER}");
    connection
        .prepare_cached(&update)?
        .query_row(named_params! { ":id": id.as_str(), ":value": value }, user)
        .optional()
}

fn end_sessions(connection: &Connection, id: &UserId) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM sessions WHERE user = ?1", [id.as_str()]).map(drop)
}

fn raise(connection: &Connection, id: UserId) -> rusqlite::Result<Option<Changed>> {
    let raised = connection
        .prepare_cached("UPDATE users SET revision = revision + 1 WHERE id = ?1 RETURNING revision")?
        .query_row([id.as_str()], |row| row.get::<_, i64>(0))
        .optional()?;
    Ok(raised.map(|revision| Changed { user: id, revision: revision as u64 }))
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_user(&self, new: &NewUser) -> Result<User, CreateUserError> {
        let new = new.clone();
        let created = self.try_write(move |connection| {
            let insert = format!(
                "INSERT INTO users (id, name, name_key, password, created_at, disabled, epoch, revision, regions)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, 1, 1, ?6) RETURNING {USER}"
            );
            let values = params![
                new.id.as_str(),
                new.name.as_str(),
                new.name.key(),
                new.password.as_str(),
                millis(new.created_at),
                regions_text(&new.regions),
            ];
            connection.query_row(&insert, values, user)
        });
        created.await?.map_err(|error| match breaks_a_constraint(&error) {
            true => CreateUserError::Taken,
            false => StoreError::new(error).into(),
        })
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.read(move |connection| {
            let select = format!("SELECT {USER} FROM users WHERE id = ?1");
            connection.prepare_cached(&select)?.query_row([id.as_str()], user).optional()
        })
        .await
    }

    async fn user_and_password(&self, name: &UserName) -> Result<Option<(User, PasswordHash)>, StoreError> {
        let name = name.clone();
        self.read(move |connection| {
            let select = format!("SELECT {USER}, password FROM users WHERE name_key = ?1");
            let both = |row: &Row<'_>| Ok((user(row)?, PasswordHash::stored(&row.get::<_, String>("password")?)));
            connection.prepare_cached(&select)?.query_row([name.key()], both).optional()
        })
        .await
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        self.read(move |connection| {
            let mut select = connection.prepare(&format!("SELECT {USER} FROM users ORDER BY name_key"))?;
            select.query_map([], user)?.collect()
        })
        .await
    }

    async fn set_password(
        &self,
        id: &UserId,
        from: Option<&PasswordHash>,
        to: &PasswordHash,
    ) -> Result<Option<User>, StoreError> {
        let (id, from, to) = (id.clone(), from.cloned(), to.clone());
        self.write(move |connection| {
            if let Some(from) = from {
                let is = "SELECT 1 FROM users WHERE id = ?1 AND password = ?2";
                if !connection.prepare_cached(is)?.exists([id.as_str(), from.as_str()])? {
                    return Ok(None);
                }
            }
            let changed = change(connection, &id, "epoch = epoch + 1, password = :value", &to.as_str())?;
            end_sessions(connection, &id)?;
            Ok(changed)
        })
        .await
    }

    async fn rehash(&self, id: &UserId, from: &PasswordHash, to: &PasswordHash) -> Result<(), StoreError> {
        let (id, from, to) = (id.clone(), from.clone(), to.clone());
        self.write(move |connection| {
            let update = "UPDATE users SET password = ?3 WHERE id = ?1 AND password = ?2";
            connection.execute(update, [id.as_str(), from.as_str(), to.as_str()]).map(drop)
        })
        .await
    }

    async fn set_disabled(&self, id: &UserId, disabled: bool) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.write(move |connection| {
            let set = "epoch = epoch + :value, disabled = :value";
            let changed = change(connection, &id, set, &disabled)?;
            alerts::note_change(connection, &id)?;
            if disabled {
                end_sessions(connection, &id)?;
            }
            Ok(changed)
        })
        .await
    }

    async fn set_operator(&self, id: &UserId, is_operator: bool) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.write(move |connection| change(connection, &id, "is_operator = :value", &is_operator)).await
    }

    async fn set_regions(&self, id: &UserId, regions: &BTreeSet<Region>) -> Result<Option<User>, StoreError> {
        let (id, regions) = (id.clone(), regions_text(regions));
        self.write(move |connection| change(connection, &id, "regions = :value", &regions)).await
    }

    async fn end_sessions(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.write(move |connection| {
            let changed = change(connection, &id, "epoch = epoch + :value", &1)?;
            end_sessions(connection, &id)?;
            Ok(changed)
        })
        .await
    }

    async fn delete_user(&self, id: &UserId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |connection| {
            alerts::note_change(connection, &id)?;
            Ok(connection.execute("DELETE FROM users WHERE id = ?1", [id.as_str()])? == 1)
        })
        .await
    }

    async fn create_session(&self, session: &StoredSession) -> Result<(), StoreError> {
        let session = session.clone();
        let created = self.try_write(move |connection| {
            let insert = "
                INSERT INTO sessions (key, user, epoch, since, expires_at, address, agent)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let data = &session.data;
            let values = params![
                session.key.as_str(),
                data.user.as_str(),
                data.epoch as i64,
                millis(data.since),
                millis(data.until),
                data.address,
                data.agent,
            ];
            connection.prepare_cached(insert)?.execute(values)
        });
        match created.await? {
            // The user was deleted in the meantime.
            Err(error) if breaks_a_constraint(&error) => Ok(()),
            other => other.map(drop).map_err(StoreError::new),
        }
    }

    async fn extend_session(&self, session: &StoredSession) -> Result<(), StoreError> {
        let session = session.clone();
        self.write(move |connection| {
            let update = "UPDATE sessions SET expires_at = ?2 WHERE key = ?1";
            connection.execute(update, params![session.key.as_str(), millis(session.data.until)]).map(drop)
        })
        .await
    }

    async fn session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<StoredSession>, StoreError> {
        let key = key.clone();
        self.read(move |connection| {
            let select = "SELECT * FROM sessions WHERE key = ?1 AND expires_at > ?2";
            let mut select = connection.prepare_cached(select)?;
            select.query_row(params![key.as_str(), millis(now)], session).optional()
        })
        .await
    }

    async fn sessions_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError> {
        let user = user.clone();
        self.read(move |connection| {
            let select = "SELECT * FROM sessions WHERE user = ?1 AND expires_at > ?2 ORDER BY since, key";
            let mut select = connection.prepare_cached(select)?;
            select.query_map(params![user.as_str(), millis(now)], session)?.collect()
        })
        .await
    }

    async fn end_session(&self, key: &SessionKey) -> Result<Option<Changed>, StoreError> {
        let key = key.clone();
        self.write(move |connection| {
            let delete = "DELETE FROM sessions WHERE key = ?1 RETURNING user";
            let user = connection.query_row(delete, [key.as_str()], |row| row.get(0)).optional()?;
            let changed = user.map(|user: String| raise(connection, UserId::named(&user))).transpose()?.flatten();
            Ok(changed)
        })
        .await
    }

    async fn create_token(&self, new: &NewToken, most: usize) -> Result<Token, CreateTokenError> {
        let new = new.clone();
        let created = self.write(move |connection| {
            let insert = "
                INSERT INTO tokens (id, user, name, hash, created_at, expires_at, scopes)
                SELECT ?1, ?2, ?3, ?4, ?5, ?7, ?8
                WHERE (SELECT count(*) FROM tokens WHERE user = ?2) < ?6
                RETURNING *";
            let values = params![
                new.id.as_str(),
                new.user.as_str(),
                new.name.as_str(),
                new.hash.as_str(),
                millis(new.created_at),
                most as i64,
                new.expires_at.map(millis),
                new.scopes.iter().map(|scope| scope.key()).collect::<Vec<_>>().join(","),
            ];
            connection.query_row(insert, values, token).optional()
        });
        created.await?.ok_or(CreateTokenError::TooMany)
    }

    async fn tokens_of(&self, user: &UserId) -> Result<Vec<Token>, StoreError> {
        let user = user.clone();
        self.read(move |connection| {
            let mut select = connection.prepare("SELECT * FROM tokens WHERE user = ?1 ORDER BY created_at, id")?;
            select.query_map([user.as_str()], token)?.collect()
        })
        .await
    }

    async fn token(&self, hash: &SecretHash) -> Result<Option<Token>, StoreError> {
        let hash = hash.clone();
        self.read(move |connection| {
            let mut select = connection.prepare_cached("SELECT * FROM tokens WHERE hash = ?1")?;
            select.query_row([hash.as_str()], token).optional()
        })
        .await
    }

    async fn note_use(&self, token: &TokenId, at: Timestamp) -> Result<(), StoreError> {
        let token = token.clone();
        self.write(move |connection| {
            let update = "UPDATE tokens SET used_at = max(?2, coalesce(used_at, ?2)) WHERE id = ?1";
            connection.execute(update, params![token.as_str(), millis(at)]).map(drop)
        })
        .await
    }

    async fn revoke_token(&self, user: &UserId, token: &TokenId) -> Result<Option<Changed>, StoreError> {
        let (user, token) = (user.clone(), token.clone());
        self.write(move |connection| {
            let delete = "DELETE FROM tokens WHERE id = ?1 AND user = ?2";
            let changed = match connection.execute(delete, [token.as_str(), user.as_str()])? {
                0 => None,
                _ => raise(connection, user)?,
            };
            Ok(changed)
        })
        .await
    }

    async fn note_place(&self, user: &UserId, place: &Place, at: Timestamp) -> Result<(), StoreError> {
        let (user, place) = (user.clone(), place.clone());
        let noted = self.try_write(move |connection| {
            let upsert = "INSERT INTO places (place, user, at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (place) DO UPDATE SET at = max(at, excluded.at)";
            connection.prepare_cached(upsert)?.execute(params![place.as_str(), user.as_str(), millis(at)])
        });
        match noted.await? {
            // The user was deleted in the meantime.
            Err(error) if breaks_a_constraint(&error) => Ok(()),
            other => other.map(drop).map_err(StoreError::new),
        }
    }

    async fn is_familiar(&self, place: &Place) -> Result<bool, StoreError> {
        let place = place.clone();
        self.read(move |connection| {
            connection.prepare_cached("SELECT 1 FROM places WHERE place = ?1")?.exists([place.as_str()])
        })
        .await
    }

    async fn known(
        &self,
        users: &[UserId],
        sessions: &[SessionKey],
        tokens: &[TokenId],
        now: Timestamp,
        oldest_token: Timestamp,
    ) -> Result<Known, StoreError> {
        let (users, sessions, tokens) = (users.to_vec(), sessions.to_vec(), tokens.to_vec());
        self.read(move |connection| {
            let mut known = Known::default();
            let mut select = connection.prepare_cached("SELECT revision FROM users WHERE id = ?1")?;
            for user in users {
                let revision: Option<i64> = select.query_row([user.as_str()], |row| row.get(0)).optional()?;
                known.revisions.extend(revision.map(|revision| (user, revision as u64)));
            }
            let mut select = connection.prepare_cached("SELECT 1 FROM sessions WHERE key = ?1 AND expires_at > ?2")?;
            for session in sessions {
                if select.exists(params![session.as_str(), millis(now)])? {
                    known.sessions.insert(session);
                }
            }
            let mut select = connection.prepare_cached(
                "SELECT 1 FROM tokens WHERE id = ?1 AND created_at > ?2 AND (expires_at IS NULL OR expires_at > ?3)",
            )?;
            for token in tokens {
                if select.exists(params![token.as_str(), millis(oldest_token), millis(now)])? {
                    known.tokens.insert(token);
                }
            }
            Ok(known)
        })
        .await
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |connection| {
            let since = millis(now) - FAMILIAR_FOR.as_millis() as i64;
            connection.execute("DELETE FROM places WHERE at < ?1", [since])?;
            let since = millis(now) - ALERTS_KEPT.as_millis() as i64;
            connection.execute("DELETE FROM alerts WHERE at < ?1", [since])?;
            connection.execute("DELETE FROM unwatched WHERE until < ?1", [since])?;
            let since = millis(now) - ACTIONS_KEPT.as_millis() as i64;
            connection.execute("DELETE FROM actions WHERE at < ?1", [since])?;
            let swept = connection.execute("DELETE FROM sessions WHERE expires_at <= ?1", [millis(now)])?;
            Ok(swept as u64)
        })
        .await
    }

    async fn check_writable(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |connection| {
            connection.execute("INSERT OR REPLACE INTO checks (id, at) VALUES (1, ?1)", [millis(now)]).map(drop)
        })
        .await
    }
}
