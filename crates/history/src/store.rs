//! What a store of the history does.

use std::sync::Arc;

use async_trait::async_trait;
use odds::{Cursor, EventId, LogPosition, Region, StepId, Timestamp};

use crate::{RecordedBoard, RecordedStep};

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
    Step(Cursor),
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
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is recorded of an event in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSummary {
    pub region: Region,
    pub first_seen: Timestamp,
    pub last_change: Timestamp,
    /// How often the price of an outcome changed at a bookmaker.
    pub price_changes: u64,
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

    /// What is recorded of an event, by region.
    async fn event_summary(&self, event: &EventId) -> Result<Vec<EventSummary>, StoreError>;
}
