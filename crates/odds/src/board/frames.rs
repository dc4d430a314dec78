//! Payloads of `snapshot` and `odds`: the part of a board that passes a filter, and its changes since a cursor.

use std::{fmt::Write, ops::Bound};

use super::{Board, Cursor, Entry, Filter, Found, FrameDigest, Quote, Revision};
use crate::{Change, EventId, QuoteChange, Region};

/// A snapshot whose events take more than this is sent in parts: a large frame enlarges buffers on its way, and delays
/// the next ping.
pub const PART_BYTES: usize = 8_192;

pub(super) const INFALLIBLE: &str = "writing to a string does not fail";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    Snapshot,
    Odds,
}

/// The payload of a `snapshot` or `odds` event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: FrameKind,
    pub json: String,
}

impl Frame {
    /// Adds the digest of a client's board that has taken all of these frames to the last one, if there is a digest.
    pub fn add_digest(frames: &mut [Self], digest: Option<&FrameDigest>) {
        if let (Some(digest), Some(last)) = (digest, frames.last_mut()) {
            last.json.pop();
            write!(last.json, r#","digest":{}}}"#, digest.value()).expect(INFALLIBLE);
        }
    }
}

impl Board {
    /// Everything that passes the filter, in one frame or several parts; `None` while the board is unverified.
    pub fn snapshot(&self, region: Region, filter: &Filter) -> Option<Vec<Frame>> {
        Some(self.snapshot_at(region, &self.cursor(filter)?, filter, PART_BYTES))
    }

