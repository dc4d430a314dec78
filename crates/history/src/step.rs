//! What is recorded of a step, and what is read back.

use std::sync::Arc;

use odds::{Board, Change, Cursor, Filter, LogPosition, Marker, Region, StepId, Timestamp};

/// A verified step, as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedStep {
    pub position: LogPosition,
    pub id: StepId,
    pub marker: Arc<Marker>,
    /// `None` at the first step after a gap.
    pub difference: Option<Difference>,
    /// The whole board. Boards are rebuilt from the newest one before them.
    pub keyframe: Option<Vec<Change>>,
}

/// What a step changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub changes: Vec<Change>,
    /// The step before, and its marker.
    pub previous: (StepId, Arc<Marker>),
}

/// A step that is read back. It follows the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredStep {
    pub position: LogPosition,
    pub id: StepId,
    pub marker: Marker,
    pub changes: Vec<Change>,
}

/// Steps that follow a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepsAfter {
    pub steps: Vec<StoredStep>,
    pub then: Then,
}

/// What comes after some steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More of them, or nothing.
    More,
    /// Nothing until this step.
    Gap { next: StepId },
    /// Nothing.
    End,
}

/// A board as it was after a step, verified against the step's digest.
#[derive(Clone, Debug)]
pub struct RecordedBoard {
    pub region: Region,
    pub position: LogPosition,
    pub id: StepId,
    pub marker: Marker,
    pub board: Board,
    /// The time of the next step; `None` if the next step is not recorded.
    pub until: Option<Timestamp>,
}

impl RecordedBoard {
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.id, self.marker.digest, &Filter::default())
    }

    /// The payload of a `snapshot` event, in one piece.
    pub fn snapshot(&self) -> String {
        self.board.whole(self.region, &self.cursor(), &Filter::default())
    }
}
