//! Forgets what is older than the history is kept.
//!
//! The newest keyframe before the limit becomes the first step of all that is recorded: from then on, readers ignore
//! what is before it. The server can only remove whole days, so that is done afterwards.

use std::time::Duration;

use odds::{LogId, Timestamp};

use super::{
    catalog::{ENDED, FIRST, Window},
    layout::STEP,
    lines::Lines,
    reader::{ReadError, Reader},
    sql::{micros, time},
    visibility::{Visibility, wait_for_all},
};
use crate::StoreError;

const DAY_MS: i64 = 24 * 3_600_000;

pub(super) async fn forget(
    reader: &Reader<'_>,
    visibility: &Visibility,
    catalog: &str,
    now: Timestamp,
    keep: Duration,
) -> Result<(), StoreError> {
    let last = last_steps(reader).await?;
    let Some(newest) = last.iter().map(|(_, at)| *at).max() else { return Ok(()) };
    let limit = newest.min(now).plus_millis(-i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
    // The newest keyframe at or before the limit, in the log that counts at the limit.
    let Some(window) = reader.logs.windows().into_iter().rfind(|window| window.begins <= limit) else { return Ok(()) };
    let Window { log: kept, begins, .. } = window;
    let Some(first) = reader.keyframe(kept, (begins, limit)).await?.map(|keyframe| keyframe.at) else { return Ok(()) };
    // A log that began earlier by a wrong clock has not ended.
    let ended: Vec<(LogId, Timestamp)> =
        last.into_iter().filter(|(log, last)| *log != kept && *last <= limit).collect();
    if first > begins || !ended.is_empty() {
        let mut lines = Lines::default();
        let mut add = |at, kind: &str, log: LogId| {
            lines.add_to_catalog(catalog, at, [("region", &reader.region.key()), ("kind", &kind), ("name", &log)]);
        };
        add(first, FIRST, kept);
        for (log, last) in &ended {
            add(last.plus_millis(1), ENDED, *log);
        }
        reader.server.write(lines.finish()).await?;
        visibility.acknowledge();
        wait_for_all(reader.server, &[catalog.to_owned()]).await?;
    }
    let others = reader.logs.begun().filter(|(log, _)| *log != kept && !ended.iter().any(|(ended, _)| ended == log));
    let oldest = others.map(|(_, begins)| begins).chain([first]).min().unwrap_or(first);
    remove_days_before(reader, oldest).await
}

/// The time of each log's last step.
async fn last_steps(reader: &Reader<'_>) -> Result<Vec<(LogId, Timestamp)>, ReadError> {
    let sql = format!("SELECT log, max(ts)::long FROM {} WHERE event = '{STEP}' GROUP BY log", reader.table);
    let rows: Vec<(String, i64)> = reader.server.query(&sql).await?;
    let last = rows.into_iter().filter_map(|(log, micros)| Some((log.parse().ok()?, time(micros))));
    Ok(last.filter(|(log, last)| reader.logs.begin_of(*log).is_some_and(|begins| begins <= *last)).collect())
}

/// Removes the days that end before a time.
async fn remove_days_before(reader: &Reader<'_>, at: Timestamp) -> Result<(), StoreError> {
    let table = &reader.table;
    let day = micros(Timestamp::from_millis(at.as_millis().div_euclid(DAY_MS) * DAY_MS));
    let days = format!("SELECT count() FROM table_partitions('{table}') WHERE maxTimestamp < {day}");
    let days: Vec<(i64,)> = reader.server.query(&days).await?;
    if days.iter().any(|(days,)| *days > 0) {
        reader.server.run(&format!("ALTER TABLE {table} DROP PARTITION WHERE ts < {day}")).await?;
    }
    Ok(())
}
