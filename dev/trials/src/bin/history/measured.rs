//! The store that is measured: where its data is, how large it is, and what it should achieve.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use history::{Store, StoreUrl};
use odds::{Region, Timestamp};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

const CLOSED_WITHIN: Duration = Duration::from_secs(30);

pub enum Measured {
    /// Files in this folder.
    Sqlite(PathBuf),
    /// The server at this URL.
    QuestDb(String),
}

/// What a store should achieve.
pub struct Goals {
    /// Changed outcomes stored a second.
    pub stored: f64,
    pub bytes: f64,
    pub chart_ms: f64,
    pub board_ms: f64,
}

impl Measured {
    pub fn goals(&self) -> Goals {
        match self {
            Self::Sqlite(_) => Goals { stored: 30_000.0, bytes: 40.0, chart_ms: 20.0, board_ms: 250.0 },
            Self::QuestDb(_) => Goals { stored: 60_000.0, bytes: 80.0, chart_ms: 50.0, board_ms: 250.0 },
        }
    }

    /// The URL of a history with this name.
    pub fn url(&self, name: &str) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.join(format!("{name}.db")).display()),
            Self::QuestDb(server) => format!("questdb:{}/{name}", server.trim_end_matches('/')),
        }
    }

    pub async fn open(&self, name: &str) -> anyhow::Result<Arc<dyn Store>> {
        Ok(self.url(name).parse::<StoreUrl>()?.open().await?)
    }

    /// The bytes on disk of a history that nobody has open: of the whole SQLite file, or of QuestDB's partition of the
    /// day that begins at this time.
    pub async fn bytes(&self, name: &str, region: Region, day: Timestamp) -> anyhow::Result<f64> {
        match self {
            Self::Sqlite(folder) => {
                // SQLite copies the journal into the file and removes it when the last connection is closed.
                let end = Instant::now() + CLOSED_WITHIN;
                while folder.join(format!("{name}.db-wal")).exists() {
                    ensure!(Instant::now() < end, "the history {name} is still open");
                    sleep(Duration::from_millis(50)).await;
                }
                Ok(std::fs::metadata(folder.join(format!("{name}.db")))?.len() as f64)
            }
            Self::QuestDb(server) => partition_bytes(server, &format!("{name}_{region}"), day).await,
        }
    }
}

#[derive(Deserialize)]
struct Rows {
    dataset: Vec<(Option<f64>,)>,
}

/// The bytes of a table's partition of a day; 0 if there is none. A partition may be split.
async fn partition_bytes(server: &str, table: &str, day: Timestamp) -> anyhow::Result<f64> {
    let day = day.to_string();
    let day = day.split('T').next().context("a time has a date")?;
    let sql = format!("SELECT sum(diskSize)::double FROM table_partitions('{table}') WHERE name LIKE '{day}%'");
    let request = reqwest::Client::new().get(format!("{server}/exec")).query(&[("query", sql.as_str())]);
    let rows: Rows = serde_json::from_str(&request.send().await?.error_for_status()?.text().await?)?;
    Ok(rows.dataset.first().and_then(|(bytes,)| *bytes).unwrap_or(0.0))
}
