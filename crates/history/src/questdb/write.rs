//! Appends steps.

use std::collections::BTreeMap;

use odds::{LogId, StepId, Timestamp};
use tracing::error;

use super::{
    catalog::BEGINS,
    encoding::Damage,
    layout::{KEYFRAME, STEP, Step, StepLines},
    lines::Lines,
    reader::{ReadError, Reader},
    sql::{micros, quoted},
    visibility::{Visibility, wait_for_all},
};
use crate::{Append, RecordedStep, StoreError};

/// About how many bytes are written at once. A step is always written as a whole.
const MOST_BYTES: usize = 4 << 20;
/// How many stored steps and keyframes are looked at in one query.
const LOOK_AT: usize = 2_000;
/// How much later than the last step of an append another step at its position is looked for.
const LOOK_AHEAD_MS: i64 = 3_600_000;
/// QuestDB stores no time before 1970.
const EARLIEST: Timestamp = Timestamp::from_millis(0);

/// What is stored of a step.
#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    step: Option<StoredStep>,
    has_keyframe: bool,
}

#[derive(Clone, Copy, Debug)]
struct StoredStep {
    id: StepId,
    seq: u64,
    has_difference: bool,
}

/// What is stored of a part of a log.
#[derive(Debug, Default)]
struct Known {
    log: Option<LogId>,
    /// All that is stored between these two times, both included, is in `steps`.
    from: Timestamp,
    to: Timestamp,
    steps: BTreeMap<Timestamp, Stored>,
}

/// Appends steps. Everything that is stored must be visible.
pub(super) async fn append(
    reader: &Reader<'_>,
    visibility: &Visibility,
    catalog: &str,
    steps: &[RecordedStep],
) -> Result<Append, StoreError> {
    let mut known = Known::default();
    let mut rows = StepLines { lines: Lines::default(), table: &reader.table };
    let mut begins: BTreeMap<LogId, Timestamp> = BTreeMap::new();
    let mut append = Append::Stored;
    for (n, step) in steps.iter().enumerate() {
        let (log, at) = (step.position.log, step.marker.at);
        let kept_from = reader.logs.find(log).and_then(|log| log.kept_from);
        if kept_from.is_some_and(|kept_from| at < kept_from) {
            // It was stored, and is forgotten.
            continue;
        }
        known.learn(reader, &steps[n..]).await?;
        if !known.follows(step, kept_from) {
            error!(region = %reader.region, step = %step.id, seq = step.position.seq,
                "this step does not follow what is stored: it is not recorded");
            append = Append::Unconnected;
            break;
        }
        known.add(step, &mut rows);
        begins.entry(log).or_insert(at);
        if rows.lines.len() >= MOST_BYTES {
            write(reader, visibility, &mut rows).await?;
        }
    }
    write(reader, visibility, &mut rows).await?;
    begins.retain(|log, at| reader.logs.begin_of(*log).is_none_or(|begins| *at < begins));
    if !begins.is_empty() {
        // Whoever finds a log must find its steps.
        wait_for_all(reader.server, std::slice::from_ref(&reader.table)).await?;
        let mut lines = Lines::default();
        for (log, at) in &begins {
            lines.add_to_catalog(catalog, *at, [("region", &reader.region.key()), ("kind", &BEGINS), ("name", log)]);
        }
        reader.server.write(lines.finish()).await?;
        visibility.acknowledge();
    }
    Ok(append)
}

async fn write(reader: &Reader<'_>, visibility: &Visibility, rows: &mut StepLines<'_>) -> Result<(), StoreError> {
    if !rows.lines.is_empty() {
        reader.server.write(std::mem::take(&mut rows.lines).finish()).await?;
        visibility.acknowledge();
    }
    Ok(())
}

