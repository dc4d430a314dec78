//! Finds steps, and rebuilds boards.

use std::{cmp::Reverse, io::Read};

use flate2::read::DeflateDecoder;
use odds::{Change, LogId, LogPosition, Marker, Region, StepId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Result, Row};
use serde_json::Value;
use tracing::error;

use super::{
    encoding::{Decoder, damaged},
    texts::Texts,
    windows::windows,
};
use crate::{
    HistoryError, Moment, RecordedBoard, StepsAfter, StoreError, StoredStep, Then, marker_patch, rebuild::Rebuild,
};

/// How many steps, and about how many bytes of them, are read at once.
const MOST_STEPS: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// A connection that reads.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) texts: Texts,
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
        if is_damage(&error) {
            error!(%error, "the history is damaged");
            return Self::DamagedRow;
        }
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
            Moment::Step(id) => step_of(&snapshot, region, id)?,
        };
        let position = LogPosition { log: log_name(&snapshot, step.log)?, seq: step.seq as u64 };
        let rebuilt = undamaged(rebuild(&snapshot, &mut self.texts, step))?;
        let verified = rebuilt.and_then(|(events, marker)| {
            let marker: Marker = serde_json::from_value(marker).ok()?;
            let board = events.finish(step.id, marker.digest).ok()?;
            Some((board, marker))
        });
        let Some((board, marker)) = verified else {
            error!(%region, step = %step.id, "the recorded board does not match its digest");
            return Err(HistoryError::Damaged(step.id));
        };
        Ok(RecordedBoard { region, position, id: step.id, marker, board, until })
    }

    pub(super) fn steps_after(
        &mut self,
        region: Region,
        step: LogPosition,
        marker: &Marker,
    ) -> Result<StepsAfter, HistoryError> {
        let snapshot = self.connection.unchecked_transaction()?;
        let next_log = next_log(&snapshot, region, &step.log)?;
        let mut after = snapshot.prepare_cached(
            "SELECT seq, at, step, marker, changes FROM steps
             WHERE log = (SELECT id FROM logs WHERE region = ?1 AND name = ?2) AND seq > ?3 ORDER BY seq LIMIT ?4",
        )?;
        let mut rows = after.query((region.key(), step.log.to_be_bytes(), step.seq as i64, MOST_STEPS as i64))?;
        let mut marker = marker_patch::value(marker);
        let mut steps: Vec<StoredStep> = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let position = LogPosition { log: step.log, seq: row.get::<_, i64>(0)? as u64 };
            let at = Timestamp::from_millis(row.get(1)?);
            if next_log.is_some_and(|(begins, _)| begins <= at) {
                break;
            }
            // What is before a damaged step is returned first, and the next call finds the damage.
            let some = |steps| Ok(StepsAfter { steps, then: Then::More });
            let Some(id) = undamaged(row.get(2))?.map(StepId::from_be_bytes) else {
                return if steps.is_empty() { Err(damaged().into()) } else { some(steps) };
            };
            let recorded = (row.get_ref(3)?.as_str_or_null(), row.get_ref(4)?.as_blob_or_null());
            let last = steps.last().map_or(step, |last| last.position);
            let (Ok(Some(patch)), Ok(Some(changes)), true) = (recorded.0, recorded.1, position.follows(last)) else {
                return Ok(StepsAfter { steps, then: Then::Gap { next: id } });
            };
            bytes += patch.len() + changes.len();
            let read = json(patch).and_then(|patch| {
                marker_patch::apply(&mut marker, patch);
                let changes = Decoder::new(changes, at).changes(&mut self.texts.on(&snapshot))?;
                let marker = serde_json::from_value(marker.clone()).map_err(|_| damaged())?;
                Ok(StoredStep { position, id, marker, changes })
            });
            let Some(stored) = undamaged(read)? else {
                if !steps.is_empty() {
                    return some(steps);
                }
                error!(%region, step = %id, "a recorded step is damaged");
                return Err(HistoryError::Damaged(id));
            };
            steps.push(stored);
            if steps.len() == MOST_STEPS || bytes >= MOST_BYTES {
                return some(steps);
            }
        }
        let then = next_log.map_or(Then::End, |(_, next)| Then::Gap { next });
        Ok(StepsAfter { steps, then })
    }

    /// The first step after a time that has a keyframe.
    pub(super) fn next_keyframe(
        &mut self,
        region: Region,
        after: Timestamp,
    ) -> Result<Option<(Timestamp, StepId)>, HistoryError> {
        let snapshot = self.connection.unchecked_transaction()?;
        // An id of another length is damaged.
        let mut next = snapshot.prepare_cached(
            "SELECT at, step FROM steps JOIN keyframes USING (log, seq)
             WHERE log = ?1 AND at > ?2 AND at <= ?3 AND length(step) = 20 ORDER BY at LIMIT 1",
        )?;
        for window in windows(&snapshot, region)? {
            let step = |row: &Row<'_>| Ok((Timestamp::from_millis(row.get(0)?), StepId::from_be_bytes(row.get(1)?)));
            let limits = (window.log, after.as_millis(), window.last().as_millis());
            if let Some(found) = next.query_row(limits, step).optional()? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
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
            later = first.map(Timestamp::from_millis).into_iter().chain(later).min();
            continue;
        };
        // Another log begins after a gap, whatever this one says about later times.
        let next = step_after(connection, found)?.filter(|next| later.is_none_or(|later| next.at < later));
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

/// A step by its id, and when the next one came.
fn step_of(connection: &Connection, region: Region, id: StepId) -> Result<(Step, Option<Timestamp>), HistoryError> {
    let found = connection
        .prepare_cached(&format!("{STEP} WHERE step = ?1 AND log IN (SELECT id FROM logs WHERE region = ?2)"))?
        .query_row((id.to_be_bytes(), region.key()), step)
        .optional()?;
    let found = found.ok_or(HistoryError::NotRecorded { from: None, until: None })?;
    let next = step_after(connection, found)?.filter(|next| next.seq == found.seq + 1);
    Ok((found, next.map(|next| next.at)))
}

/// The newest keyframe at or before a step: its position in the log, the board, and the marker.
pub(super) fn keyframe(
    connection: &Connection,
    texts: &mut Texts,
    log: i64,
    seq: i64,
) -> Result<(i64, Vec<Change>, Value)> {
    let mut select = connection.prepare_cached(
        "SELECT keyframes.seq, at, keyframes.marker, content FROM keyframes JOIN steps USING (log, seq)
         WHERE keyframes.log = ?1 AND keyframes.seq <= ?2 ORDER BY keyframes.seq DESC LIMIT 1",
    )?;
    let mut rows = select.query((log, seq))?;
    let row = rows.next()?.ok_or_else(damaged)?;
    let content = decompress(row.get_ref(3)?.as_blob()?)?;
    let at = Timestamp::from_millis(row.get(1)?);
    let changes = Decoder::new(&content, at).changes(&mut texts.on(connection))?;
    Ok((row.get(0)?, changes, json(row.get_ref(2)?.as_str()?)?))
}

/// The events and the marker after a step.
fn rebuild(connection: &Connection, texts: &mut Texts, to: Step) -> Result<(Rebuild, Value)> {
    let (first, changes, mut marker) = keyframe(connection, texts, to.log, to.seq)?;
    let mut events = Rebuild::default();
    events.apply(changes);

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

pub(super) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|_| damaged())
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    DeflateDecoder::new(bytes).read_to_end(&mut content).map_err(|_| damaged())?;
    Ok(content)
}

