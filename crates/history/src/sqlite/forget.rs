//! Removes what is older than the history is kept.
//!
//! The newest keyframe before the limit becomes the first step of all that is recorded, and what is before it is
//! removed. So prices that have not changed since are still there, on boards and in charts.

use std::time::Duration;

use odds::{Region, Timestamp};
use rusqlite::{Connection, OptionalExtension, Result, Row, TransactionBehavior};

use super::{windows::windows, write::Writer};

/// How many rows are removed, or quotes looked at, in one transaction: steps that are appended meanwhile must not wait
/// long.
const AT_ONCE: i64 = 1_000;
/// The same for keyframes, which are large.
const KEYFRAMES_AT_ONCE: i64 = 20;

/// What a region keeps, and how far the removal has come.
#[derive(Debug)]
pub(super) struct Forgetting {
    region: Region,
    first: First,
    /// Logs that ended before the limit.
    ended: Vec<i64>,
    /// Quotes up to this one are done.
    quote: i64,
}

/// The first step that is kept.
#[derive(Clone, Copy, Debug)]
struct First {
    log: i64,
    seq: i64,
    at: Timestamp,
}

impl Forgetting {
    /// Finds the first step to keep. `None` if nothing is older.
    pub(super) fn start(writer: &mut Writer, region: Region, now: Timestamp, keep: Duration) -> Result<Option<Self>> {
        let Some(newest) = newest_step(&writer.connection, region)? else { return Ok(None) };
        let limit = newest.min(now).plus_millis(-i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
        let Some(first) = first_to_keep(&writer.connection, region, limit)? else { return Ok(None) };
        let ended = ended_logs(&writer.connection, region, limit, first.log)?;
        writer.record_as_first(region, first.log, first.seq, first.at)?;
        Ok(Some(Self { region, first, ended, quote: 0 }))
    }

    /// Removes some of it. Returns whether there may be more.
    pub(super) fn go_on(&mut self, writer: &mut Writer) -> Result<bool> {
        let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let more = self.remove_steps(&transaction)? || self.remove_quotes(&transaction)?;
        if !more {
            self.remove_rest(&transaction)?;
        }
        transaction.commit()?;
        Ok(more)
    }

    /// Each log that loses steps, with the first step that it keeps.
    fn limits(&self) -> impl Iterator<Item = (i64, i64)> {
        let ended = self.ended.iter().map(|log| (*log, i64::MAX));
        ended.chain([(self.first.log, self.first.seq)])
    }

    /// Removes newer steps before older ones: what is left meanwhile ends in a gap, and is still whole.
    fn remove_steps(&self, connection: &Connection) -> Result<bool> {
        let steps = "DELETE FROM steps WHERE id IN
             (SELECT id FROM steps WHERE log = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3)";
        let keyframes = "DELETE FROM keyframes WHERE rowid IN
             (SELECT rowid FROM keyframes WHERE log = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3)";
        for (log, seq) in self.limits() {
            if connection.prepare_cached(steps)?.execute((log, seq, AT_ONCE))? > 0
                || connection.prepare_cached(keyframes)?.execute((log, seq, KEYFRAMES_AT_ONCE))? > 0
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the former values of the next quotes.
    fn remove_quotes(&mut self, connection: &Connection) -> Result<bool> {
        let mut next =
            connection.prepare_cached("SELECT id FROM quotes WHERE region = ?1 AND id > ?2 ORDER BY id LIMIT ?3")?;
        let quotes = next
            .query_map((self.region.key(), self.quote, AT_ONCE), |row| row.get(0))?
            .collect::<Result<Vec<i64>>>()?;
        let mut former =
            connection.prepare_cached("DELETE FROM quote_changes WHERE quote = ?1 AND log = ?2 AND at < ?3")?;
        let mut unused = connection.prepare_cached(
            "DELETE FROM quotes WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM quote_changes WHERE quote = ?1)",
        )?;
        for quote in &quotes {
            for log in &self.ended {
                former.execute((quote, log, i64::MAX))?;
            }
            former.execute((quote, self.first.log, self.first.at.as_millis()))?;
            unused.execute([quote])?;
        }
        self.quote = quotes.last().copied().unwrap_or(self.quote);
        Ok(!quotes.is_empty())
    }

    fn remove_rest(&self, connection: &Connection) -> Result<()> {
        let mut events = connection.prepare_cached("DELETE FROM event_changes WHERE log = ?1 AND at < ?2")?;
        events.execute((self.first.log, self.first.at.as_millis()))?;
        for log in &self.ended {
            events.execute((log, i64::MAX))?;
            connection.execute("DELETE FROM logs WHERE id = ?1", [log])?;
        }
        Ok(())
    }
}

/// The time of the newest step.
fn newest_step(connection: &Connection, region: Region) -> Result<Option<Timestamp>> {
    let newest = "SELECT max((SELECT at FROM steps WHERE log = logs.id ORDER BY seq DESC LIMIT 1)) FROM logs
         WHERE region = ?1";
    let at = |row: &Row<'_>| Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp::from_millis));
    connection.prepare_cached(newest)?.query_row([region.key()], at)
}

/// The newest keyframe at or before the limit, in the log that counts at the limit.
fn first_to_keep(connection: &Connection, region: Region, limit: Timestamp) -> Result<Option<First>> {
    let windows = windows(connection, region)?;
    let Some(window) = windows.into_iter().rfind(|window| window.begins <= limit) else { return Ok(None) };
    let first =
        |row: &Row<'_>| Ok(First { log: window.log, seq: row.get(0)?, at: Timestamp::from_millis(row.get(1)?) });
    // From the newest keyframe back: there are few of them.
    connection
        .prepare_cached(
            "SELECT seq, at FROM keyframes CROSS JOIN steps USING (log, seq)
             WHERE keyframes.log = ?1 AND at <= ?2 ORDER BY keyframes.seq DESC LIMIT 1",
        )?
        .query_row((window.log, limit.as_millis()), first)
        .optional()
}

/// The other logs whose last step is at or before the limit. A log that began earlier by a wrong clock is not one.
fn ended_logs(connection: &Connection, region: Region, limit: Timestamp, kept: i64) -> Result<Vec<i64>> {
    let mut ended = connection.prepare_cached(
        "SELECT id FROM logs WHERE region = ?1 AND id <> ?2
         AND coalesce((SELECT at FROM steps WHERE log = logs.id ORDER BY seq DESC LIMIT 1), ?3) <= ?3",
    )?;
    ended.query_map((region.key(), kept, limit.as_millis()), |row| row.get(0))?.collect()
}
