//! Reads what charts show: prices over time, and of which time a region was recorded.

use odds::{BookmakerKey, Cursor, Digest, Filter, MarketKey, Region, StepId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::{
    encoding::{Decoder, damaged},
    read::{Reader, json},
    texts::{Texts, number_of},
    windows::{Window, windows},
};
use crate::{Gap, HistoryError, PriceHistory, PriceQuery, RecordedTime, quote_prices::QuotePrices, series::ValuesLeft};

impl Reader {
    pub(super) fn price_history(&mut self, query: &PriceQuery) -> Result<PriceHistory, HistoryError> {
        // All queries see the same state of the file.
        let snapshot = self.connection.unchecked_transaction()?;
        let event = number_of(&snapshot, query.event.as_str())?;
        let mut history = PriceHistory::default();
        let left = ValuesLeft::new();
        for region in &query.regions {
            let windows = windows(&snapshot, *region)?;
            let mut from = query.from;
            if let Some(event) = event {
                let quotes = quotes_of(&snapshot, query, *region, event as i64)?;
                let removals = removals(&snapshot, event as i64, &windows, query.to)?;
                for Quote { id, bookmaker, market } in quotes {
                    let prices = prices_of(&snapshot, &mut self.texts, query, &windows, id, &left)?;
                    // A quote may have been valid since long before, so a gap before the wanted time counts, too.
                    from = prices.begins().map_or(from, |first| first.min(from));
                    history.quotes.extend(prices.series(*region, &bookmaker, &market, &removals));
                }
            }
            history.regions.push(recorded_time(&snapshot, *region, &windows, from, query.to)?);
        }
        Ok(history)
    }
}

struct Quote {
    id: i64,
    bookmaker: BookmakerKey,
    market: MarketKey,
}

/// The event's wanted quotes.
fn quotes_of(connection: &Connection, query: &PriceQuery, region: Region, event: i64) -> Result<Vec<Quote>> {
    let mut select = connection.prepare_cached(
        "SELECT quotes.id, bookmakers.text, markets.text FROM quotes
         JOIN texts AS bookmakers ON bookmakers.id = bookmaker JOIN texts AS markets ON markets.id = market
         WHERE event = ?1 AND region = ?2",
    )?;
    let mut rows = select.query((event, region.key()))?;
    let mut quotes = Vec::new();
    while let Some(row) = rows.next()? {
        let bookmaker: BookmakerKey = row.get_ref(1)?.as_str()?.parse().map_err(|_| damaged())?;
        let market: MarketKey = row.get_ref(2)?.as_str()?.parse().map_err(|_| damaged())?;
        if query.wants(&bookmaker, &market) {
            quotes.push(Quote { id: row.get(0)?, bookmaker, market });
        }
    }
    Ok(quotes)
}

/// When the event was removed. That ends its quotes.
fn removals(connection: &Connection, event: i64, windows: &[Window], to: Timestamp) -> Result<Vec<Timestamp>> {
    let mut select = connection.prepare_cached(
        "SELECT at FROM event_changes WHERE event = ?1 AND log = ?2 AND at <= ?3 AND details IS NULL ORDER BY at",
    )?;
    let mut removals = Vec::new();
    for window in windows {
        let at = |row: &Row<'_>| row.get(0).map(Timestamp::from_millis);
        for at in select.query_map((event, window.log, to.as_millis()), at)? {
            removals.extend(Some(at?).filter(|at| window.contains(*at)));
        }
    }
    Ok(removals)
}

/// The prices at each step that changed the quote: from the last one at or before the wanted time on.
fn prices_of(
    connection: &Connection,
    texts: &mut Texts,
    query: &PriceQuery,
    windows: &[Window],
    quote: i64,
    left: &ValuesLeft,
) -> Result<QuotePrices, HistoryError> {
    let mut select = connection.prepare_cached(
        "SELECT at, value FROM quote_changes WHERE quote = ?1 AND log = ?2 AND at <= ?4
         AND at >= coalesce((SELECT max(at) FROM quote_changes WHERE quote = ?1 AND log = ?2 AND at <= ?3), ?3)
         ORDER BY at",
    )?;
    let mut found = QuotePrices::new(query.outcome.as_ref());
    let mut prices = Vec::new();
    // The first step of a log has every quote, so what was valid before it does not matter.
    let first = windows.iter().rposition(|window| window.begins <= query.from).unwrap_or(0);
    for window in windows[first..].iter().filter(|window| window.begins <= query.to) {
        let to = query.to.min(window.last());
        let mut rows = select.query((quote, window.log, query.from.as_millis(), to.as_millis()))?;
        while let Some(row) = rows.next()? {
            left.take()?;
            let at = Timestamp::from_millis(row.get(0)?);
            let value = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            let shape = Decoder::new(value, at).prices(&mut texts.on(connection), &mut prices)?;
            found.add(at, &shape, &prices);
        }
    }
    Ok(found)
}

fn recorded_time(
    connection: &Connection,
    region: Region,
    windows: &[Window],
    from: Timestamp,
    to: Timestamp,
) -> Result<RecordedTime> {
    let mut recorded = RecordedTime { region, gaps: Vec::new(), whole_boards: Vec::new(), newest: None };
    let mut last: Option<Timestamp> = None;
    for window in windows {
        if window.begins >= from && last.is_none_or(|last| last <= to) {
            recorded.gaps.push(Gap { from: last, until: window.begins });
        }
        add_gaps(connection, *window, from, to, &mut recorded)?;
        last = last_of(connection, *window)?.map(|(_, at, _)| at);
    }
    let newest = windows.last().map(|window| last_of(connection, *window)).transpose()?.flatten();
    if let (Some(window), Some((seq, at, id))) = (windows.last(), newest) {
        let digest = digest_after(connection, window.log, seq)?;
        recorded.newest = Some((at, Cursor::new(id, digest, &Filter::default())));
    }
    Ok(recorded)
}

/// Adds the gaps between steps of one log, and the steps of which the whole board was recorded.
fn add_gaps(
    connection: &Connection,
    window: Window,
    from: Timestamp,
    to: Timestamp,
    recorded: &mut RecordedTime,
) -> Result<()> {
    let mut wholes = connection.prepare_cached(
        "SELECT seq, at FROM steps WHERE log = ?1 AND changes IS NULL AND at <= ?2 AND at >= ?3 ORDER BY at",
    )?;
    let mut rows = wholes.query((window.log, window.last().as_millis(), from.as_millis()))?;
    while let Some(row) = rows.next()? {
        let (seq, at) = (row.get::<_, i64>(0)?, Timestamp::from_millis(row.get(1)?));
        if at <= to {
            recorded.whole_boards.push(at);
        }
        let before: Option<(i64, i64)> = connection
            .prepare_cached("SELECT seq, at FROM steps WHERE log = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT 1")?
            .query_row((window.log, seq), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((_, last)) = before.filter(|(last, at)| *last != seq - 1 && *at <= to.as_millis()) {
            recorded.gaps.push(Gap { from: Some(Timestamp::from_millis(last)), until: at });
        }
    }
    Ok(())
}

fn last_of(connection: &Connection, window: Window) -> Result<Option<(i64, Timestamp, StepId)>> {
    connection
        .prepare_cached("SELECT seq, at, step FROM steps WHERE log = ?1 AND at <= ?2 ORDER BY at DESC LIMIT 1")?
        .query_row((window.log, window.last().as_millis()), |row| {
            Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?), StepId::from_be_bytes(row.get(2)?)))
        })
        .optional()
}

/// The digest of the board after a step: the newest one that a step up to it has recorded.
fn digest_after(connection: &Connection, log: i64, seq: i64) -> Result<Digest> {
    let mut markers = connection.prepare_cached(
        "SELECT coalesce(keyframes.marker, steps.marker) FROM steps LEFT JOIN keyframes USING (log, seq)
         WHERE log = ?1 AND seq <= ?2 ORDER BY seq DESC",
    )?;
    let mut rows = markers.query((log, seq))?;
    while let Some(row) = rows.next()? {
        let marker = json(row.get_ref(0)?.as_str()?)?;
        if let Some(digest) = marker.get("digest") {
            return serde_json::from_value(digest.clone()).map_err(|_| damaged());
        }
    }
    Err(damaged())
}
