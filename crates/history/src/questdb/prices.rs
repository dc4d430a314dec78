//! Reads what charts show: prices over time, and of which time a region was recorded.
//!
//! Charts begin with the newest keyframe before the wanted time. It has every price that was valid then.

use odds::{Cursor, EventId, Filter, LogId, Timestamp};

use super::{
    catalog::Window,
    event_prices::{ChangeRow, EventPrices},
    layout::{BOARD, EVENT, Keyframe, Step, UNUSED},
    reader::{ReadError, Reader},
    server::Answer,
    sql::{list, micros, quoted, time},
};
use crate::{Gap, HistoryError, PriceQuery, RecordedTime, Series, series::ValuesLeft};

/// How many whole boards one query may meet.
const MOST_BOARDS: usize = 1_000;
/// How many rows, and how many events of keyframes, are read at once.
const PAGE: usize = 20_000;
const BOARDS_AT_ONCE: usize = 100;

/// The wanted part of a window, both ends included.
pub(super) struct Part {
    pub(super) window: Window,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Part {
    /// Begins with the newest keyframe before the wanted time.
    pub(super) fn new(window: Window, keyframe: Option<Keyframe>, to: Timestamp) -> Self {
        Self { window, from: keyframe.map_or(window.begins, |keyframe| keyframe.at), to: to.min(window.last()) }
    }
}

impl Reader<'_> {
    /// The prices in this region, and of which time it was recorded.
    pub(super) async fn prices(
        &self,
        query: &PriceQuery,
        left: &ValuesLeft,
    ) -> Result<(Vec<Series>, RecordedTime), HistoryError> {
        let region = self.region;
        let mut recorded = RecordedTime { region, gaps: Vec::new(), whole_boards: Vec::new(), newest: None };
        let mut prices = EventPrices::new(query, left);
        let windows = self.logs.windows();
        // The first step of a log has every quote, so what was valid before it does not matter.
        let first = windows.iter().rposition(|window| window.begins <= query.from).unwrap_or(0);
        let mut last = match first.checked_sub(1) {
            Some(before) => self.last_of(windows[before]).await?,
            None => None,
        };
        let mut read = 0;
        for window in &windows[first..] {
            let gap = Gap { from: last.as_ref().map(|(at, _)| *at), until: window.begins };
            if window.begins > query.to {
                if gap.from.is_none_or(|last| last <= query.to) {
                    recorded.gaps.push(gap);
                }
                break;
            }
            if window.begins >= query.from {
                recorded.gaps.push(gap);
            }
            // What does not depend on each other is asked for at once: under load, each answer is waited for.
            let (log, from) = (window.log, query.from.max(window.begins));
            let to = query.to.min(window.last());
            let (keyframe, board, mut keyframes, next, newest) = tokio::try_join!(
                self.keyframe(log, (window.begins, from)),
                self.newest_board(log, (window.begins, from), &query.event),
                async { Ok(self.keyframe_times(log, (from.plus_millis(1), to), u32::MAX).await?) },
                self.oldest(log, (to.plus_millis(1), window.last())),
                self.last_of(*window),
            )?;
            let part = Part::new(*window, keyframe, to);
            if let Some((at, content)) = board.filter(|(at, _)| *at == part.from) {
                prices.add_board(at, &content)?;
            }
            keyframes.insert(0, part.from);
            let (rows, whole) = tokio::try_join!(
                async { Ok(self.server.fetch(&self.changes(&part, &prices, 0)).await?) },
                self.whole_steps(log, &keyframes, MOST_BOARDS + 1),
            )?;
            let later = self.add_recorded_time(&part, &whole, next.as_ref(), &mut recorded).await?;
            // Outcomes that are on one of them must be known before changes are added that don't have them.
            self.add_boards(&part, &later, &mut prices).await?;
            self.add_changes(&part, rows, &mut prices).await?;
            last = newest;
            read += 1;
        }
        recorded.newest = match windows[first..].get(read..).and_then(<[Window]>::last) {
            Some(newest) => self.last_of(*newest).await?,
            None => last,
        };
        recorded.gaps.sort_by_key(|gap| gap.until);
        Ok((prices.finish(region), recorded))
    }

    /// The time and the cursor of a window's last step.
    async fn last_of(&self, window: Window) -> Result<Option<(Timestamp, Cursor)>, ReadError> {
        let last = self.newest(window.log, (window.begins, window.last())).await?;
        Ok(last.map(|step| (step.at, Cursor::new(step.id, step.digest, &Filter::default()))))
    }

