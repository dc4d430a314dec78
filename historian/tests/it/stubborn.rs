//! A store that fails when it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use history::{Append, EventSummary, HistoryError, Moment, RecordedBoard, RecordedStep, Store, StoreError};
use odds::{EventId, LogPosition, Region};

/// Passes everything on to another store, as long as it is available.
#[derive(Debug)]
pub struct Stubborn {
    store: Arc<dyn Store>,
    pub refuses: AtomicBool,
    /// It writes, but the answer is lost.
    pub loses_answers: AtomicBool,
    pub failures: AtomicUsize,
}

impl Stubborn {
    pub fn before(store: Arc<dyn Store>) -> Arc<Self> {
        let (refuses, loses_answers) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { store, refuses, loses_answers, failures: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Store for Stubborn {
    async fn append(&self, region: Region, steps: Arc<[RecordedStep]>) -> Result<Append, StoreError> {
        if self.refuses.load(Ordering::Relaxed) {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError("it refuses".into()));
        }
        let done = self.store.append(region, steps).await;
        if self.loses_answers.load(Ordering::Relaxed) {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError("the answer is lost".into()));
        }
        done
    }

    async fn last_step(&self, region: Region) -> Result<Option<LogPosition>, StoreError> {
        self.store.last_step(region).await
    }

    async fn board_at(&self, region: Region, moment: Moment) -> Result<RecordedBoard, HistoryError> {
        self.store.board_at(region, moment).await
    }

    async fn event_summary(&self, event: &EventId) -> Result<Vec<EventSummary>, StoreError> {
        self.store.event_summary(event).await
    }
}
