//! Messages and their recipients.

use odds::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params, types::Type};

use super::limits;
use crate::{
    Channel, Claim, Finished, Lease, MessageId, NewMessage, OutboxCounts, Outcome, State, StatusReport, StoredMessage,
    message::TRANSACTION, unit::next_unit,
};

/// How many of a recipient's messages are looked at. More would not fit into one digest.
const AT_ONCE: usize = 200;
const COLUMNS: &str = "channel, id, recipient, user, content, created_at, deadline, number, state, attempts, detail,
    provider_id, batch, changed_at";

pub(super) fn add(connection: &Connection, messages: &[NewMessage], now: Timestamp) -> rusqlite::Result<usize> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO messages
            (channel, id, recipient, user, content, created_at, deadline, state, due_at, changed_at, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, iif(?9 IS NULL, 'waiting', 'skipped'), ?8, ?8, ?9)
         ON CONFLICT (channel, id) DO NOTHING",
    )?;
    let mut wake = connection.prepare_cached(
        "INSERT INTO recipients (channel, recipient, due_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (channel, recipient) DO UPDATE SET due_at = min(due_at, excluded.due_at) WHERE holder IS NULL",
    )?;
    let mut added = 0;
    for message in messages {
        let content = serde_json::to_string(&message.content).expect("plain values");
        let inserted = insert.execute(params![
            message.channel.key(),
            message.id.as_str(),
            message.recipient,
            message.user,
            content,
            message.created_at.as_millis(),
            message.deadline.as_millis(),
            now.as_millis(),
            message.skipped,
        ])?;
        added += inserted;
        if inserted == 1 && message.skipped.is_none() {
            wake.execute(params![message.channel.key(), message.recipient, now.as_millis()])?;
        }
    }
    Ok(added)
}

pub(super) fn is_due(connection: &Connection, channel: Channel, now: Timestamp) -> rusqlite::Result<bool> {
    let select = "SELECT 1 FROM recipients WHERE channel = ?1 AND due_at <= ?2 LIMIT 1";
    connection.prepare_cached(select)?.exists(params![channel.key(), now.as_millis()])
}

pub(super) fn claim(
    connection: &Connection,
    channel: Channel,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
    most: usize,
) -> rusqlite::Result<Vec<Claim>> {
    let mut due = connection.prepare_cached(
        "SELECT recipient FROM recipients WHERE channel = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3",
    )?;
    let due = due.query_map(params![channel.key(), now.as_millis(), most as i64], |row| row.get(0))?;
    let recipients: Vec<String> = due.collect::<rusqlite::Result<_>>()?;
    let mut messages = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM messages
         WHERE channel = :channel AND recipient = :recipient AND state IN ('waiting', 'sending')
             AND (state = 'sending' OR due_at <= :now)
         ORDER BY number LIMIT :most"
    ))?;
    let mut hold = connection
        .prepare_cached("UPDATE recipients SET holder = ?3, due_at = ?4 WHERE channel = ?1 AND recipient = ?2")?;
    let mut begin = connection
        .prepare_cached("UPDATE messages SET state = 'sending', changed_at = ?3 WHERE channel = ?1 AND id = ?2")?;
    let mut claims = Vec::new();
    for recipient in recipients {
        let due = messages.query_map(
            named_params! {
                ":channel": channel.key(), ":recipient": recipient, ":now": now.as_millis(), ":most": AT_ONCE as i64
            },
            message_of,
        )?;
        let (unit, is_taken_over) = next_unit(due.collect::<rusqlite::Result<_>>()?);
        if unit.is_empty() {
            release(connection, channel, &recipient)?;
            continue;
        }
        hold.execute(params![channel.key(), recipient, holder, until.as_millis()])?;
        for message in &unit {
            begin.execute(params![channel.key(), message.message.id.as_str(), now.as_millis()])?;
        }
        let suppressed = limits::suppressed(connection, channel, &recipient)?;
        let lease = Lease { channel, recipient, holder: holder.to_owned(), until };
        claims.push(Claim { lease, messages: unit, is_taken_over, suppressed });
    }
    Ok(claims)
}

