//! The history in QuestDB, for programs on several machines.
//!
//! Rows are written as lines over HTTP, where one request is one transaction of one table, and read by SQL over HTTP. A
//! written row becomes visible a little after it was acknowledged. So whatever depends on it waits first.

mod address;
mod board;
mod catalog;
mod encoding;
mod event_prices;
mod events;
mod forget;
mod keyframes;
mod known_names;
mod layout;
mod lines;
mod prices;
mod reader;
mod schema;
mod server;
mod sql;
mod step_rows;
mod steps;
mod visibility;
mod write;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::try_join_all;
use odds::{LogPosition, Marker, Region, StepId, Timestamp};
use tokio::sync::{Mutex, OnceCell};
use tracing::warn;

pub use self::address::QuestDbAddress;
use self::{
    catalog::Logs,
    reader::{FoundSteps, Reader},
    schema::Tables,
    server::Server,
    visibility::{Visibility, wait_for_all},
};
use crate::{
    Append, EventQuery, HistoryError, Moment, PriceHistory, PriceQuery, RecordedBoard, RecordedEvent, RecordedStep,
    StepsAfter, Store, StoreError, series::ValuesLeft,
};

#[derive(Debug)]
pub struct QuestDbStore {
    server: Server,
    tables: Tables,
    /// Set when the tables are known to be there.
    created: OnceCell<()>,
    regions: [RegionState; Region::ALL.len()],
    found_steps: FoundSteps,
}

#[derive(Debug, Default)]
struct RegionState {
    /// Held while steps are appended: they are compared with what is stored, and then written.
    appending: Mutex<()>,
    visibility: Visibility,
}

impl QuestDbStore {
    /// Opens a store. The server need not be reachable yet. Fails if its tables have another format.
    pub async fn open(address: QuestDbAddress) -> Result<Self, StoreError> {
        let tables = Tables::new(address.prefix.clone());
        let store = Self {
            server: Server::new(address)?,
            tables,
            created: OnceCell::new(),
            regions: Default::default(),
            found_steps: FoundSteps::default(),
        };
        match store.server.run("SELECT 1").await {
            Ok(()) => store.create().await?,
            Err(error) => warn!(%error, "the history can't be reached yet"),
        }
        Ok(store)
    }

    async fn create(&self) -> Result<(), StoreError> {
        let create = async || {
            self.tables.create(&self.server).await?;
            schema::warn_of_lost_commits(&self.server).await;
            Ok(())
        };
        self.created.get_or_try_init(create).await.copied()
    }

    fn state(&self, region: Region) -> &RegionState {
        &self.regions[region as usize]
    }

    /// Reads what is recorded of a region, with all that this process has written.
    async fn reader(&self, region: Region) -> Result<Reader<'_>, StoreError> {
        self.readers(&[region]).await.map(one)
    }

    /// Reads what is recorded of regions, as [`Self::reader`] does for one.
    async fn readers(&self, regions: &[Region]) -> Result<Vec<Reader<'_>>, StoreError> {
        self.create().await?;
        for region in regions {
            self.state(*region).visibility.wait(&self.server, &self.written_tables(*region)).await?;
        }
        self.readers_of_visible(regions).await
    }

    /// The tables that an append writes.
    fn written_tables(&self, region: Region) -> [String; 2] {
        [self.tables.of(region), self.tables.catalog()]
    }

    async fn readers_of_visible(&self, regions: &[Region]) -> Result<Vec<Reader<'_>>, StoreError> {
        let logs = Logs::read(&self.server, &self.tables, regions).await?;
        let reader = |(region, logs): (&Region, Logs)| Reader {
            server: &self.server,
            table: self.tables.of(*region),
            region: *region,
            logs,
            found: &self.found_steps,
        };
        Ok(regions.iter().zip(logs).map(reader).collect())
    }
}

fn one(mut readers: Vec<Reader<'_>>) -> Reader<'_> {
    readers.pop().expect("one for each region")
}

#[async_trait]
impl Store for QuestDbStore {
    async fn append(&self, region: Region, steps: Arc<[RecordedStep]>) -> Result<Append, StoreError> {
        self.create().await?;
        let state = self.state(region);
        let _turn = state.appending.lock().await;
        // A write whose acknowledgement was lost counts, and so does another process's.
        wait_for_all(&self.server, &self.written_tables(region)).await?;
        let reader = one(self.readers_of_visible(&[region]).await?);
        write::append(&reader, &state.visibility, &self.tables.catalog(), &steps).await
    }

    async fn last_step(&self, region: Region) -> Result<Option<LogPosition>, StoreError> {
        self.reader(region).await?.last_step().await.map_err(StoreError::from)
    }

    async fn board_at(&self, region: Region, moment: Moment) -> Result<RecordedBoard, HistoryError> {
        let mut attempts = reader::Attempts::default();
        loop {
            let board = self.reader(region).await?.board_at(moment).await;
            if !attempts.again(&board).await {
                return board;
            }
        }
    }

    async fn steps_after(
        &self,
        region: Region,
        step: LogPosition,
        marker: &Marker,
    ) -> Result<StepsAfter, HistoryError> {
        let mut attempts = reader::Attempts::default();
        loop {
            let steps = self.reader(region).await?.steps_after(step, marker).await;
            if !attempts.again(&steps).await {
                return steps;
            }
        }
    }

    async fn next_keyframe(
        &self,
        region: Region,
        after: Timestamp,
    ) -> Result<Option<(Timestamp, StepId)>, HistoryError> {
        Ok(self.reader(region).await?.next_keyframe(after).await?)
    }

    async fn price_history(&self, query: PriceQuery) -> Result<PriceHistory, HistoryError> {
        let left = ValuesLeft::new();
        let readers = self.readers(&query.regions).await?;
        let of_regions = readers.iter().map(|reader| reader.prices(&query, &left));
        let mut history = PriceHistory::default();
        for (quotes, recorded) in try_join_all(of_regions).await? {
            history.quotes.extend(quotes);
            history.regions.push(recorded);
        }
        Ok(history)
    }

    async fn events(&self, query: EventQuery) -> Result<Vec<RecordedEvent>, HistoryError> {
        self.reader(query.region).await?.events(&query).await
    }

    async fn forget(&self, region: Region, now: Timestamp, keep: Duration) -> Result<(), StoreError> {
        let reader = self.reader(region).await?;
        forget::forget(&reader, &self.state(region).visibility, &self.tables.catalog(), now, keep).await?;
        Ok(())
    }
}
