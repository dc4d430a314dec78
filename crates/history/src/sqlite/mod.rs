//! The history in one SQLite file, for a single machine.
//!
//! One connection writes; a few others read, each on a thread of its own for as long as a query takes. An acknowledged
//! write survives a power failure.

mod encoding;
mod read;
mod schema;
mod texts;
mod write;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use odds::{EventId, LogPosition, Region};
use tokio::{sync::Semaphore, task::spawn_blocking};

use self::{read::Reader, write::Writer};
use crate::{Append, EventSummary, HistoryError, Moment, RecordedBoard, RecordedStep, Store, StoreError};

/// How many queries run at once. More wait.
const READERS: usize = 3;

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
            let idle = || readers.idle.lock().expect("nobody panics while holding it");
            let mut reader = idle().pop().expect("one for each turn");
            let done = work(&mut reader);
            idle().push(reader);
            done
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

    async fn event_summary(&self, event: &EventId) -> Result<Vec<EventSummary>, StoreError> {
        let event = event.clone();
        self.read(move |reader| reader.event_summary(&event).map_err(StoreError::new)).await
    }
}