/// Ends a recipient's lease: it is due again with its next message.
fn release(connection: &Connection, channel: Channel, recipient: &str) -> rusqlite::Result<()> {
    let mut next = connection.prepare_cached(
        "SELECT min(due_at) FROM messages
         WHERE channel = ?1 AND recipient = ?2 AND state IN ('waiting', 'sending')",
    )?;
    let next: Option<i64> = next.query_row(params![channel.key(), recipient], |row| row.get(0))?;
    match next {
        Some(due_at) => {
            let update = "UPDATE recipients SET holder = NULL, due_at = ?3 WHERE channel = ?1 AND recipient = ?2";
            connection.prepare_cached(update)?.execute(params![channel.key(), recipient, due_at])?;
        }
        None => {
            let delete = "DELETE FROM recipients WHERE channel = ?1 AND recipient = ?2";
            connection.prepare_cached(delete)?.execute(params![channel.key(), recipient])?;
        }
    }
    Ok(())
}

pub(super) fn finish(connection: &Connection, finished: &[Finished], now: Timestamp) -> rusqlite::Result<()> {
    let mut holds =
        connection.prepare_cached("SELECT 1 FROM recipients WHERE channel = ?1 AND recipient = ?2 AND holder = ?3")?;
    let mut update = connection.prepare_cached(
        "UPDATE messages
         SET state = :state, detail = :detail, changed_at = :now, provider_id = coalesce(:provider_id, provider_id),
             due_at = :due_at, batch = :batch, attempts = attempts + :failed
         WHERE channel = :channel AND id = :id
             AND (state = 'sending' OR :sent AND state IN ('waiting', 'unknown'))",
    )?;
    for Finished { lease, messages, outcome, detail } in finished {
        let is_held = holds.exists(params![lease.channel.key(), lease.recipient, lease.holder])?;
        let is_sent = matches!(outcome, Outcome::Sent { .. });
        if !is_held && !is_sent {
            continue;
        }
        let provider_id = if let Outcome::Sent { provider_id } = outcome { provider_id.as_deref() } else { None };
        let due_at = outcome.due_at().unwrap_or(now);
        for id in messages {
            update.execute(named_params! {
                ":state": outcome.state().key(),
                ":detail": detail,
                ":now": now.as_millis(),
                ":provider_id": provider_id,
                ":due_at": due_at.as_millis(),
                ":batch": outcome.batch(),
                ":failed": outcome.is_failure(),
                ":channel": lease.channel.key(),
                ":id": id.as_str(),
                ":sent": is_sent,
            })?;
        }
        if *outcome == Outcome::NoRecipient {
            let reason = detail.as_deref().unwrap_or_default();
            limits::suppress(connection, lease.channel, &lease.recipient, Some(reason), now)?;
        }
        if is_held {
            release(connection, lease.channel, &lease.recipient)?;
        }
    }
    Ok(())
}

pub(super) fn report(connection: &Connection, report: &StatusReport<'_>, now: Timestamp) -> rusqlite::Result<bool> {
    // Together with it, those of its batch.
    let mut concerned = connection.prepare_cached(
        "SELECT number FROM messages WHERE channel = :channel AND id = :id
         UNION SELECT number FROM messages WHERE channel = :channel AND provider_id = :provider_id
         UNION SELECT number FROM messages WHERE channel = :channel AND batch =
             (SELECT batch FROM messages WHERE channel = :channel AND id = :id)",
    )?;
    let id = report.id.map(MessageId::as_str);
    let concerned = concerned.query_map(
        named_params! { ":channel": report.channel.key(), ":id": id, ":provider_id": report.provider_id },
        |row| row.get(0),
    )?;
    let concerned: Vec<i64> = concerned.collect::<rusqlite::Result<_>>()?;
    let mut update = connection.prepare_cached(
        "UPDATE messages SET state = ?2, detail = coalesce(?3, detail), provider_id = coalesce(provider_id, ?4),
             changed_at = ?5
         WHERE number = ?1 AND state NOT IN ('delivered', 'failed')",
    )?;
    for number in &concerned {
        let StatusReport { state, detail, provider_id, .. } = report;
        update.execute(params![number, state.key(), detail, provider_id, now.as_millis()])?;
    }
    Ok(!concerned.is_empty())
}