    /// Like [`Self::snapshot`], but under a given cursor and in parts of about `part_bytes`. Nothing that passes the
    /// filter may have changed since that cursor.
    pub fn snapshot_at(&self, region: Region, cursor: &Cursor, filter: &Filter, part_bytes: usize) -> Vec<Frame> {
        let parts = self.events_json(filter, part_bytes);
        let count = parts.len();
        let frame = |(at, events): (usize, String)| {
            let position = if count > 1 { format!(r#","part":{},"parts":{count}"#, at + 1) } else { String::new() };
            let json = format!(r#"{{"region":"{region}","cursor":"{cursor}"{position},"events":[{events}]}}"#);
            Frame { kind: FrameKind::Snapshot, json }
        };
        parts.into_iter().enumerate().map(frame).collect()
    }

    /// Like [`Self::snapshot_at`], in one piece of any size.
    pub fn whole(&self, region: Region, cursor: &Cursor, filter: &Filter) -> String {
        let events = self.events_json(filter, usize::MAX).concat();
        format!(r#"{{"region":"{region}","cursor":"{cursor}","events":[{events}]}}"#)
    }

    fn events_json(&self, filter: &Filter, part_bytes: usize) -> Vec<String> {
        let mut parts = vec![String::new()];
        for change in self.changes(None, filter) {
            let mut last = parts.last_mut().expect("there is always one");
            if last.len() >= part_bytes {
                parts.push(String::new());
                last = parts.last_mut().expect("one was just pushed");
            }
            change.write_to(last);
        }
        parts
    }

    /// What changed since the cursor. `None` if its state is not remembered or the board is unverified: the client then
    /// needs a snapshot.
    pub fn since(&self, region: Region, cursor: &Cursor, filter: &Filter) -> Option<Frame> {
        self.since_until(region, cursor, &self.cursor(filter)?, filter)
    }

    /// Like [`Self::since`], up to a given cursor. Nothing that passes the filter may have changed since that cursor.
    pub fn since_until(&self, region: Region, from: &Cursor, to: &Cursor, filter: &Filter) -> Option<Frame> {
        Some(self.odds(region, self.revision_at(from, filter)?, from, to, filter))
    }

    /// What passes the filter and changed since a revision that the board remembers, from one cursor to another. `None`
    /// if nothing did.
    pub fn changed_since(
        &self,
        region: Region,
        revision: Revision,
        from: &Cursor,
        to: &Cursor,
        filter: &Filter,
    ) -> Option<Frame> {
        self.changes(Some(revision), filter).next()?;
        Some(self.odds(region, revision, from, to, filter))
    }

    fn odds(&self, region: Region, revision: Revision, from: &Cursor, to: &Cursor, filter: &Filter) -> Frame {
        let mut json = format!(r#"{{"region":"{region}","prev":"{from}","cursor":"{to}","events":["#);
        for change in self.changes(Some(revision), filter) {
            change.write_to(&mut json);
        }
        json.push_str("]}");
        Frame { kind: FrameKind::Odds, json }
    }

    /// All events on the board, as changes of an empty board.
    pub fn content(&self) -> Vec<Change> {
        self.passing(&Filter::default())
    }

    /// All events that pass the filter, as changes of an empty board.
    pub fn passing(&self, filter: &Filter) -> Vec<Change> {
        self.changes(None, filter).map(|change| change.to_change()).collect()
    }

    /// What changed since a revision, one change for each event; `None` if the board no longer remembers
    /// verified states that old.
    pub fn changes_since(&self, from: Revision) -> Option<Vec<Change>> {
        self.passing_since(from, &Filter::default())
    }

    /// Like [`Self::changes_since`], of what passes the filter.
    pub fn passing_since(&self, from: Revision, filter: &Filter) -> Option<Vec<Change>> {
        self.remembered.front().filter(|oldest| oldest.revision <= from)?;
        Some(self.changes(Some(from), filter).map(|change| change.to_change()).collect())
    }

    /// The revision that the board had at the cursor, if it remembers that.
    pub fn revision_at(&self, cursor: &Cursor, filter: &Filter) -> Option<Revision> {
        match self.find(cursor, filter) {
            Found::At(revision) => Some(revision),
            Found::Ahead | Found::Unknown => None,
        }
    }

    /// Whether anything that passes the filter changed since the cursor, or its state is not remembered.
    pub fn differs(&self, cursor: &Cursor, filter: &Filter) -> bool {
        match self.find(cursor, filter) {
            Found::At(revision) => self.changes(Some(revision), filter).next().is_some(),
            Found::Ahead | Found::Unknown => true,
        }
    }

    /// The events that changed after `from`, each once; without `from`, all events on the board.
    fn changes<'a>(&'a self, from: Option<Revision>, filter: &'a Filter) -> impl Iterator<Item = EventChange<'a>> {
        let start = from.map_or(Bound::Unbounded, Bound::Excluded);
        self.recent.range((start, Bound::Unbounded)).filter_map(move |(_, id)| {
            let (id, entry) = self.events.get_key_value(id).expect("recent names only known events");
            entry.change_since(id, from, filter)
        })
    }
}

impl Entry {
    fn change_since<'a>(
        &'a self,
        id: &'a EventId,
        from: Option<Revision>,
        filter: &'a Filter,
    ) -> Option<EventChange<'a>> {
        let known = from.is_some_and(|from| self.sport_at(from).is_some_and(|sport| filter.admits_event(id, sport)));
        let shown = self.present && filter.admits_event(id, &self.details.sport_key);
        let kind = match (known, shown) {
            (false, false) => return None,
            (true, false) => ChangeKind::Removed,
            (false, true) => ChangeKind::Whole,
            (true, true) => ChangeKind::Since(from.expect("known at a revision")),
        };
        let change = EventChange { id, entry: self, filter, kind };
        let is_relevant = match kind {
            ChangeKind::Removed | ChangeKind::Whole => true,
            ChangeKind::Since(from) => self.details_changed > from || change.quotes().next().is_some(),
        };
        is_relevant.then_some(change)
    }
}

#[derive(Clone, Copy)]
enum ChangeKind {
    Removed,
    Whole,
    Since(Revision),
}

/// One event of a frame, borrowed from the board.
struct EventChange<'a> {
    id: &'a EventId,
    entry: &'a Entry,
    filter: &'a Filter,
    kind: ChangeKind,
}

impl<'a> EventChange<'a> {
    fn quotes(&self) -> impl Iterator<Item = &'a Quote> {
        let (kind, filter) = (self.kind, self.filter);
        self.entry.quotes.iter().filter(move |quote| {
            let wanted = match kind {
                ChangeKind::Removed => false,
                ChangeKind::Whole => quote.is_live(),
                ChangeKind::Since(from) => quote.changed > from,
            };
            wanted && filter.admits_quote(&quote.bookmaker, &quote.market)
        })
    }

    fn to_change(&self) -> Change {
        let with_details = match self.kind {
            ChangeKind::Removed => return Change::Removed { id: self.id.clone() },
            ChangeKind::Whole => true,
            ChangeKind::Since(from) => self.entry.details_changed > from,
        };
        let quote = |quote: &Quote| QuoteChange {
            bookmaker: quote.bookmaker.clone(),
            market: quote.market.clone(),
            last_update: quote.last_update,
            outcomes: quote.outcomes.clone(),
        };
        Change::Changed {
            id: self.id.clone(),
            details: with_details.then(|| self.entry.details.clone()),
            quotes: self.quotes().map(quote).collect(),
        }
    }

    /// Appends the change as JSON, after a comma unless it is the first in the list.
    fn write_to(&self, out: &mut String) {
        if !out.is_empty() && !out.ends_with('[') {
            out.push(',');
        }
        write!(out, r#"{{"id":"{}""#, self.id).expect(INFALLIBLE);
        let with_details = match self.kind {
            ChangeKind::Removed => {
                out.push_str(r#","removed":true}"#);
                return;
            }
            ChangeKind::Whole => true,
            ChangeKind::Since(from) => self.entry.details_changed > from,
        };
        if with_details {
            let details = serde_json::to_string(&self.entry.details).expect("plain values");
            out.push(',');
            out.push_str(&details[1..details.len() - 1]);
        }
        out.push_str(r#","quotes":["#);
        for (n, quote) in self.quotes().enumerate() {
            if n > 0 {
                out.push(',');
            }
            let texts = [r#"{"bookmaker":""#, quote.bookmaker.as_str(), r#"","market":""#, quote.market.as_str()];
            texts.into_iter().for_each(|text| out.push_str(text));
            write!(out, r#"","last_update":"{}","outcomes":"#, quote.last_update).expect(INFALLIBLE);
            out.push_str(quote.outcomes.as_json());
            out.push('}');
        }
        out.push_str("]}");
    }
}
