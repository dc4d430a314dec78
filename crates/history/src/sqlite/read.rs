//! Finds steps, and rebuilds boards.

use std::io::Read;

use flate2::read::DeflateDecoder;
use odds::{Cursor, EventId, LogId, LogPosition, Marker, Outcome, Region, StepId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Result, Row};
use serde_json::Value;
use tracing::error;

use super::{
    encoding::{Decoder, damaged},
    texts::{Texts, number_of},
};
use crate::{EventSummary, HistoryError, Moment, RecordedBoard, StoreError, marker_patch, rebuild::Rebuild};

/// A connection that reads.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    texts: Texts,
}

/// A stored step, without what it changed.
#[derive(Clone, Copy, Debug)]
struct Step {
    log: i64,
    seq: i64,
    at: Timestamp,
    id: StepId,
}

const STEP: &str = "SELECT log, seq, at, step FROM steps";

fn step(row: &Row<'_>) -> Result<Step> {
    let at = Timestamp::from_millis(row.get(2)?);
    Ok(Step { log: row.get(0)?, seq: row.get(1)?, at, id: StepId::from_be_bytes(row.get(3)?) })
}

impl From<rusqlite::Error> for HistoryError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::new(error).into()
    }
}

impl Reader {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, texts: Texts::default() }
    }

    pub(super) fn last_step(&self, region: Region) -> Result<Option<LogPosition>> {
        let mut select = self.connection.prepare_cached(
            "SELECT logs.name, max(steps.seq) FROM logs JOIN steps ON steps.log = logs.id WHERE logs.region = ?1
             GROUP BY logs.id ORDER BY logs.name DESC LIMIT 1",
        )?;
        let position = |row: &Row<'_>| {
            Ok(LogPosition { log: LogId::from_be_bytes(row.get(0)?), seq: row.get::<_, i64>(1)? as u64 })
        };
        select.query_row([region.key()], position).optional()
    }

    pub(super) fn board_at(&mut self, region: Region, moment: Moment) -> Result<RecordedBoard, HistoryError> {
        // All queries see the same state of the file.
        let snapshot = self.connection.unchecked_transaction()?;
        let (step, until) = match moment {
            Moment::At(at) => step_at(&snapshot, region, at)?,
            Moment::Step(cursor) => step_of(&snapshot, region, &cursor)?,
        };
        let position = LogPosition { log: log_name(&snapshot, step.log)?, seq: step.seq as u64 };
        let rebuilt = rebuild(&snapshot, &mut self.texts, step);
        let rebuilt = match rebuilt {
            Err(error) if is_damage(&error) => None,
            rebuilt => Some(rebuilt?),
        };
        let verified = rebuilt.and_then(|(events, marker)| {
            let marker: Marker = serde_json::from_value(marker).ok()?;
            let board = events.finish(marker.digest).ok()?;
            Some((board, marker))
        });
        let Some((board, marker)) = verified else {
            error!(%region, step = %step.id, "the recorded board does not match its digest");
            return Err(HistoryError::Damaged(step.id));
        };
        Ok(RecordedBoard { region, position, id: step.id, marker, board, until })
    }

    pub(super) fn event_summary(&mut self, event: &EventId) -> Result<Vec<EventSummary>> {
        let snapshot = self.connection.unchecked_transaction()?;
        let Some(event) = number_of(&snapshot, event.as_str())? else { return Ok(Vec::new()) };
        let mut summaries: Vec<EventSummary> = Vec::new();
        let mut quotes = snapshot.prepare_cached(
            "SELECT quotes.region, quotes.id, at, value FROM quotes JOIN quote_changes ON quote = quotes.id
             WHERE event = ?1 ORDER BY quotes.region, quotes.id, at",
        )?;
        let mut rows = quotes.query([event as i64])?;
        let mut of_quote: Option<(i64, Vec<Outcome>)> = None;
        while let Some(row) = rows.next()? {
            let region: Region = row.get_ref(0)?.as_str()?.parse().map_err(|_| damaged())?;
            let quote: i64 = row.get(1)?;
            let at = Timestamp::from_millis(row.get(2)?);
            let outcomes = Decoder::new(row.get_ref(3)?.as_blob()?, at).quote(&mut self.texts.on(&snapshot))?.outcomes;
            if summaries.last().is_none_or(|last| last.region != region) {
                summaries.push(EventSummary { region, first_seen: at, last_change: at, price_changes: 0 });
            }
            let summary = summaries.last_mut().expect("one was just pushed");
            summary.first_seen = summary.first_seen.min(at);
            let (last_quote, last) = of_quote.get_or_insert_with(|| (quote, Vec::new()));
            if *last_quote != quote {
                (*last_quote, *last) = (quote, Vec::new());
            }
            let changed = outcomes.iter().filter(|now| last.iter().any(|then| is_other_price(then, now))).count();
            if changed > 0 {
                summary.price_changes += changed as u64;
                summary.last_change = summary.last_change.max(at);
            }
            // The price before a withdrawal counts when it is back.
            last.retain(|then| !outcomes.iter().any(|now| is_same_outcome(then, now)));
            last.extend(outcomes);
        }
        Ok(summaries)
    }
}

