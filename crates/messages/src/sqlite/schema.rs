//! The tables, and how connections are opened.

use std::{fs::OpenOptions, io, path::Path, time::Duration};

use rusqlite::Connection;

const VERSION: i64 = 2;
const SCHEMA: &str = "
    CREATE TABLE messages (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        channel TEXT NOT NULL,
        id TEXT NOT NULL,
        recipient TEXT NOT NULL,
        user TEXT,
        content TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        deadline INTEGER NOT NULL,
        state TEXT NOT NULL,
        due_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        detail TEXT,
        provider_id TEXT,
        batch TEXT,
        changed_at INTEGER NOT NULL,
        UNIQUE (channel, id)
    ) STRICT;
    CREATE INDEX open_messages ON messages (channel, recipient, number) WHERE state IN ('waiting', 'sending');
    CREATE INDEX oldest_open ON messages (channel, created_at) WHERE state IN ('waiting', 'sending');
    CREATE INDEX messages_of ON messages (user, number) WHERE user IS NOT NULL;
    CREATE INDEX finished_messages ON messages (changed_at) WHERE state NOT IN ('waiting', 'sending');

    -- Those to whom something is to be sent. While a worker holds one, it is due when the lease ends.
    CREATE TABLE recipients (
        channel TEXT NOT NULL,
        recipient TEXT NOT NULL,
        due_at INTEGER NOT NULL,
        holder TEXT,
        PRIMARY KEY (channel, recipient)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX due_recipients ON recipients (channel, due_at);

    CREATE TABLE requests (
        user TEXT NOT NULL,
        request_id TEXT NOT NULL,
        topic TEXT NOT NULL,
        hash TEXT NOT NULL,
        partition INTEGER NOT NULL,
        message_id TEXT NOT NULL,
        key TEXT,
        value TEXT NOT NULL,
        began_at INTEGER NOT NULL,
        runs_until INTEGER NOT NULL,
        produced TEXT,
        PRIMARY KEY (user, request_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX requests_by_time ON requests (began_at, user, request_id);
";
/// Added by version 2.
const LIMITS: &str = "
    CREATE INDEX messages_by_provider_id ON messages (channel, provider_id) WHERE provider_id IS NOT NULL;
    CREATE INDEX messages_by_batch ON messages (channel, batch) WHERE batch IS NOT NULL;

    -- Addresses to which nothing is sent unless it is about the account.
    CREATE TABLE suppressed (
        channel TEXT NOT NULL,
        recipient TEXT NOT NULL,
        reason TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (channel, recipient)
    ) STRICT, WITHOUT ROWID;

    -- How many messages were sent on a day, for limits.
    CREATE TABLE spent (
        day INTEGER NOT NULL,
        of TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (day, of)
    ) STRICT, WITHOUT ROWID;
";
/// How long to wait for another process that has locked the file.
const BUSY_FOR: Duration = Duration::from_secs(5);

pub(super) fn open_writer(path: &Path) -> Result<Connection, String> {
    create_private(path).map_err(|error| error.to_string())?;
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_FOR)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.set_prepared_statement_cache_capacity(64);
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok((connection, version))
    };
    let (mut connection, version) = open().map_err(|error: rusqlite::Error| error.to_string())?;
    if version > VERSION {
        return Err("the file was made by a later version".to_owned());
    }
    if version < VERSION {
        bring_up_to_date(&mut connection).map_err(|error| error.to_string())?;
    }
    Ok(connection)
}

/// Creates a new file that only its owner can read: it has people's addresses.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn bring_up_to_date(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for step in [SCHEMA, LIMITS].iter().skip(version as usize) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION.max(version))?;
    transaction.commit()
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_FOR)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
