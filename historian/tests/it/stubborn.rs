//! A store that fails when it is told to.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use history::{
    Append, EventQuery, HistoryError, Moment, PriceHistory, PriceQuery, RecordedBoard, RecordedEvent, RecordedStep,
    StepsAfter, Store, StoreError,
};
use odds::{LogPosition, Marker, Region, StepId, Timestamp};

/// Passes everything on to another store, as long as it is available.
#[derive(Debug)]
pub struct Stubborn {
    store: Arc<dyn Store>,
    pub refuses: AtomicBool,
    /// It writes, but the answer is lost.
    pub loses_answers: AtomicBool,
    /// It takes this long for each write, and writes only then.
    pub takes: Mutex<Duration>,
    pub failures: AtomicUsize,
}

impl Stubborn {
    pub fn before(store: Arc<dyn Store>) -> Arc<Self> {
        let (refuses, loses_answers) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { store, refuses, loses_answers, takes: Mutex::default(), failures: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Store for Stubborn {
    async fn append(&self, region: Region, steps: Arc<[RecordedStep]>) -> Result<Append, StoreError> {
        if self.refuses.load(Ordering::Relaxed) {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError("it refuses".into()));
        }
        let takes = *self.takes.lock().unwrap();
        tokio::time::sleep(takes).await;
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

    async fn steps_after(
        &self,
        region: Region,
        step: LogPosition,
        marker: &Marker,
    ) -> Result<StepsAfter, HistoryError> {
        self.store.steps_after(region, step, marker).await
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