pub(super) fn message(
    connection: &Connection,
    channel: Channel,
    id: &MessageId,
) -> rusqlite::Result<Option<StoredMessage>> {
    let select = format!("SELECT {COLUMNS} FROM messages WHERE channel = ?1 AND id = ?2");
    connection.prepare_cached(&select)?.query_row(params![channel.key(), id.as_str()], message_of).optional()
}

pub(super) fn messages_of(
    connection: &Connection,
    user: &str,
    before: Option<i64>,
    most: usize,
) -> rusqlite::Result<Vec<StoredMessage>> {
    let select =
        format!("SELECT {COLUMNS} FROM messages WHERE user = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3");
    let mut select = connection.prepare_cached(&select)?;
    select.query_map(params![user, before.unwrap_or(i64::MAX), most as i64], message_of)?.collect()
}

pub(super) fn counts(connection: &Connection, channel: Channel) -> rusqlite::Result<OutboxCounts> {
    let select = "SELECT count(*), min(created_at) FROM messages
        WHERE channel = ?1 AND state IN ('waiting', 'sending')";
    connection.prepare_cached(select)?.query_row([channel.key()], |row| {
        let oldest: Option<i64> = row.get(1)?;
        Ok(OutboxCounts { open: row.get::<_, i64>(0)? as u64, oldest: oldest.map(Timestamp::from_millis) })
    })
}

pub(super) fn forget(connection: &Connection, before: Timestamp, most: usize) -> rusqlite::Result<u64> {
    let delete = "DELETE FROM messages WHERE number IN (
        SELECT number FROM messages
        WHERE state NOT IN ('waiting', 'sending') AND changed_at < ?1 ORDER BY changed_at LIMIT ?2)";
    Ok(connection.prepare_cached(delete)?.execute(params![before.as_millis(), most as i64])? as u64)
}

pub(super) fn forget_user(connection: &Connection, user: &str) -> rusqlite::Result<()> {
    let give_up = "UPDATE messages SET user = NULL
        WHERE user = ?1 AND state IN ('waiting', 'sending') AND content ->> 'kind' = ?2";
    connection.prepare_cached(give_up)?.execute([user, TRANSACTION])?;
    connection.prepare_cached("DELETE FROM messages WHERE user = ?1")?.execute([user])?;
    Ok(())
}

fn message_of(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    let unreadable = |column: usize, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error)
    };
    let text = |column: usize| row.get::<_, String>(column);
    let time = |column: usize| row.get(column).map(Timestamp::from_millis);
    let state = text(8)?;
    Ok(StoredMessage {
        message: NewMessage {
            channel: text(0)?.parse().map_err(|error| unreadable(0, Box::new(error)))?,
            id: text(1)?.parse().map_err(|error| unreadable(1, Box::new(error)))?,
            recipient: text(2)?,
            user: row.get(3)?,
            content: serde_json::from_str(&text(4)?).map_err(|error| unreadable(4, Box::new(error)))?,
            created_at: time(5)?,
            deadline: time(6)?,
            skipped: (state == State::Skipped.key()).then(|| row.get(10)).transpose()?.flatten(),
        },
        order: row.get(7)?,
        state: State::from_key(&state).ok_or_else(|| unreadable(8, format!("no state: {state}").into()))?,
        attempts: row.get(9)?,
        detail: row.get(10)?,
        provider_id: row.get(11)?,
        batch: row.get(12)?,
        changed_at: time(13)?,
    })
}