    /// Adds the gaps, and the steps of which the whole board was recorded. Returns the times of those after the first
    /// board.
    async fn add_recorded_time(
        &self,
        part: &Part,
        whole: &[Step],
        next: Option<&Step>,
        recorded: &mut RecordedTime,
    ) -> Result<Vec<Timestamp>, HistoryError> {
        let Part { window: Window { log, begins, .. }, from, to } = *part;
        let mut later = Vec::new();
        if from == begins {
            recorded.whole_boards.push(from);
        }
        if whole.len() > MOST_BOARDS {
            return Err(HistoryError::TooMuch);
        }
        // The gap at the end of the wanted time ends with the next step.
        for step in whole.iter().chain(next).filter(|step| step.at > begins && step.difference.is_none()) {
            if step.at <= to {
                recorded.whole_boards.push(step.at);
                later.extend(Some(step.at).filter(|at| *at > from));
            }
            let before = self.newest(log, (begins, step.at.plus_millis(-1))).await?;
            let gap = before.filter(|before| before.seq + 1 != step.seq && before.at <= to);
            recorded.gaps.extend(gap.map(|before| Gap { from: Some(before.at), until: step.at }));
        }
        Ok(later)
    }

    /// The newest row of the event, in a range, that belongs to a keyframe: its time and content.
    async fn newest_board(
        &self,
        log: LogId,
        (from, to): (Timestamp, Timestamp),
        event: &EventId,
    ) -> Result<Option<(Timestamp, String)>, ReadError> {
        let sql = format!(
            "SELECT ts::long, content FROM {} WHERE event = {} AND market = '{BOARD}' AND log = {}
             AND ts >= {} AND ts <= {} ORDER BY ts DESC LIMIT 1",
            self.table,
            quoted(event),
            quoted(log),
            micros(from),
            micros(to),
        );
        let row = self.server.query::<(i64, String)>(&sql).await?.pop();
        Ok(row.map(|(micros, content)| (time(micros), content)))
    }

    /// Adds the prices on whole boards.
    async fn add_boards(
        &self,
        part: &Part,
        at: &[Timestamp],
        prices: &mut EventPrices<'_>,
    ) -> Result<(), HistoryError> {
        for times in at.chunks(BOARDS_AT_ONCE) {
            let sql = format!(
                "SELECT ts::long, content FROM {} WHERE ts IN ({}) AND event = {} AND market = '{BOARD}' AND log = {}",
                self.table,
                list(times.iter().copied()),
                quoted(&prices.query.event),
                quoted(part.window.log),
            );
            let rows: Vec<(i64, String)> = self.server.query(&sql).await?;
            for (micros, content) in &rows {
                prices.add_board(time(*micros), content)?;
            }
        }
        Ok(())
    }

    /// Adds what changed after the first board. The first page of its rows is read already.
    async fn add_changes(&self, part: &Part, first: Answer, prices: &mut EventPrices<'_>) -> Result<(), HistoryError> {
        let (mut page, mut read) = (first, 0);
        loop {
            let rows: Vec<ChangeRow<'_>> = page.rows()?;
            for row in &rows {
                prices.add_change(row)?;
            }
            read += rows.len();
            if rows.len() < PAGE {
                return Ok(());
            }
            page = self.server.fetch(&self.changes(part, prices, read)).await?;
        }
    }

    /// The query for a page of what changed, after so many rows.
    fn changes(&self, part: &Part, prices: &EventPrices<'_>, read: usize) -> String {
        let (query, names) = (prices.query, prices.names.column());
        let of_market = match &query.market {
            Some(market) => format!("market IN ({}, '{EVENT}')", quoted(market)),
            None => format!("market <> '{BOARD}'"),
        };
        let mut of_bookmakers = String::new();
        if !query.bookmakers.is_empty() {
            let bookmakers: Vec<String> = query.bookmakers.iter().map(quoted).collect();
            of_bookmakers = format!("AND bookmaker IN ('{UNUSED}', {})", bookmakers.join(", "));
        }
        format!(
            "SELECT ts::long, market, bookmaker, {names}, content FROM {} WHERE event = {} AND log = {}
             AND {of_market} {of_bookmakers} AND ts > {} AND ts <= {} ORDER BY ts LIMIT {read}, {}",
            self.table,
            quoted(&query.event),
            quoted(part.window.log),
            micros(part.from),
            micros(part.to),
            read + PAGE,
        )
    }
}
