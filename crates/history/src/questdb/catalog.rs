//! The catalog: when each log of a region begins, and what was forgotten of it.
//!
//! It is a small table of its own, because every query needs it and the tables of steps are large.

use odds::{LogId, Region, Timestamp};

use super::{
    schema::Tables,
    server::Server,
    sql::{quoted, time},
};
use crate::StoreError;

/// A step of the log has this time, and no earlier one is known.
pub(super) const BEGINS: &str = "begins";
/// What is before this step is forgotten.
pub(super) const FIRST: &str = "first";
/// What is before this time is forgotten. No step is known after it.
pub(super) const ENDED: &str = "ended";

/// A log of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) name: LogId,
    /// The time of its first step. `None` if all of it is forgotten.
    pub(super) begins: Option<Timestamp>,
    /// What is before it is forgotten.
    pub(super) kept_from: Option<Timestamp>,
}

/// The logs of a region.
#[derive(Clone, Debug, Default)]
pub(super) struct Logs(Vec<Log>);

/// The time in which a log counts.
pub(super) type Window = crate::windows::Window<LogId>;

impl Logs {
    /// Reads the logs of each of some regions.
    pub(super) async fn read(server: &Server, tables: &Tables, regions: &[Region]) -> Result<Vec<Self>, StoreError> {
        let keys: Vec<String> = regions.iter().map(|region| quoted(region.key())).collect();
        let sql = format!(
            "SELECT region, name, kind, min(ts)::long, max(ts)::long FROM {} WHERE region IN ({})
             GROUP BY region, name, kind",
            tables.catalog(),
            keys.join(", "),
        );
        let rows: Vec<(String, String, String, i64, i64)> = server.query(&sql).await?;
        let of = |region: &Region| Self::of(rows.iter().filter(|row| row.0 == region.key()));
        Ok(regions.iter().map(of).collect())
    }

    fn of<'a>(rows: impl Iterator<Item = &'a (String, String, String, i64, i64)>) -> Self {
        let mut logs: Vec<Log> = Vec::new();
        let entry = |(_, name, kind, min, max): &'a (String, String, String, i64, i64)| {
            Some((name.parse::<LogId>().ok()?, kind, time(*min), time(*max)))
        };
        let entries: Vec<_> = rows.filter_map(entry).collect();
        for (name, ..) in &entries {
            if logs.iter().any(|log| log.name == *name) {
                continue;
            }
            let of_kind = |wanted: &str| {
                let entry = entries.iter().find(|(of, kind, ..)| of == name && *kind == wanted);
                entry.map(|(_, _, min, max)| (*min, *max))
            };
            logs.push(Log::new(*name, of_kind(BEGINS), of_kind(FIRST), of_kind(ENDED)));
        }
        logs.sort_by_key(|log| log.name);
        Self(logs)
    }

    pub(super) fn find(&self, name: LogId) -> Option<&Log> {
        self.0.iter().find(|log| log.name == name)
    }

    /// The time of a log's first step.
    pub(super) fn begin_of(&self, name: LogId) -> Option<Timestamp> {
        self.find(name)?.begins
    }

    /// The logs that have steps, with the times of their first ones, in order.
    pub(super) fn begun(&self) -> impl DoubleEndedIterator<Item = (LogId, Timestamp)> {
        self.0.iter().filter_map(|log| Some((log.name, log.begins?)))
    }

    /// The log that replaces this one, and from when on.
    pub(super) fn next_after(&self, name: LogId) -> Option<(LogId, Timestamp)> {
        // Of two that begin at once, the greater one counts.
        self.begun().filter(|(log, _)| *log > name).min_by_key(|(log, begins)| (*begins, std::cmp::Reverse(*log)))
    }

    /// The windows of a region, one after the other.
    pub(super) fn windows(&self) -> Vec<Window> {
        crate::windows::windows(self.begun().rev())
    }
}

impl Log {
    /// Reads the first and the last time of the entries of each kind.
    fn new(name: LogId, begins: Option<Times>, first: Option<Times>, ended: Option<Times>) -> Self {
        let (first, ended) = (first.map(|(_, last)| last), ended.map(|(_, last)| last));
        let kept_from = first.max(ended);
        let begins = match kept_from {
            None => begins.map(|(earliest, _)| earliest),
            Some(at) if first == Some(at) => Some(at),
            // A log that goes on although all of it was forgotten.
            Some(at) => begins.map(|(_, latest)| latest).filter(|latest| *latest >= at),
        };
        Self { name, begins, kept_from }
    }
}

type Times = (Timestamp, Timestamp);
