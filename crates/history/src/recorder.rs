//! Decides what to record of each verified step: the difference from the step before, the whole board, or both.

use std::sync::Arc;

use odds::{LogPosition, Marker, Reader, Revision, StepId};

use crate::{Difference, RecordedStep, keyframe_plan::KeyframePlan};

/// Follows one region's board from step to step.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    last: Option<Last>,
    keyframes: KeyframePlan,
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
        let changes = difference.as_ref().map(|difference| &difference.changes[..]);
        let keyframe = self.keyframes.is_due(marker.at, changes, board.quote_count()).then(|| board.content());
        let id = reader.applied();
        self.last = Some(Last { position, id, revision: board.revision(), marker: marker.clone() });
        Some(RecordedStep { position, id, marker, difference, keyframe })
    }

    /// Makes the next step the first after a gap: the board was dropped, or a step could not be stored.
    pub fn restart(&mut self) {
        self.last = None;
    }
}
