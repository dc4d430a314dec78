//! Waits until written rows can be read.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{server::Server, sql::quoted};
use crate::StoreError;

/// How long rows may take to become visible. A slow disk or a long queue of other tables delays them.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How many writes of this process were acknowledged, and how many of those are visible.
#[derive(Debug, Default)]
pub(super) struct Visibility {
    acknowledged: AtomicU64,
    visible: AtomicU64,
}

impl Visibility {
    pub(super) fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits until what this process has written is visible.
    pub(super) async fn wait(&self, server: &Server, tables: &[String]) -> Result<(), StoreError> {
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        if self.visible.load(Ordering::SeqCst) < acknowledged {
            wait_for_all(server, tables).await?;
            self.visible.fetch_max(acknowledged, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Waits until everything is visible that anybody has written to these tables so far. Fails at once if the server has
/// stopped applying what is written.
pub(super) async fn wait_for_all(server: &Server, tables: &[String]) -> Result<(), StoreError> {
    let end = Instant::now() + VISIBLE_WITHIN;
    let mut pause = FIRST_PAUSE;
    let mut written: Option<Vec<i64>> = None;
    loop {
        let progress = progress(server, tables).await?;
        let written = written.get_or_insert_with(|| progress.iter().map(|of_table| of_table.written).collect());
        let late =
            progress.iter().zip(written).zip(tables).find(|((progress, written), _)| progress.applied < **written);
        let Some((_, table)) = late else { return Ok(()) };
        if Instant::now() >= end {
            let seconds = VISIBLE_WITHIN.as_secs();
            return Err(StoreError(format!("QuestDB has not applied to {table} what was written {seconds} s ago")));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// How many transactions of a table are written, and how many of those are applied.
struct Progress {
    written: i64,
    applied: i64,
}

async fn progress(server: &Server, tables: &[String]) -> Result<Vec<Progress>, StoreError> {
    let names: Vec<String> = tables.iter().map(quoted).collect();
    let rows: Vec<(String, bool, i64, i64, Option<String>)> = server
        .query(&format!(
            "SELECT name, suspended, sequencerTxn, writerTxn, errorMessage FROM wal_tables() WHERE name IN ({})",
            names.join(", ")
        ))
        .await?;
    let of_table = |table: &String| {
        let Some((_, suspended, written, applied, error)) = rows.iter().find(|(name, ..)| name == table) else {
            return Err(StoreError(format!("the table {table} of QuestDB is missing")));
        };
        if *suspended {
            let error = error.as_deref().filter(|error| !error.is_empty()).unwrap_or("no reason given");
            return Err(StoreError(format!(
                "QuestDB has suspended the table {table} ({error}): remove the cause, such as a full disk, and run \
                 ALTER TABLE {table} RESUME WAL"
            )));
        }
        Ok(Progress { written: *written, applied: *applied })
    };
    tables.iter().map(of_table).collect()
}
