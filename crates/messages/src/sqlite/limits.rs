//! Addresses to which nothing more is sent, and how much was sent on a day.

use odds::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::{Channel, Limit, outbox::day_of};

pub(super) fn suppress(
    connection: &Connection,
    channel: Channel,
    recipient: &str,
    reason: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    match reason {
        Some(reason) => {
            let insert = "INSERT OR REPLACE INTO suppressed (channel, recipient, reason, at) VALUES (?1, ?2, ?3, ?4)";
            let values = params![channel.key(), recipient, reason, now.as_millis()];
            connection.prepare_cached(insert)?.execute(values)?;
        }
        None => {
            let delete = "DELETE FROM suppressed WHERE channel = ?1 AND recipient = ?2";
            connection.prepare_cached(delete)?.execute(params![channel.key(), recipient])?;
        }
    }
    Ok(())
}

pub(super) fn suppressed(
    connection: &Connection,
    channel: Channel,
    recipient: &str,
) -> rusqlite::Result<Option<String>> {
    let select = "SELECT reason FROM suppressed WHERE channel = ?1 AND recipient = ?2";
    connection.prepare_cached(select)?.query_row(params![channel.key(), recipient], |row| row.get(0)).optional()
}

pub(super) fn spend(connection: &Connection, limits: &[Limit], now: Timestamp) -> rusqlite::Result<Option<Limit>> {
    let mut spent = connection.prepare_cached("SELECT count FROM spent WHERE day = ?1 AND of = ?2")?;
    for limit in limits {
        let count: Option<i64> = spent.query_row(params![day_of(now), limit.of], |row| row.get(0)).optional()?;
        if count.unwrap_or_default() >= i64::from(limit.most) {
            return Ok(Some(limit.clone()));
        }
    }
    let mut take = connection.prepare_cached(
        "INSERT INTO spent (day, of, count) VALUES (?1, ?2, 1) ON CONFLICT (day, of) DO UPDATE SET count = count + 1",
    )?;
    for limit in limits {
        take.execute(params![day_of(now), limit.of])?;
    }
    Ok(None)
}

/// Forgets the counts of the days before this one.
pub(super) fn forget(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM spent WHERE day < ?1")?.execute([day_of(now)]).map(drop)
}