impl Known {
    /// Reads what is stored around the first of these steps, and around those that follow it.
    async fn learn(&mut self, reader: &Reader<'_>, steps: &[RecordedStep]) -> Result<(), ReadError> {
        let Some(first) = steps.first() else { return Ok(()) };
        let log = first.position.log;
        let since = first.difference.as_ref().map_or(first.marker.at, |difference| difference.previous.1.at);
        if self.log == Some(log) && self.from <= since && first.marker.at <= self.to {
            return Ok(());
        }
        let same_log = steps.iter().take_while(|step| step.position.log == log);
        let last = same_log.map(|step| step.marker.at).max().unwrap_or(first.marker.at);
        let to = last.max(first.marker.at).plus_millis(LOOK_AHEAD_MS);
        let sql = format!(
            "SELECT event, {} FROM {} WHERE event IN ('{STEP}', '{KEYFRAME}') AND log = {} AND ts >= {} AND ts <= {}
             ORDER BY ts LIMIT {LOOK_AT}",
            Step::COLUMNS,
            reader.table,
            quoted(log),
            micros(since.max(EARLIEST)),
            micros(to),
        );
        let rows: Vec<(String, i64, Option<String>, String)> = reader.server.query(&sql).await?;
        let mut steps: BTreeMap<Timestamp, Stored> = BTreeMap::new();
        for (event, micros, term, content) in &rows {
            let stored = steps.entry(super::sql::time(*micros)).or_default();
            if event == KEYFRAME {
                stored.has_keyframe = true;
                continue;
            }
            let Step { id, seq, difference, .. } = Step::read(*micros, term.as_deref().unwrap_or_default(), content)?;
            stored.step = Some(StoredStep { id, seq, has_difference: difference.is_some() });
        }
        // The rows of the last time may be incomplete.
        let mut until = to;
        if rows.len() == LOOK_AT
            && let Some((last, _)) = steps.pop_last()
        {
            until = last.plus_millis(-1);
        }
        if until < first.marker.at {
            return Err(ReadError::Store(StoreError(format!("more than {LOOK_AT} steps are stored within one"))));
        }
        *self = Self { log: Some(log), from: since, to: until, steps };
        Ok(())
    }

    /// Whether a step can be stored: the one before it is, and no other one at its position.
    fn follows(&self, step: &RecordedStep, kept_from: Option<Timestamp>) -> bool {
        let (at, seq) = (step.marker.at, step.position.seq);
        if at < EARLIEST {
            return false;
        }
        let stored = |at: Timestamp| self.steps.get(&at)?.step;
        let is_other = stored(at).is_some_and(|stored| stored.id != step.id);
        let before = self.steps.range(..at).rev().find_map(|(_, stored)| stored.step);
        let after = self.steps.range(at.plus_millis(1)..).find_map(|(_, stored)| stored.step);
        let is_out_of_order =
            before.is_some_and(|before| before.seq >= seq) || after.is_some_and(|after| after.seq <= seq);
        if is_other || is_out_of_order {
            return false;
        }
        let Some(difference) = &step.difference else { return true };
        let (previous, marker) = &difference.previous;
        // Where a log was cut, the first step is stored without the one before it.
        let is_first = kept_from == Some(at) && stored(at).is_some();
        let is_kept = kept_from.is_none_or(|kept_from| kept_from <= marker.at);
        is_first || (is_kept && stored(marker.at).is_some_and(|stored| stored.id == *previous))
    }

    /// Adds the rows of a step that are not stored yet.
    fn add(&mut self, step: &RecordedStep, rows: &mut StepLines<'_>) {
        let stored = self.steps.entry(step.marker.at).or_default();
        if let Some(keyframe) = &step.keyframe
            && !stored.has_keyframe
        {
            rows.add_keyframe(step, keyframe);
            stored.has_keyframe = true;
        }
        let has_difference = stored.step.is_some_and(|stored| stored.has_difference);
        match &step.difference {
            Some(difference) if !has_difference => {
                rows.add_difference(step, &difference.changes, &difference.previous.1);
            }
            None if stored.step.is_none() && step.keyframe.is_some() => rows.add_whole(step),
            _ => return,
        }
        let (id, seq) = (step.id, step.position.seq);
        stored.step = Some(StoredStep { id, seq, has_difference: step.difference.is_some() });
    }
}

impl From<Damage> for StoreError {
    fn from(Damage: Damage) -> Self {
        ReadError::Damage.into()
    }
}
