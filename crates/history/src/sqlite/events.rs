//! Reads which events were on boards, and what was known of them.

use odds::Timestamp;
use rusqlite::{Connection, Result};

use super::{
    encoding::{Lookup, damaged},
    read::{Reader, json},
    texts::number_of,
    windows::{Window, windows},
};
use crate::{
    EventQuery, HistoryError, RecordedEvent,
    events::{Collector, MOST_EVENTS},
};

impl Reader {
    pub(super) fn events(&mut self, query: &EventQuery) -> Result<Vec<RecordedEvent>, HistoryError> {
        // All queries see the same state of the file.
        let snapshot = self.connection.unchecked_transaction()?;
        let event = match &query.event {
            None => None,
            Some(event) => match number_of(&snapshot, event.as_str())? {
                None => return Ok(Vec::new()),
                number => number.map(|number| number as i64),
            },
        };
        let windows = windows(&snapshot, query.region)?;
        let collector = collect(&snapshot, query, event, &windows)?;
        let mut texts = self.texts.on(&snapshot);
        let mut events = Vec::new();
        for (event, known) in collector.finish(query.from) {
            if events.len() == MOST_EVENTS {
                return Err(HistoryError::TooMuch);
            }
            let id = texts.text(event as u64)?.parse().map_err(|_| damaged())?;
            let mut details = Vec::new();
            for (at, number) in known {
                let known = match number {
                    Some(number) => {
                        Some(serde_json::from_value(json(&texts.text(number as u64)?)?).map_err(|_| damaged())?)
                    }
                    None => None,
                };
                details.push((at, known));
            }
            events.push(RecordedEvent { id, details });
        }
        events.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(events)
    }
}

/// Events and their details, by the numbers of their texts.
fn collect(
    connection: &Connection,
    query: &EventQuery,
    event: Option<i64>,
    windows: &[Window],
) -> Result<Collector<i64, i64>> {
    let mut collector = Collector::new(whole_boards(connection, windows, query.to)?);
    let of_event = if event.is_some() { "event = ?3" } else { "?3 IS NULL" };
    let mut select = connection.prepare_cached(&format!(
        "SELECT event, log, at, details FROM event_changes
         WHERE log IN (SELECT id FROM logs WHERE region = ?1) AND at <= ?2 AND {of_event}"
    ))?;
    let mut rows = select.query((query.region.key(), query.to.as_millis(), event))?;
    while let Some(row) = rows.next()? {
        let (log, at): (i64, _) = (row.get(1)?, Timestamp::from_millis(row.get(2)?));
        if windows.iter().any(|window| window.log == log && window.contains(at)) {
            collector.add(row.get(0)?, at, row.get(3)?);
        }
    }
    Ok(collector)
}

/// The times of the steps of which the whole board was recorded.
fn whole_boards(connection: &Connection, windows: &[Window], to: Timestamp) -> Result<Vec<Timestamp>> {
    let mut select = connection
        .prepare_cached("SELECT at FROM steps WHERE log = ?1 AND changes IS NULL AND at <= ?2 ORDER BY at")?;
    let mut boards = Vec::new();
    for window in windows {
        let to = window.last().min(to).as_millis();
        for at in select.query_map((window.log, to), |row| row.get(0).map(Timestamp::from_millis))? {
            boards.push(at?);
        }
    }
    Ok(boards)
}
