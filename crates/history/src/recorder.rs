//! Decides what to record of each verified step: the difference from the step before, the whole board, or both.

use std::sync::Arc;

use odds::{Change, LogPosition, Marker, Reader, Revision, StepId, Timestamp};

use crate::{Difference, RecordedStep};

/// The longest time between two keyframes.
const KEYFRAME_EVERY_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// A keyframe is due when this many times more quotes have changed than are on the board,
const CHANGES_PER_QUOTE: usize = 4;
/// but not before this many have. So a board is rebuilt in bounded time, and a small one is not written too often.
const FEWEST_CHANGES: usize = 10_000;

/// Follows one region's board from step to step.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    last: Option<Last>,
    /// The time of the last keyframe.
    keyframe: Option<Timestamp>,
    changes_since_keyframe: usize,
}

/// The step that was recorded last.
#[derive(Clone, Debug)]
struct Last {
    position: LogPosition,
    id: StepId,
    revision: Revision,
    marker: Arc<Marker>,
}

impl Recorder {
    /// Records the newest step of a verified board. Returns `None` if its marker has no valid position, as those of
    /// earlier versions: such a step can't be recorded, and leaves a gap.
    ///
    /// # Panics
    /// If the board is not verified.
    pub fn record(&mut self, reader: &Reader) -> Option<RecordedStep> {
        assert!(reader.is_verified(), "only verified steps are recorded");
        let last = self.last.take();
        let marker = Arc::new(reader.marker().expect("a verified board has one").clone());
        let position = marker.position.filter(|position| position.seq <= LogPosition::MAX_SEQ)?;
        let board = reader.board();
        let difference = last.filter(|last| position.follows(last.position)).and_then(|last| {
            let changes = board.changes_since(last.revision)?;
            Some(Difference { changes, previous: (last.id, last.marker) })
        });
        self.changes_since_keyframe += difference.as_ref().map_or(0, |it| it.changes.iter().map(size).sum());
        let is_due = difference.is_none() || self.is_keyframe_due(marker.at, board.quote_count());
        let keyframe = is_due.then(|| board.content());
        if is_due {
            self.keyframe = Some(marker.at);
            self.changes_since_keyframe = 0;
        }
        let id = reader.applied();
        self.last = Some(Last { position, id, revision: board.revision(), marker: marker.clone() });
        Some(RecordedStep { position, id, marker, difference, keyframe })
    }

    /// Makes the next step the first after a gap: the board was dropped, or a step could not be stored.
    pub fn restart(&mut self) {
        self.last = None;
    }

    fn is_keyframe_due(&self, at: Timestamp, quotes: usize) -> bool {
        let Some(last) = self.keyframe else { return true };
        let day = |at: Timestamp| at.as_millis().div_euclid(DAY_MS);
        at.millis_since(last) >= KEYFRAME_EVERY_MS
            || day(at) != day(last)
            || self.changes_since_keyframe >= (CHANGES_PER_QUOTE * quotes).max(FEWEST_CHANGES)
    }
}

/// How many quotes a change has, with one for the event.
fn size(change: &Change) -> usize {
    match change {
        Change::Removed { .. } => 1,
        Change::Changed { quotes, .. } => 1 + quotes.len(),
    }
}
