//! A store that counts how much is asked of it at once.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use history::{
    Append, EventQuery, HistoryError, Moment, PriceHistory, PriceQuery, RecordedBoard, RecordedEvent, RecordedStep,
    StepsAfter, Store, StoreError,
};
use odds::{LogPosition, Marker, Region, StepId, Timestamp};

/// Passes everything on to another store.
#[derive(Debug)]
pub struct Counting {
    store: Arc<dyn Store>,
    /// The most steps that were appended at once.
    pub most_appended: AtomicUsize,
    /// The file to which steps are written that are read here.
    output: PathBuf,
    read: AtomicUsize,
    /// The most steps that were read and were not in the file yet.
    pub most_held: AtomicUsize,
}

impl Counting {
    pub fn before(store: Arc<dyn Store>, output: PathBuf) -> Arc<Self> {
        let (most_appended, read, most_held) = Default::default();
        Arc::new(Self { store, most_appended, output, read, most_held })
    }
}

#[async_trait]
impl Store for Counting {
    async fn append(&self, region: Region, steps: Arc<[RecordedStep]>) -> Result<Append, StoreError> {
        self.most_appended.fetch_max(steps.len(), Ordering::Relaxed);
        self.store.append(region, steps).await
    }

    async fn last_step(&self, region: Region) -> Result<Option<LogPosition>, StoreError> {
        self.store.last_step(region).await
    }

    async fn board_at(&self, region: Region, moment: Moment) -> Result<RecordedBoard, HistoryError> {
        self.store.board_at(region, moment).await
    }

    async fn steps_after(
        &self,
        region: Region,
        step: LogPosition,
        marker: &Marker,
    ) -> Result<StepsAfter, HistoryError> {
        let after = self.store.steps_after(region, step, marker).await?;
        let read = self.read.fetch_add(after.steps.len(), Ordering::Relaxed) + after.steps.len();
        let written = std::fs::read(&self.output).unwrap().iter().filter(|byte| **byte == b'\n').count();
        self.most_held.fetch_max(read.saturating_sub(written), Ordering::Relaxed);
        Ok(after)
    }

    async fn next_keyframe(
        &self,
        region: Region,
        after: Timestamp,
    ) -> Result<Option<(Timestamp, StepId)>, HistoryError> {
        self.store.next_keyframe(region, after).await
    }

    async fn price_history(&self, query: PriceQuery) -> Result<PriceHistory, HistoryError> {
        self.store.price_history(query).await
    }

    async fn events(&self, query: EventQuery) -> Result<Vec<RecordedEvent>, HistoryError> {
        self.store.events(query).await
    }

    async fn forget(&self, region: Region, now: Timestamp, keep: Duration) -> Result<(), StoreError> {
        self.store.forget(region, now, keep).await
    }
}
