//! The rows of a region's table.
//!
//! | | event | market | bookmaker | names | content |
//! |---|---|---|---|---|---|
//! | a step | `~step` | `~` | `~` | its term | its number, position, digest, and what changed of the marker |
//! | a keyframe | `~keyframe` | `~` | `~` | | its position, how many events it has, and the marker |
//! | an event of a keyframe | its id | `~board` | `~` | | its details and quotes, compressed |
//! | an event that changed | its id | `~event` | `~` | | its details, or `removed` |
//! | a quote that changed | event's id | its key | its key | the outcomes' names | times, prices and points |
//!
//! All rows of a step have the step's time and log, and are one transaction. No key of ours begins with `~`.

use std::collections::BTreeMap;

use odds::{Change, Details, Digest, EventId, Marker, QuoteChange, StepId, Term, Timestamp};
use serde_json::Value;

use super::{
    encoding::{self, Damage},
    known_names::KnownNames,
    lines::{Line, Lines},
    server::Text,
    sql::time,
};
use crate::{RecordedStep, marker_patch};

pub(super) const STEP: &str = "~step";
pub(super) const KEYFRAME: &str = "~keyframe";
pub(super) const BOARD: &str = "~board";
pub(super) const EVENT: &str = "~event";
/// In a column that a row has no use for.
pub(super) const UNUSED: &str = "~";
pub(super) const REMOVED: &str = "removed";

/// How the content of a step begins that was recorded as a whole board, or as what it changed.
pub(super) const WHOLE: char = 'w';
pub(super) const DIFFERENCE: char = 'd';

/// Writes the rows of one table.
pub(super) struct StepLines<'a> {
    pub(super) lines: Lines,
    pub(super) table: &'a str,
}

impl StepLines<'_> {
    /// Adds a step as a whole board. Its keyframe has the rows.
    pub(super) fn add_whole(&mut self, step: &RecordedStep) {
        let RecordedStep { position, id, marker, .. } = step;
        let content = format!("{WHOLE}{} {} {}", id.step, position.seq, marker.digest);
        self.add_special(step, STEP, Some(&id.term.to_string()), &content);
    }

    /// Adds a step as what it changed.
    pub(super) fn add_difference(&mut self, step: &RecordedStep, changes: &[Change], previous: &Marker) {
        let RecordedStep { position, id, marker, .. } = step;
        let mut rows = 0;
        for change in changes {
            rows += self.add_change(step, change);
        }
        let patch = marker_patch::between(previous, marker);
        let content = format!("{DIFFERENCE}{} {} {} {rows} {patch}", id.step, position.seq, marker.digest);
        self.add_special(step, STEP, Some(&id.term.to_string()), &content);
    }

    /// Adds the whole board after a step.
    pub(super) fn add_keyframe(&mut self, step: &RecordedStep, board: &[Change]) {
        let mut events = 0;
        for change in board {
            let Change::Changed { id, details: Some(details), quotes } = change else { continue };
            let content = encoding::encode_event(details, quotes, step.marker.at);
            self.add(step, id.as_str(), BOARD, UNUSED, None, &content);
            events += 1;
        }
        let content = format!("{} {events} {}", step.position.seq, marker_patch::value(&step.marker));
        self.add_special(step, KEYFRAME, None, &content);
    }

    fn add_change(&mut self, step: &RecordedStep, change: &Change) -> usize {
        let id = change.id().as_str();
        let Change::Changed { details, quotes, .. } = change else {
            self.add(step, id, EVENT, UNUSED, None, REMOVED);
            return 1;
        };
        if let Some(details) = details {
            let content = serde_json::to_string(details).expect("plain values");
            self.add(step, id, EVENT, UNUSED, None, &content);
        }
        for quote in quotes {
            let outcomes = quote.outcomes.to_vec();
            let names = (!outcomes.is_empty()).then(|| encoding::names(&outcomes));
            let content = encoding::encode_quote(quote, &outcomes, step.marker.at);
            self.add(step, id, quote.market.as_str(), quote.bookmaker.as_str(), names.as_deref(), &content);
        }
        usize::from(details.is_some()) + quotes.len()
    }

    fn add_special(&mut self, step: &RecordedStep, event: &str, names: Option<&str>, content: &str) {
        self.add(step, event, UNUSED, UNUSED, names, content);
    }

    fn add(
        &mut self,
        step: &RecordedStep,
        event: &str,
        market: &str,
        bookmaker: &str,
        names: Option<&str>,
        content: &str,
    ) {
        let (at, log) = (step.marker.at, &step.position.log);
        self.lines.add(self.table, &Line { at, log, event, market, bookmaker, names, content });
    }
}

