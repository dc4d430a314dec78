//! Which log counts at a time.

use odds::{Region, Timestamp};
use rusqlite::{Connection, Result, Row};

/// The time in which a log counts. Logs are named by their ids in this file.
pub(super) type Window = crate::windows::Window<i64>;

/// The windows of a region, one after the other.
pub(super) fn windows(connection: &Connection, region: Region) -> Result<Vec<Window>> {
    let mut logs = connection.prepare_cached(
        "SELECT id, (SELECT at FROM steps WHERE log = logs.id ORDER BY seq LIMIT 1) AS begins FROM logs
         WHERE region = ?1 AND begins IS NOT NULL ORDER BY name DESC",
    )?;
    let log = |row: &Row<'_>| Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?)));
    let newest_first = logs.query_map([region.key()], log)?.collect::<Result<Vec<_>>>()?;
    Ok(crate::windows::windows(newest_first))
}
