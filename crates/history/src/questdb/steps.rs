//! Reads steps one after the other.

use odds::{LogId, LogPosition, Marker};
use serde_json::Value;
use tracing::error;

use super::{
    encoding::Damage,
    layout::Step,
    reader::{NEVER_LATER, Order, ReadError, Reader},
    step_rows::{Builder, ReadStep},
};
use crate::{HistoryError, StepsAfter, StoredStep, Then, marker_patch};

/// How many steps, and about how many rows of them, are read at once.
const MOST_STEPS: usize = 256;
const MOST_ROWS: usize = 20_000;

/// Steps that are being read.
struct Sequence {
    log: LogId,
    last: u64,
    marker: Value,
    steps: Vec<StoredStep>,
}

impl Builder for Sequence {
    fn add(&mut self, ReadStep { step, difference, changes }: ReadStep) -> Result<(), Damage> {
        if step.seq != self.last + 1 {
            return Err(Damage);
        }
        self.last = step.seq;
        marker_patch::apply(&mut self.marker, difference.marker_patch);
        let marker = serde_json::from_value(self.marker.clone()).map_err(|_| Damage)?;
        let position = LogPosition { log: self.log, seq: step.seq };
        self.steps.push(StoredStep { position, id: step.id, marker, changes });
        Ok(())
    }
}

impl Reader<'_> {
    pub(super) async fn steps_after(&self, step: LogPosition, marker: &Marker) -> Result<StepsAfter, HistoryError> {
        let next_log = self.logs.next_after(step.log);
        let before = next_log.map_or(NEVER_LATER, |(_, begins)| begins.plus_millis(-1));
        let after = marker.at.plus_millis(1).max(self.logs.begin_of(step.log).unwrap_or(NEVER_LATER));
        let found = self.steps(step.log, (after, before), Order::OldestFirst, MOST_STEPS + 1).await?;
        let (follow, then) = self.following(step, &found);
        let Some(first) = follow.first() else {
            return Ok(StepsAfter { steps: Vec::new(), then: self.then(then, next_log).await? });
        };
        let mut wanted = follow;
        while let Some(last) = wanted.last() {
            let sequence = Sequence {
                log: step.log,
                last: step.seq,
                marker: marker_patch::value(marker),
                steps: Vec::with_capacity(wanted.len()),
            };
            let range = (marker.at, last.at);
            let first = self.page_of_steps(step.log, range, 0).await?;
            match self.build(step.log, range, first, sequence).await {
                Ok(Sequence { steps, .. }) if steps.len() == wanted.len() => {
                    let is_all = wanted.len() == follow.len();
                    let then = if is_all { self.then(then, next_log).await? } else { Then::More };
                    return Ok(StepsAfter { steps, then });
                }
                // One of them is damaged. Those before it can be read.
                Ok(_) | Err(ReadError::Damage) => wanted = &wanted[..wanted.len() / 2],
                Err(ReadError::Store(error)) => return Err(error.into()),
            }
        }
        error!(region = %self.region, step = %first.id, "a recorded step is damaged");
        Err(HistoryError::Damaged(first.id))
    }

    /// The first of the steps that follow one after the other, and what comes after them. They are limited.
    fn following<'s>(&self, first: LogPosition, steps: &'s [Step]) -> (&'s [Step], Then) {
        let (mut seq, mut rows) = (first.seq, 0);
        for (n, step) in steps.iter().enumerate() {
            let Some(difference) = step.difference.as_ref().filter(|_| step.seq == seq + 1) else {
                self.found.remember(self.region, first.log, step);
                return (&steps[..n], Then::Gap { next: step.id });
            };
            if n == MOST_STEPS || rows >= MOST_ROWS {
                return (&steps[..n], Then::More);
            }
            seq = step.seq;
            rows += difference.rows;
        }
        (steps, Then::End)
    }

    /// At the end of a log, another one may come.
    async fn then(&self, then: Then, next_log: Option<(LogId, odds::Timestamp)>) -> Result<Then, ReadError> {
        let (Then::End, Some((log, begins))) = (then, next_log) else { return Ok(then) };
        let Some(first) = self.newest(log, (begins, begins)).await? else { return Ok(Then::End) };
        self.found.remember(self.region, log, &first);
        Ok(Then::Gap { next: first.id })
    }
}