fn is_same_outcome(a: &Outcome, b: &Outcome) -> bool {
    (&a.name, a.point, &a.description) == (&b.name, b.point, &b.description)
}

fn is_other_price(a: &Outcome, b: &Outcome) -> bool {
    is_same_outcome(a, b) && a.price != b.price
}

/// The step whose board was valid at a time, and when the next one came.
fn step_at(connection: &Connection, region: Region, at: Timestamp) -> Result<(Step, Option<Timestamp>), HistoryError> {
    // A log that began later replaces what an earlier one says about the same time.
    let mut logs = connection.prepare_cached("SELECT id FROM logs WHERE region = ?1 ORDER BY name DESC")?;
    let logs = logs.query_map([region.key()], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>>>()?;
    let mut later: Option<Timestamp> = None;
    for log in logs {
        let found = connection
            .prepare_cached(&format!("{STEP} WHERE log = ?1 AND at <= ?2 ORDER BY at DESC, seq DESC LIMIT 1"))?
            .query_row((log, at.as_millis()), step)
            .optional()?;
        let Some(found) = found else {
            let first: Option<i64> = connection
                .prepare_cached("SELECT min(at) FROM steps WHERE log = ?1")?
                .query_row([log], |row| row.get(0))?;
            later = first.map(Timestamp::from_millis).or(later);
            continue;
        };
        let next = step_after(connection, found)?;
        return match next {
            Some(next) if next.seq == found.seq + 1 => Ok((found, Some(next.at))),
            _ if found.at == at => Ok((found, None)),
            next => match next.map(|next| next.at).or(later) {
                Some(until) => Err(HistoryError::NotRecorded { from: Some(found.at), until: Some(until) }),
                None => Ok((found, None)),
            },
        };
    }
    Err(HistoryError::NotRecorded { from: None, until: later })
}

fn step_after(connection: &Connection, of: Step) -> Result<Option<Step>> {
    let mut select = connection.prepare_cached(&format!("{STEP} WHERE log = ?1 AND seq > ?2 ORDER BY seq LIMIT 1"))?;
    select.query_row((of.log, of.seq), step).optional()
}

/// The step of a cursor, and when the next one came.
fn step_of(
    connection: &Connection,
    region: Region,
    cursor: &Cursor,
) -> Result<(Step, Option<Timestamp>), HistoryError> {
    let id = cursor.step();
    let found = connection
        .prepare_cached(&format!("{STEP} WHERE step = ?1 AND log IN (SELECT id FROM logs WHERE region = ?2)"))?
        .query_row((id.to_be_bytes(), region.key()), step)
        .optional()?;
    let found = found.ok_or(HistoryError::NotRecorded { from: None, until: None })?;
    let next = step_after(connection, found)?.filter(|next| next.seq == found.seq + 1);
    Ok((found, next.map(|next| next.at)))
}

/// The events and the marker after a step.
fn rebuild(connection: &Connection, texts: &mut Texts, to: Step) -> Result<(Rebuild, Value)> {
    let mut select = connection.prepare_cached(
        "SELECT keyframes.seq, at, keyframes.marker, content FROM keyframes JOIN steps USING (log, seq)
         WHERE keyframes.log = ?1 AND keyframes.seq <= ?2 ORDER BY keyframes.seq DESC LIMIT 1",
    )?;
    let mut rows = select.query((to.log, to.seq))?;
    let row = rows.next()?.ok_or_else(damaged)?;
    let first: i64 = row.get(0)?;
    let mut events = Rebuild::default();
    let content = decompress(row.get_ref(3)?.as_blob()?)?;
    let at = Timestamp::from_millis(row.get(1)?);
    events.apply(Decoder::new(&content, at).changes(&mut texts.on(connection))?);
    let mut marker: Value = json(row.get_ref(2)?.as_str()?)?;

    let mut select = connection.prepare_cached(
        "SELECT seq, at, marker, changes FROM steps WHERE log = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq",
    )?;
    let mut rows = select.query((to.log, first, to.seq))?;
    let mut last = first;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        let at = Timestamp::from_millis(row.get(1)?);
        let patch = row.get_ref(2)?.as_str_or_null()?.ok_or_else(damaged)?;
        let changes = row.get_ref(3)?.as_blob_or_null()?.ok_or_else(damaged)?;
        if seq != last + 1 {
            return Err(damaged());
        }
        last = seq;
        marker_patch::apply(&mut marker, json(patch)?);
        events.apply(Decoder::new(changes, at).changes(&mut texts.on(connection))?);
    }
    Ok((events, marker))
}

fn log_name(connection: &Connection, log: i64) -> Result<LogId> {
    connection
        .prepare_cached("SELECT name FROM logs WHERE id = ?1")?
        .query_row([log], |row| row.get(0).map(LogId::from_be_bytes))
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|_| damaged())
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    DeflateDecoder::new(bytes).read_to_end(&mut content).map_err(|_| damaged())?;
    Ok(content)
}

/// Whether rows are not what was written, rather than unreadable for now.
fn is_damage(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt)
}
