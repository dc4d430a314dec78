//! What was recorded as rows for analysts: one for each outcome whose price changed.

use std::collections::BTreeMap;

use history::{Gap, Playback};
use odds::{
    BookmakerKey, Change, Decimal, Details, Event, EventId, FeedState, LogPosition, MarketKey, Outcome, QuoteChange,
    Region, Timestamp,
};

use super::{ExportSettings, Format};

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind {
    /// A price of the first board, or of the first one after a gap.
    Board,
    /// A new price.
    Price,
    /// An outcome has no price any more.
    Withdrawn,
    /// The start, the teams or the sport of an event changed.
    Event,
    /// The feed's state changed.
    Feed,
    /// Nothing is recorded from this time until another.
    Gap,
}

impl RowKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Board => "board",
            Self::Price => "price",
            Self::Withdrawn => "withdrawn",
            Self::Event => "event",
            Self::Feed => "feed",
            Self::Gap => "gap",
        }
    }
}

/// A row. What it has not is not said, or not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) kind: RowKind,
    pub(super) region: Region,
    pub(super) time: Timestamp,
    /// The end of a gap.
    pub(super) until: Option<Timestamp>,
    pub(super) position: Option<LogPosition>,
    pub(super) feed: Option<FeedState>,
    pub(super) event: Option<(&'a EventId, &'a Details)>,
    pub(super) price: Option<RowPrice<'a>>,
}

/// The price of an outcome at a bookmaker.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowPrice<'a> {
    pub(super) bookmaker: &'a BookmakerKey,
    pub(super) market: &'a MarketKey,
    pub(super) last_update: Timestamp,
    pub(super) outcome: &'a Outcome,
    /// `None` if it was withdrawn.
    pub(super) price: Option<Decimal>,
    /// `None` if there was none, or if it is not known.
    pub(super) previous: Option<Decimal>,
}

/// A file of rows.
pub(super) trait RowWriter: Send {
    fn write(&mut self, row: &Row<'_>) -> anyhow::Result<()>;

    /// Completes the file.
    fn end(&mut self) -> anyhow::Result<()>;

    /// Writes what is buffered of a file that is not complete.
    fn pause(&mut self) -> anyhow::Result<()>;
}

/// Turns steps into rows.
pub(super) struct Rows<W> {
    region: Region,
    from: Option<Timestamp>,
    /// The board before the next step.
    events: BTreeMap<EventId, Event>,
    feed: Option<FeedState>,
    pub(super) writer: W,
}

impl<W: RowWriter> Rows<W> {
    pub(super) fn new(settings: &ExportSettings, writer: W) -> Self {
        Self { region: settings.region, from: settings.from, events: BTreeMap::new(), feed: None, writer }
    }

    fn reset(&mut self, playback: &Playback) {
        self.events.clear();
        playback.board().content().into_iter().for_each(|change| change.apply_to(&mut self.events));
        self.feed = Some(playback.marker().state);
    }

    /// A row about the step at which the playback is.
    fn row(&self, kind: RowKind, playback: &Playback) -> Row<'static> {
        let (time, position) = (playback.marker().at, Some(playback.position()));
        let feed = Some(playback.marker().state);
        Row { kind, region: self.region, time, until: None, position, feed, event: None, price: None }
    }

    fn change(&mut self, playback: &Playback, change: Change) -> anyhow::Result<()> {
        let id = change.id().clone();
        let before = self.events.get(&id).cloned();
        match &change {
            Change::Removed { .. } => {
                let Some(Event { details, quotes }) = &before else { return Ok(()) };
                let row = Row { event: Some((&id, details)), ..self.row(RowKind::Withdrawn, playback) };
                for ((bookmaker, market), quote) in quotes {
                    for outcome in &quote.outcomes.to_vec() {
                        let (last_update, price, previous) = (quote.last_update, None, Some(outcome.price));
                        let price = RowPrice { bookmaker, market, last_update, outcome, price, previous };
                        self.writer.write(&Row { price: Some(price), ..row })?;
                    }
                }
            }
            Change::Changed { details, quotes, .. } => {
                let Some(details) = details.as_ref().or(before.as_ref().map(|before| &before.details)) else {
                    return Ok(());
                };
                let row = Row { event: Some((&id, details)), ..self.row(RowKind::Event, playback) };
                if before.as_ref().is_some_and(|before| before.details != *details) {
                    self.writer.write(&row)?;
                }
                for quote in quotes {
                    self.quote(&row, before.as_ref(), quote)?;
                }
            }
        }
        change.apply_to(&mut self.events);
        Ok(())
    }

    /// The outcomes of a quote whose price changed.
    fn quote(&mut self, row: &Row<'_>, before: Option<&Event>, quote: &QuoteChange) -> anyhow::Result<()> {
        let QuoteChange { bookmaker, market, last_update, outcomes } = quote;
        let key = (bookmaker.clone(), market.clone());
        let before = before.and_then(|before| before.quotes.get(&key)).map(|quote| quote.outcomes.to_vec());
        let (before, now) = (before.unwrap_or_default(), outcomes.to_vec());
        let mut write = |kind, outcome, price, previous| {
            let last_update = *last_update;
            let price = RowPrice { bookmaker, market, last_update, outcome, price, previous };
            self.writer.write(&Row { kind, price: Some(price), ..*row })
        };
        for outcome in before.iter().filter(|before| !now.iter().any(|now| now.identity() == before.identity())) {
            write(RowKind::Withdrawn, outcome, None, Some(outcome.price))?;
        }
        for outcome in &now {
            let previous = before.iter().find(|it| it.identity() == outcome.identity()).map(|it| it.price);
            if previous != Some(outcome.price) {
                write(RowKind::Price, outcome, Some(outcome.price), previous)?;
            }
        }
        Ok(())
    }
}

impl<W: RowWriter> Format for Rows<W> {
    fn board(&mut self, playback: &Playback) -> anyhow::Result<()> {
        self.reset(playback);
        let row = self.row(RowKind::Board, playback);
        for (id, Event { details, quotes }) in &self.events {
            for ((bookmaker, market), quote) in quotes {
                for outcome in &quote.outcomes.to_vec() {
                    let (last_update, price, previous) = (quote.last_update, Some(outcome.price), None);
                    let price = RowPrice { bookmaker, market, last_update, outcome, price, previous };
                    self.writer.write(&Row { event: Some((id, details)), price: Some(price), ..row })?;
                }
            }
        }
        Ok(())
    }

    fn go_on(&mut self, playback: &Playback) -> anyhow::Result<()> {
        self.reset(playback);
        Ok(())
    }

    fn step(&mut self, playback: &Playback) -> anyhow::Result<()> {
        let feed = Some(playback.marker().state);
        if self.feed != feed {
            self.feed = feed;
            self.writer.write(&self.row(RowKind::Feed, playback))?;
        }
        playback.changes().into_iter().try_for_each(|change| self.change(playback, change))
    }

    fn gap(&mut self, gap: Gap) -> anyhow::Result<()> {
        // What is before the wanted time is not exported.
        let Some(time) = gap.from.max(self.from) else { return Ok(()) };
        let (kind, region, until) = (RowKind::Gap, self.region, Some(gap.until));
        self.writer.write(&Row { kind, region, time, until, position: None, feed: None, event: None, price: None })
    }

    fn end(&mut self) -> anyhow::Result<()> {
        self.writer.end()
    }

    fn pause(&mut self) -> anyhow::Result<()> {
        self.writer.pause()
    }
}