/// `None` if rows are not what was written. An error means that they can't be read for now.
fn undamaged<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(error) if is_damage(&error) => Ok(None),
        read => read.map(Some),
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))
        || error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt)
}

/// The log that replaces this one, by its first step, and from when on.
fn next_log(connection: &Connection, region: Region, log: &LogId) -> Result<Option<(Timestamp, StepId)>> {
    let mut later = connection.prepare_cached("SELECT id, name FROM logs WHERE region = ?1 AND name > ?2")?;
    let mut rows = later.query((region.key(), log.to_be_bytes()))?;
    let mut firsts = Vec::new();
    while let Some(row) = rows.next()? {
        let first = connection
            .prepare_cached("SELECT at, step FROM steps WHERE log = ?1 ORDER BY seq LIMIT 1")?
            .query_row([row.get::<_, i64>(0)?], |first| Ok((first.get::<_, i64>(0)?, first.get(1)?)))
            .optional()?;
        let name: [u8; 20] = row.get(1)?;
        firsts.extend(first.map(|(at, step)| (at, Reverse(name), step)));
    }
    let first = firsts.into_iter().min_by_key(|(at, name, _)| (*at, *name));
    Ok(first.map(|(at, _, step)| (Timestamp::from_millis(at), StepId::from_be_bytes(step))))
}