/// A recorded step, without what it changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) id: StepId,
    pub(super) seq: u64,
    pub(super) digest: Digest,
    /// `None` at the first step after a gap.
    pub(super) difference: Option<StepDifference>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct StepDifference {
    /// How many rows it has.
    pub(super) rows: usize,
    pub(super) marker_patch: Value,
}

impl Step {
    /// The columns that [`Step::read`] needs.
    pub(super) const COLUMNS: &str = "ts::long, names, content";

    pub(super) fn read(micros: i64, term: &str, content: &str) -> Result<Self, Damage> {
        let mut rest = content.strip_prefix([WHOLE, DIFFERENCE]).ok_or(Damage)?;
        let term: Term = term.parse().map_err(|()| Damage)?;
        let id = StepId::new(term, word(&mut rest)?);
        let (seq, digest) = (word(&mut rest)?, word(&mut rest)?);
        let difference = if content.starts_with(DIFFERENCE) {
            let rows = word(&mut rest)?;
            Some(StepDifference { rows, marker_patch: serde_json::from_str(rest).map_err(|_| Damage)? })
        } else {
            None
        };
        Ok(Self { at: time(micros), id, seq, digest, difference })
    }
}

/// A keyframe, without its events.
pub(super) struct Keyframe {
    pub(super) at: Timestamp,
    pub(super) seq: u64,
    pub(super) events: usize,
    pub(super) marker: Value,
}

impl Keyframe {
    pub(super) fn read(micros: i64, content: &str) -> Result<Self, Damage> {
        let mut rest = content;
        let (seq, events) = (word(&mut rest)?, word(&mut rest)?);
        let marker = serde_json::from_str(rest).map_err(|_| Damage)?;
        Ok(Self { at: time(micros), seq, events, marker })
    }
}

/// Reads what comes before the next space, and goes on after it.
fn word<T: std::str::FromStr>(rest: &mut &str) -> Result<T, Damage> {
    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
    *rest = after;
    word.parse().map_err(|_| Damage)
}

/// The columns of a row, as [`Changes::add`] needs them.
pub(super) const CHANGE_COLUMNS: &str = "ts::long, event, market, bookmaker, names, content";

pub(super) type ChangeRow<'a> = (i64, Text<'a>, Text<'a>, Text<'a>, Option<Text<'a>>, Text<'a>);

/// What a step changed, as it is read row by row.
#[derive(Debug, Default)]
pub(super) struct Changes {
    rows: usize,
    changes: BTreeMap<EventId, EventChange>,
}

#[derive(Debug, Default)]
struct EventChange {
    removed: bool,
    details: Option<Details>,
    quotes: Vec<QuoteChange>,
}

impl Changes {
    pub(super) fn add(
        &mut self,
        (micros, event, market, bookmaker, names, content): &ChangeRow<'_>,
        known: &mut KnownNames,
    ) -> Result<(), Damage> {
        self.rows += 1;
        let id: EventId = event.parse().map_err(|_| Damage)?;
        let change = self.changes.entry(id).or_default();
        if **market == *EVENT {
            match &**content {
                REMOVED => change.removed = true,
                details => change.details = Some(serde_json::from_str(details).map_err(|_| Damage)?),
            }
            return Ok(());
        }
        let names = known.find(names.as_deref())?;
        let last_update = names.read_quote(content, time(*micros))?;
        let outcomes = odds::Outcomes::new(names.outcomes().to_vec());
        let (bookmaker, market) = (bookmaker.parse().map_err(|_| Damage)?, market.parse().map_err(|_| Damage)?);
        change.quotes.push(QuoteChange { bookmaker, market, last_update, outcomes });
        Ok(())
    }

    /// Returns them if every row of the step was there.
    pub(super) fn finish(self, step: &StepDifference) -> Result<Vec<Change>, Damage> {
        if self.rows != step.rows {
            return Err(Damage);
        }
        let change = |(id, change): (EventId, EventChange)| match change {
            EventChange { removed: true, details: None, quotes } if quotes.is_empty() => Ok(Change::Removed { id }),
            EventChange { removed: true, .. } => Err(Damage),
            EventChange { details, quotes, .. } => Ok(Change::Changed { id, details, quotes }),
        };
        self.changes.into_iter().map(change).collect()
    }
}
