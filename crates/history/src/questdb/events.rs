//! Reads which events were on boards, and what was known of them.

use odds::{Details, EventId, Timestamp};

use super::{
    encoding::{Damage, decode_event},
    layout::{BOARD, EVENT, REMOVED},
    prices::Part,
    reader::{ReadError, Reader},
    server::Text,
    sql::{list, micros, quoted, time},
};
use crate::{
    EventQuery, HistoryError, RecordedEvent,
    events::{Collector, MOST_EVENTS},
};

/// How many whole boards one query may meet.
const MOST_BOARDS: usize = 200;
/// How many rows are read at once.
const PAGE: usize = 20_000;

/// The time, event and content of a row.
type Row<'a> = (i64, Text<'a>, Text<'a>);

impl Reader<'_> {
    pub(super) async fn events(&self, query: &EventQuery) -> Result<Vec<RecordedEvent>, HistoryError> {
        let Some((from, to)) = self.range(query).await? else { return Ok(Vec::new()) };
        let of_event = query.event.as_ref().map_or(String::new(), |event| format!("AND event = {}", quoted(event)));
        let windows = self.logs.windows();
        // The first step of a log has every event.
        let first = windows.iter().rposition(|window| window.begins <= from).unwrap_or(0);
        let (mut parts, mut boards) = (Vec::new(), Vec::new());
        for window in windows[first..].iter().filter(|window| window.begins <= to) {
            let keyframe = self.keyframe(window.log, (window.begins, from.max(window.begins))).await?;
            let part = Part::new(*window, keyframe, to);
            let mut times = vec![part.from];
            let keyframes = self.keyframe_times(window.log, (part.from, part.to), u32::MAX).await?;
            let whole = self.whole_steps(window.log, &keyframes, MOST_BOARDS + 1).await?;
            times.extend(whole.iter().map(|step| step.at).filter(|at| *at > part.from));
            boards.extend_from_slice(&times);
            parts.push((part, times));
        }
        if boards.len() > MOST_BOARDS {
            return Err(HistoryError::TooMuch);
        }
        let mut collector = Collector::new(boards);
        for (part, boards) in parts {
            self.add_events_of_boards(&part, &boards, &of_event, &mut collector).await?;
            self.add_changed_events(&part, &of_event, &mut collector).await?;
        }
        let events: Vec<RecordedEvent> =
            collector.finish(query.from).map(|(id, details)| RecordedEvent { id, details }).collect();
        if events.len() > MOST_EVENTS { Err(HistoryError::TooMuch) } else { Ok(events) }
    }

    /// The wanted time, as far as the wanted event could be on the board. `None` if it never was.
    async fn range(&self, query: &EventQuery) -> Result<Option<(Timestamp, Timestamp)>, ReadError> {
        let Some(event) = &query.event else { return Ok(Some((query.from, query.to))) };
        let sql = format!(
            "SELECT min(ts)::long, max(ts)::long FROM {} WHERE event = {} AND ts <= {}",
            self.table,
            quoted(event),
            micros(query.to)
        );
        let rows: Vec<(Option<i64>, Option<i64>)> = self.server.query(&sql).await?;
        let Some((Some(first), Some(last))) = rows.first() else { return Ok(None) };
        // The next keyframe has the event, or it ended before.
        let next = self.next_keyframe(time(*last)).await?.map_or(query.to, |(at, _)| at);
        Ok(Some((query.from.max(time(*first)), query.to.min(next))))
    }

    async fn add_events_of_boards(
        &self,
        part: &Part,
        boards: &[Timestamp],
        of_event: &str,
        collector: &mut Collector<EventId, Details>,
    ) -> Result<(), ReadError> {
        for at in boards {
            let sql = format!(
                "SELECT ts::long, event, content FROM {} WHERE ts IN ({}) AND market = '{BOARD}' AND log = {} {of_event}",
                self.table,
                list([*at]),
                quoted(part.window.log),
            );
            let page = self.server.fetch(&sql).await?;
            let rows: Vec<Row<'_>> = page.rows()?;
            for (_, event, content) in &rows {
                let (details, _) = decode_event(content, *at)?;
                collector.add(event.parse().map_err(|_| Damage)?, *at, Some(details));
            }
        }
        Ok(())
    }

    async fn add_changed_events(
        &self,
        part: &Part,
        of_event: &str,
        collector: &mut Collector<EventId, Details>,
    ) -> Result<(), ReadError> {
        let mut read = 0;
        loop {
            let sql = format!(
                "SELECT ts::long, event, content FROM {} WHERE market = '{EVENT}' AND log = {} {of_event}
                 AND ts > {} AND ts <= {} ORDER BY ts LIMIT {read}, {}",
                self.table,
                quoted(part.window.log),
                micros(part.from),
                micros(part.to),
                read + PAGE,
            );
            let page = self.server.fetch(&sql).await?;
            let rows: Vec<Row<'_>> = page.rows()?;
            for (micros, event, content) in &rows {
                let details = match &**content {
                    REMOVED => None,
                    details => Some(serde_json::from_str(details).map_err(|_| Damage)?),
                };
                collector.add(event.parse().map_err(|_| Damage)?, time(*micros), details);
            }
            read += rows.len();
            if rows.len() < PAGE {
                return Ok(());
            }
        }
    }
}
