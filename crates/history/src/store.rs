//! What a store of the history does.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use odds::{LogPosition, Marker, Region, StepId, Timestamp};

use crate::{EventQuery, PriceHistory, PriceQuery, RecordedBoard, RecordedEvent, RecordedStep, StepsAfter};

/// A store is unavailable, or refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

impl StoreError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The result of appending steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// All of them are stored.
    Stored,
    /// One of them does not follow what is stored: another step is stored at its position, or the step before it is
    /// not stored. That one and those after it are not stored. The next one must be recorded as the first after a gap.
    Unconnected,
}

/// Which board of a region's history is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    At(Timestamp),
    Step(StepId),
}

/// Why a board can't be returned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The moment is in a gap between these two times. A missing end is the beginning or the end of all that is
    /// recorded; an unknown step has neither.
    #[error("nothing is recorded of that moment")]
    NotRecorded { from: Option<Timestamp>, until: Option<Timestamp> },
    #[error("the recorded board of step {0} does not match its digest")]
    Damaged(StepId),
    #[error("a recorded price or marker is not what was written")]
    DamagedRow,
    #[error("too many prices: ask for less time, or for fewer regions or bookmakers")]
    TooMuch,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps the history of all regions.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Appends consecutive steps of a region. Steps that are stored already change nothing.
    async fn append(&self, region: Region, steps: Arc<[RecordedStep]>) -> Result<Append, StoreError>;

    /// The newest step that is stored.
    async fn last_step(&self, region: Region) -> Result<Option<LogPosition>, StoreError>;

    /// The board as it was at an instant.
    async fn board_at(&self, region: Region, instant: Moment) -> Result<RecordedBoard, HistoryError>;

    /// What was recorded after a step, in order: some of it. `marker` is that step's. Fails with a damaged step only if
    /// that is the next one: those before it are returned first.
    async fn steps_after(&self, region: Region, step: LogPosition, marker: &Marker)
    -> Result<StepsAfter, HistoryError>;

    /// The first step after a time whose whole board is recorded, and its time. Behind a damaged step, boards can be
    /// read again from there on.
    async fn next_keyframe(
        &self,
        region: Region,
        after: Timestamp,
    ) -> Result<Option<(Timestamp, StepId)>, HistoryError>;

    /// Prices of an event over time, with the gaps in it.
    async fn price_history(&self, query: PriceQuery) -> Result<PriceHistory, HistoryError>;

    /// The events that were on a region's board, in the order of their ids.
    async fn events(&self, query: EventQuery) -> Result<Vec<RecordedEvent>, HistoryError>;

    /// Forgets what is older than `keep`, as far as no later board needs it. It is older by the time `now` and by that
    /// of the newest step: a wrong clock of this process forgets nothing.
    async fn forget(&self, region: Region, now: Timestamp, keep: Duration) -> Result<(), StoreError>;
}
