//! Finds and rebuilds boards.

use odds::{Board, Change, LogId, LogPosition, Marker, StepId, Timestamp};
use serde_json::Value;
use tokio::{task::spawn_blocking, try_join};
use tracing::error;

use super::{
    encoding::{Damage, decode_event},
    layout::{BOARD, Keyframe, Step},
    reader::{NEVER_LATER, ReadError, Reader},
    server::{Answer, Text},
    sql::{micros, quoted},
    step_rows::{Builder, ReadStep},
};
use crate::{HistoryError, Moment, RecordedBoard, StoreError, marker_patch, rebuild::Rebuild};

/// A board that is being rebuilt, step by step.
struct Replay {
    events: Rebuild,
    marker: Value,
    seq: u64,
}

impl Builder for Replay {
    fn add(&mut self, ReadStep { step, difference, changes }: ReadStep) -> Result<(), Damage> {
        if step.seq != self.seq + 1 {
            return Err(Damage);
        }
        self.seq = step.seq;
        marker_patch::apply(&mut self.marker, difference.marker_patch);
        self.events.apply(changes);
        Ok(())
    }
}

impl Replay {
    /// Begins with a keyframe.
    fn begin(keyframe: Keyframe, events: &Answer) -> Result<Self, ReadError> {
        let rows: Vec<(Text<'_>, Text<'_>)> = events.rows()?;
        if rows.len() != keyframe.events {
            return Err(ReadError::Damage);
        }
        let mut replay = Self { events: Rebuild::default(), marker: keyframe.marker, seq: keyframe.seq };
        for (event, content) in rows {
            let id = event.parse().map_err(|_| Damage)?;
            let (details, quotes) = decode_event(&content, keyframe.at)?;
            replay.events.apply([Change::Changed { id, details: Some(details), quotes }]);
        }
        Ok(replay)
    }

    /// Returns the board and the marker if they are those of the step.
    fn finish(self, step: &Step) -> Result<(Board, Marker), Damage> {
        let marker: Marker = serde_json::from_value(self.marker).map_err(|_| Damage)?;
        if self.seq != step.seq || marker.digest != step.digest {
            return Err(Damage);
        }
        let board = self.events.finish(step.id, marker.digest).map_err(|_| Damage)?;
        Ok((board, marker))
    }
}

impl Reader<'_> {
    pub(super) async fn board_at(&self, moment: Moment) -> Result<RecordedBoard, HistoryError> {
        let (log, step, until) = match moment {
            Moment::At(at) => self.step_at(at).await?,
            Moment::Step(id) => self.step_of(id).await?,
        };
        match self.rebuild(log, &step).await {
            Ok((board, marker)) => {
                let position = LogPosition { log, seq: step.seq };
                Ok(RecordedBoard { region: self.region, position, id: step.id, marker, board, until })
            }
            Err(ReadError::Damage) => {
                error!(region = %self.region, step = %step.id, "the recorded board does not match its digest");
                Err(HistoryError::Damaged(step.id))
            }
            Err(ReadError::Store(error)) => Err(error.into()),
        }
    }

    /// The step whose board was valid at a time, and when the next one came.
    async fn step_at(&self, at: Timestamp) -> Result<(LogId, Step, Option<Timestamp>), HistoryError> {
        // A log that began later replaces what an earlier one says about the same time.
        let mut later: Option<Timestamp> = None;
        for (log, begins) in self.logs.begun().rev() {
            if begins > at {
                later = later.into_iter().chain([begins]).min();
                continue;
            }
            // Another log begins after a gap, whatever this one says about later times.
            let before = later.map_or(NEVER_LATER, |later| later.plus_millis(-1));
            let (found, next) =
                try_join!(self.newest(log, (begins, at)), self.oldest(log, (at.plus_millis(1), before)))?;
            let Some(found) = found else { continue };
            return match next {
                Some(next) if next.seq == found.seq + 1 => Ok((log, found, Some(next.at))),
                _ if found.at == at => Ok((log, found, None)),
                next => match next.map(|next| next.at).or(later) {
                    Some(until) => Err(HistoryError::NotRecorded { from: Some(found.at), until: Some(until) }),
                    None => Ok((log, found, None)),
                },
            };
        }
        Err(HistoryError::NotRecorded { from: None, until: later })
    }

    /// A step by its id, and when the next one came.
    async fn step_of(&self, id: StepId) -> Result<(LogId, Step, Option<Timestamp>), HistoryError> {
        let found = self.find(id).await?;
        let (log, step) = found.ok_or(HistoryError::NotRecorded { from: None, until: None })?;
        let next = self.oldest(log, (step.at.plus_millis(1), NEVER_LATER)).await?;
        let until = next.filter(|next| next.seq == step.seq + 1).map(|next| next.at);
        Ok((log, step, until))
    }

    /// The board and the marker after a step.
    async fn rebuild(&self, log: LogId, step: &Step) -> Result<(Board, Marker), ReadError> {
        let begins = self.logs.begin_of(log).ok_or(Damage)?;
        let keyframe = self.keyframe(log, (begins, step.at)).await?.ok_or(Damage)?;
        let at = keyframe.at;
        let events = format!(
            "SELECT event, content FROM {} WHERE ts = {} AND log = {} AND market = '{BOARD}'",
            self.table,
            micros(at),
            quoted(log),
        );
        let range = (at, step.at);
        let (events, first) = try_join!(self.server.fetch(&events), self.page_of_steps(log, range, 0))?;
        let begin = move || Replay::begin(keyframe, &events);
        let replay = spawn_blocking(begin).await.map_err(StoreError::new)??;
        let replay = self.build(log, range, first, replay).await?;
        let step = step.clone();
        Ok(spawn_blocking(move || replay.finish(&step)).await.map_err(StoreError::new)??)
    }
}
