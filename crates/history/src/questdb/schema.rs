//! The tables, and how they are created.

use odds::Region;
use tracing::warn;

use super::server::Server;
use crate::StoreError;

/// The format of the tables. A program refuses tables of another one.
const FORMAT: u32 = 1;

/// The names of our tables.
#[derive(Debug)]
pub(super) struct Tables {
    prefix: String,
}

impl Tables {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// The steps of a region. Regions have tables of their own, because a table is fastest when rows arrive in order.
    pub(super) fn of(&self, region: Region) -> String {
        format!("{}_{}", self.prefix, region.key())
    }

    pub(super) fn catalog(&self) -> String {
        format!("{}_catalog", self.prefix)
    }

    /// Creates what is missing. Several processes may do so at once. Fails if the tables have another format.
    pub(super) async fn create(&self, server: &Server) -> Result<(), StoreError> {
        let catalog = self.catalog();
        server
            .run(&format!(
                "CREATE TABLE IF NOT EXISTS {catalog} (ts TIMESTAMP, region SYMBOL, kind SYMBOL, name SYMBOL)
                 TIMESTAMP(ts) PARTITION BY YEAR WAL DEDUP UPSERT KEYS(ts, region, kind, name)"
            ))
            .await?;
        let formats: Vec<(Option<String>,)> =
            server.query(&format!("SELECT DISTINCT name FROM {catalog} WHERE kind = 'format'")).await?;
        for (format,) in &formats {
            let format = format.as_deref().unwrap_or_default();
            match format.parse::<u32>() {
                Ok(FORMAT) => {}
                Ok(newer) if newer > FORMAT => {
                    return Err(StoreError(format!("its format {newer} was made by a newer version of this program")));
                }
                _ => return Err(StoreError(format!("its format {format:?} is not known to this program"))),
            }
        }
        for region in Region::ALL {
            server
                .run(&format!(
                    "CREATE TABLE IF NOT EXISTS {} (
                         ts TIMESTAMP, log SYMBOL, event SYMBOL INDEX CAPACITY 64, market SYMBOL, bookmaker SYMBOL,
                         names SYMBOL, content VARCHAR
                     ) TIMESTAMP(ts) PARTITION BY DAY WAL DEDUP UPSERT KEYS(ts, log, event, market, bookmaker)",
                    self.of(region)
                ))
                .await?;
        }
        if formats.is_empty() {
            server.write(format!("{catalog},region=~,kind=format,name={FORMAT} 0\n")).await?;
        }
        Ok(())
    }
}

/// Warns if an acknowledged row could be lost at a power failure.
pub(super) async fn warn_of_lost_commits(server: &Server) {
    let sql = "SELECT value FROM (SHOW PARAMETERS) WHERE property_path = 'cairo.commit.mode'";
    match server.query::<(Option<String>,)>(sql).await {
        Ok(rows) if rows.first().is_some_and(|(mode,)| mode.as_deref() == Some("sync")) => {}
        Ok(_) => warn!(
            "QuestDB commits without waiting for its disk: set cairo.commit.mode=sync, or a power failure may lose steps"
        ),
        Err(error) => warn!(%error, "QuestDB does not show its settings: make sure that cairo.commit.mode is sync"),
    }
}
