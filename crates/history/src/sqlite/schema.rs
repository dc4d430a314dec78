//! The tables, and how a file is opened.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, Result, TransactionBehavior, config::DbConfig};
use tracing::info;

const SCHEMA_VERSION: i64 = 2;
const SCHEMA: &str = "
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY,
        region TEXT NOT NULL,
        -- 20 bytes whose order is that of logs.
        name BLOB NOT NULL,
        UNIQUE (region, name)
    ) STRICT;
    CREATE TABLE texts (
        id INTEGER PRIMARY KEY,
        text TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE steps (
        id INTEGER PRIMARY KEY,
        log INTEGER NOT NULL REFERENCES logs (id),
        seq INTEGER NOT NULL,
        at INTEGER NOT NULL,
        -- 20 bytes.
        step BLOB NOT NULL,
        -- Both are differences from the step before, and NULL at the first step after a gap.
        marker TEXT,
        changes BLOB,
        UNIQUE (log, seq)
    ) STRICT;
    CREATE INDEX steps_by_time ON steps (log, at, seq);
    CREATE INDEX steps_by_id ON steps (step);
    CREATE TABLE keyframes (
        log INTEGER NOT NULL REFERENCES logs (id),
        seq INTEGER NOT NULL,
        marker TEXT NOT NULL,
        -- Compressed.
        content BLOB NOT NULL,
        PRIMARY KEY (log, seq)
    ) STRICT;
    CREATE TABLE quotes (
        id INTEGER PRIMARY KEY,
        event INTEGER NOT NULL REFERENCES texts (id),
        market INTEGER NOT NULL REFERENCES texts (id),
        region TEXT NOT NULL,
        bookmaker INTEGER NOT NULL REFERENCES texts (id),
        UNIQUE (event, market, region, bookmaker)
    ) STRICT;
";
/// What charts read.
const CHARTS: &str = "
    -- The steps of which the whole board is recorded.
    CREATE INDEX whole_boards ON steps (log, at) WHERE changes IS NULL;
    -- Each quote at each step that changed it, again: in the order in which charts read them.
    CREATE TABLE quote_changes (
        quote INTEGER NOT NULL REFERENCES quotes (id),
        log INTEGER NOT NULL REFERENCES logs (id),
        at INTEGER NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (quote, log, at)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE event_changes (
        event INTEGER NOT NULL REFERENCES texts (id),
        log INTEGER NOT NULL REFERENCES logs (id),
        at INTEGER NOT NULL,
        -- NULL when the event was removed.
        details INTEGER REFERENCES texts (id),
        PRIMARY KEY (event, log, at)
    ) STRICT, WITHOUT ROWID;
";
/// In version 1, these tables had no logs.
const BEFORE_CHARTS: &str = "
    ALTER TABLE quote_changes RENAME TO former_quote_changes;
    ALTER TABLE event_changes RENAME TO former_event_changes;
";
const AFTER_CHARTS: &str = "
    INSERT INTO quote_changes SELECT quote, steps.log, steps.at, value FROM former_quote_changes AS former
        JOIN quotes ON quotes.id = quote JOIN logs USING (region) JOIN steps ON steps.log = logs.id AND steps.at = former.at;
    INSERT INTO event_changes SELECT event, steps.log, steps.at, details FROM former_event_changes AS former
        JOIN logs USING (region) JOIN steps ON steps.log = logs.id AND steps.at = former.at;
    DROP TABLE former_quote_changes;
    DROP TABLE former_event_changes;
";
/// How long to wait for another process that has locked the file.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// Bytes of the file that a connection keeps in memory, as SQLite counts them (negative: KiB).
const CACHE: i64 = -16_384;

/// Opens a file for writing. It is created if it is missing.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    let mut connection = open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if !(0..=SCHEMA_VERSION).contains(&version) {
        let message = format!("its format {version} was made by a newer version of this program");
        return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(1), Some(message)));
    }
    match version {
        0 => {
            transaction.execute_batch(SCHEMA)?;
            transaction.execute_batch(CHARTS)?;
        }
        1 => {
            info!(path = %path.display(), "changing the format of the history");
            transaction.execute_batch(BEFORE_CHARTS)?;
            transaction.execute_batch(CHARTS)?;
            transaction.execute_batch(AFTER_CHARTS)?;
        }
        _ => {}
    }
    if version != SCHEMA_VERSION {
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()?;
    Ok(connection)
}

pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let connection = open(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_FOR)?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    // Otherwise, queries are prepared again whenever a bound value changes that their plan might depend on.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}
