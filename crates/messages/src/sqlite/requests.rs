//! Requests to produce records.

use odds::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use crate::{Begun, ProduceRequest, Produced};

const COLUMNS: &str = "user, request_id, topic, hash, partition, message_id, key, value, began_at";

pub(super) fn begin(
    connection: &Connection,
    request: ProduceRequest,
    now: Timestamp,
    until: Timestamp,
) -> rusqlite::Result<Begun> {
    let select = format!("SELECT {COLUMNS}, runs_until, produced FROM requests WHERE user = ?1 AND request_id = ?2");
    let known = connection
        .prepare_cached(&select)?
        .query_row(params![request.user, request.request_id], |row| {
            Ok((request_of(row)?, row.get::<_, i64>(9)?, row.get::<_, Option<String>>(10)?))
        })
        .optional()?;
    let Some((known, runs_until, produced)) = known else {
        let insert = format!("INSERT INTO requests ({COLUMNS}, runs_until) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)");
        connection.prepare_cached(&insert)?.execute(params![
            request.user,
            request.request_id,
            request.topic,
            request.hash,
            request.partition,
            request.message_id.as_str(),
            request.key,
            request.value,
            request.began_at.as_millis(),
            until.as_millis(),
        ])?;
        return Ok(Begun::New(request));
    };
    if known.hash != request.hash {
        return Ok(Begun::Reused);
    }
    if let Some(produced) = produced {
        return Ok(Begun::Done(serde_json::from_str(&produced).map_err(unreadable)?));
    }
    if runs_until > now.as_millis() {
        return Ok(Begun::Running);
    }
    let update = "UPDATE requests SET runs_until = ?3 WHERE user = ?1 AND request_id = ?2";
    connection.prepare_cached(update)?.execute(params![known.user, known.request_id, until.as_millis()])?;
    Ok(Begun::New(known))
}

pub(super) fn finish(
    connection: &Connection,
    user: &str,
    request_id: &str,
    produced: &Produced,
) -> rusqlite::Result<()> {
    let produced = serde_json::to_string(produced).expect("plain values");
    let update = "UPDATE requests SET produced = ?3 WHERE user = ?1 AND request_id = ?2 AND produced IS NULL";
    connection.prepare_cached(update)?.execute(params![user, request_id, produced]).map(drop)
}

pub(super) fn since(
    connection: &Connection,
    since: Timestamp,
    after: Option<ProduceRequest>,
    most: usize,
) -> rusqlite::Result<Vec<ProduceRequest>> {
    let (from, user, id) = match after {
        Some(it) => (it.began_at, it.user, it.request_id),
        None => (since, String::new(), String::new()),
    };
    let select = format!(
        "SELECT {COLUMNS} FROM requests WHERE (began_at, user, request_id) > (?1, ?2, ?3)
         ORDER BY began_at, user, request_id LIMIT ?4"
    );
    let mut select = connection.prepare_cached(&select)?;
    select.query_map(params![from.as_millis(), user, id, most as i64], request_of)?.collect()
}

pub(super) fn forget(connection: &Connection, before: Timestamp, most: usize) -> rusqlite::Result<u64> {
    let delete = "DELETE FROM requests WHERE (user, request_id) IN (
        SELECT user, request_id FROM requests WHERE began_at < ?1 ORDER BY began_at LIMIT ?2)";
    Ok(connection.prepare_cached(delete)?.execute(params![before.as_millis(), most as i64])? as u64)
}

pub(super) fn forget_user(connection: &Connection, user: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM requests WHERE user = ?1")?.execute([user])?;
    Ok(())
}

fn request_of(row: &Row<'_>) -> rusqlite::Result<ProduceRequest> {
    let message_id: String = row.get(5)?;
    Ok(ProduceRequest {
        user: row.get(0)?,
        request_id: row.get(1)?,
        topic: row.get(2)?,
        hash: row.get(3)?,
        partition: row.get(4)?,
        message_id: message_id.parse().map_err(unreadable)?,
        key: row.get(6)?,
        value: row.get(7)?,
        began_at: Timestamp::from_millis(row.get(8)?),
    })
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}
