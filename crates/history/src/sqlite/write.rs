//! Appends steps.

use std::io::Write;

use flate2::{Compression, write::DeflateEncoder};
use odds::{Region, StepId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, TransactionBehavior, params};
use tracing::error;

use super::{
    encoding::{NumberedChange, NumberedKind, encode, number},
    read::keyframe,
    texts::{Numbers, Texts},
};
use crate::{Append, RecordedStep, marker_patch};

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) connection: Connection,
    numbers: Numbers,
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, numbers: Numbers::default() }
    }

    pub(super) fn append(&mut self, region: Region, steps: &[RecordedStep]) -> Result<Append> {
        let appended = self.try_append(region, steps);
        if appended.is_err() {
            // Texts of a transaction that was rolled back have no numbers.
            self.numbers.forget();
        }
        appended
    }

    /// Records a step that has a keyframe as the first one: as a whole board, and not as what changed.
    pub(super) fn record_as_first(&mut self, region: Region, log: i64, seq: i64, at: Timestamp) -> Result<()> {
        let recorded = self.try_record_as_first(region, log, seq, at);
        if recorded.is_err() {
            self.numbers.forget();
        }
        recorded
    }

    fn try_record_as_first(&mut self, region: Region, log: i64, seq: i64, at: Timestamp) -> Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = transaction.execute(
            "UPDATE steps SET marker = NULL, changes = NULL WHERE log = ?1 AND seq = ?2 AND changes IS NOT NULL",
            (log, seq),
        )?;
        if changed == 0 {
            return Ok(());
        }
        let (_, board, _) = keyframe(&transaction, &mut Texts::default(), log, seq)?;
        for change in number(&board, at, &mut self.numbers.in_transaction(&transaction))? {
            append_change(&transaction, region, log, &change, at)?;
        }
        transaction.commit()
    }

    fn try_append(&mut self, region: Region, steps: &[RecordedStep]) -> Result<Append> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut append = Append::Stored;
        for step in steps {
            append = append_step(&transaction, &mut self.numbers, region, step)?;
            if append == Append::Unconnected {
                break;
            }
        }
        transaction.commit()?;
        Ok(append)
    }
}

fn append_step(
    transaction: &Transaction<'_>,
    numbers: &mut Numbers,
    region: Region,
    step: &RecordedStep,
) -> Result<Append> {
    let at = step.marker.at;
    let log = log_of(transaction, region, &step.position.log.to_be_bytes())?;
    let seq = step.position.seq as i64;
    let id = step.id.to_be_bytes();
    let mut numbers = numbers.in_transaction(transaction);

    let stored = stored_step(transaction, log, seq)?;
    let previous = match &step.difference {
        Some(difference) => Some((difference.previous.0, stored_step(transaction, log, seq - 1)?)),
        None => None,
    };
    let is_other = |id: StepId, stored: Option<Stored>| stored.is_none_or(|stored| stored.id != id);
    if (stored.is_some() && is_other(step.id, stored)) || previous.is_some_and(|(id, stored)| is_other(id, stored)) {
        error!(%region, step = %step.id, seq, "this step does not follow what is stored: it is not recorded");
        return Ok(Append::Unconnected);
    }
    let has_difference = stored.is_some_and(|stored| stored.has_difference);

    let keyframe = step.keyframe.as_deref().map(|changes| number(changes, at, &mut numbers)).transpose()?;
    if let Some(keyframe) = &keyframe {
        let content = compress(&encode(keyframe));
        let marker = marker_patch::value(&step.marker).to_string();
        transaction
            .prepare_cached("INSERT OR IGNORE INTO keyframes (log, seq, marker, content) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![log, seq, marker, content])?;
    }
    let changes = match (&step.difference, keyframe) {
        (Some(difference), _) if !has_difference => {
            let patch = marker_patch::between(&difference.previous.1, &step.marker).to_string();
            let changes = number(&difference.changes, at, &mut numbers)?;
            transaction
                .prepare_cached(
                    "INSERT INTO steps (log, seq, at, step, marker, changes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (log, seq) DO UPDATE SET marker = excluded.marker, changes = excluded.changes",
                )?
                .execute(params![log, seq, at.as_millis(), id, patch, encode(&changes)])?;
            changes
        }
        (None, Some(keyframe)) if stored.is_none() => {
            transaction
                .prepare_cached("INSERT INTO steps (log, seq, at, step) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![log, seq, at.as_millis(), id])?;
            keyframe
        }
        _ => return Ok(Append::Stored),
    };
    for change in changes {
        append_change(transaction, region, log, &change, at)?;
    }
    Ok(Append::Stored)
}

/// A step that is stored.
#[derive(Clone, Copy, Debug)]
struct Stored {
    id: StepId,
    has_difference: bool,
}

fn stored_step(transaction: &Transaction<'_>, log: i64, seq: i64) -> Result<Option<Stored>> {
    let stored = |row: &Row<'_>| Ok(Stored { id: StepId::from_be_bytes(row.get(0)?), has_difference: row.get(1)? });
    transaction
        .prepare_cached("SELECT step, changes IS NOT NULL FROM steps WHERE log = ?1 AND seq = ?2")?
        .query_row((log, seq), stored)
        .optional()
}

/// Writes a change to the tables that charts read.
fn append_change(
    transaction: &Transaction<'_>,
    region: Region,
    log: i64,
    change: &NumberedChange,
    at: Timestamp,
) -> Result<()> {
    let event = change.event as i64;
    let append_event = |details: Option<u64>| {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO event_changes (event, log, at, details) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![event, log, at.as_millis(), details.map(|it| it as i64)])
    };
    let NumberedKind::Changed { details, quotes } = &change.kind else {
        append_event(None)?;
        return Ok(());
    };
    if details.is_some() {
        append_event(*details)?;
    }
    for quote in quotes {
        let id = quote_number(transaction, event, quote.market as i64, region, quote.bookmaker as i64)?;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO quote_changes (quote, log, at, value) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, log, at.as_millis(), quote.value])?;
    }
    Ok(())
}

fn quote_number(transaction: &Transaction<'_>, event: i64, market: i64, region: Region, bookmaker: i64) -> Result<i64> {
    let key = params![event, market, region.key(), bookmaker];
    let known = transaction
        .prepare_cached("SELECT id FROM quotes WHERE event = ?1 AND market = ?2 AND region = ?3 AND bookmaker = ?4")?
        .query_row(key, |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => {
            transaction
                .prepare_cached("INSERT INTO quotes (event, market, region, bookmaker) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![event, market, region.key(), bookmaker])?;
            Ok(transaction.last_insert_rowid())
        }
    }
}

fn log_of(transaction: &Transaction<'_>, region: Region, name: &[u8; 20]) -> Result<i64> {
    let known = transaction
        .prepare_cached("SELECT id FROM logs WHERE region = ?1 AND name = ?2")?
        .query_row((region.key(), name), |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => {
            transaction.execute("INSERT INTO logs (region, name) VALUES (?1, ?2)", (region.key(), name))?;
            Ok(transaction.last_insert_rowid())
        }
    }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}
