//! The history in one SQLite file, for a single machine.
//!
//! One connection writes; a few others read, each on a thread of its own for as long as a query takes. An acknowledged
//! write survives a power failure.

mod encoding;
mod events;
mod forget;
mod prices;
mod read;
mod schema;
mod texts;
mod windows;
mod write;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use odds::{LogPosition, Marker, Region, StepId, Timestamp};
use tokio::{sync::Semaphore, task::spawn_blocking};

use self::{forget::Forgetting, read::Reader, write::Writer};
use crate::{
    Append, EventQuery, HistoryError, Moment, PriceHistory, PriceQuery, RecordedBoard, RecordedEvent, RecordedStep,
    StepsAfter, Store, StoreError,
};

/// How many queries run at once. More wait.
const READERS: usize = 3;
/// How long the writer is left to others after some rows were removed.
const BETWEEN_REMOVALS: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub struct SqliteStore {
    writer: Arc<Mutex<Writer>>,
    readers: Readers,
}

/// Connections for reading.
#[derive(Clone, Debug)]
struct Readers {
    idle: Arc<Mutex<Vec<Reader>>>,
    turns: Arc<Semaphore>,
}

/// A reader that is in use. It comes back even after a panic.
struct InUse(Option<Reader>, Readers);

impl Readers {
    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().expect("nobody panics while holding it")
    }

    /// Takes a reader. There is one for each turn.
    fn take(&self) -> InUse {
        let reader = self.idle().pop();
        InUse(reader, self.clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let reader = self.0.take();
        self.1.idle().extend(reader);
    }
}

impl SqliteStore {
    /// Opens the file, and creates it if it is missing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let named = |error: &dyn std::fmt::Display| StoreError(format!("{}: {error}", path.display()));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| named(&error))?;
        }
        let open = || {
            let writer = Writer::new(schema::open_writer(path)?);
            let readers = (0..READERS).map(|_| schema::open_reader(path).map(Reader::new));
            Ok((writer, readers.collect::<rusqlite::Result<Vec<Reader>>>()?))
        };
        let (writer, readers) = open().map_err(|error: rusqlite::Error| named(&error))?;
        let readers = Readers { idle: Arc::new(Mutex::new(readers)), turns: Arc::new(Semaphore::new(READERS)) };
        Ok(Self { writer: Arc::new(Mutex::new(writer)), readers })
    }

    async fn read<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let readers = self.readers.clone();
        let turn = readers.turns.clone().acquire_owned().await.expect("it is never closed");
        let read = move || {
            let _turn = turn;
            work(readers.take().0.as_mut().expect("set until dropped"))
        };
        spawn_blocking(read).await.unwrap_or_else(|error| Err(StoreError::new(error).into()))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn append(&self, region: Region, steps: Arc<[RecordedStep]>) -> Result<Append, StoreError> {
        let writer = self.writer.clone();
        let write = move || writer.lock().expect("nobody panics while holding it").append(region, &steps);
        spawn_blocking(write).await.map_err(StoreError::new)?.map_err(StoreError::new)
    }

    async fn last_step(&self, region: Region) -> Result<Option<LogPosition>, StoreError> {
        self.read(move |reader| reader.last_step(region).map_err(StoreError::new)).await
    }

    async fn board_at(&self, region: Region, moment: Moment) -> Result<RecordedBoard, HistoryError> {
        self.read(move |reader| reader.board_at(region, moment)).await
    }

    async fn steps_after(
        &self,
        region: Region,
        step: LogPosition,
        marker: &Marker,
    ) -> Result<StepsAfter, HistoryError> {
        let marker = marker.clone();
        self.read(move |reader| reader.steps_after(region, step, &marker)).await
    }

    async fn next_keyframe(
        &self,
        region: Region,
        after: Timestamp,
    ) -> Result<Option<(Timestamp, StepId)>, HistoryError> {
        self.read(move |reader| reader.next_keyframe(region, after)).await
    }

    async fn price_history(&self, query: PriceQuery) -> Result<PriceHistory, HistoryError> {
        self.read(move |reader| reader.price_history(&query)).await
    }

    async fn events(&self, query: EventQuery) -> Result<Vec<RecordedEvent>, HistoryError> {
        self.read(move |reader| reader.events(&query)).await
    }

    async fn forget(&self, region: Region, now: Timestamp, keep: Duration) -> Result<(), StoreError> {
        let writer = self.writer.clone();
        let forget = move || {
            let writer = || writer.lock().expect("nobody panics while holding it");
            let Some(mut forgetting) = Forgetting::start(&mut writer(), region, now, keep)? else { return Ok(()) };
            // Steps are appended between two parts.
            while forgetting.go_on(&mut writer())? {
                std::thread::sleep(BETWEEN_REMOVALS);
            }
            Ok(())
        };
        spawn_blocking(forget).await.map_err(StoreError::new)?.map_err(|error: rusqlite::Error| StoreError::new(error))
    }
}
