//! The client's side: a copy of one region's board, kept by `snapshot` and `odds` alone. The page
//! uses it, and every test that claims that a client has exactly the board.

use std::collections::BTreeMap;

use crate::{Change, Cursor, Details, EventId, Image, Market, OddsPayload, Quotes, SnapshotPayload, Timestamp};

#[derive(Clone, Debug, Default)]
pub struct Mirror {
    /// Nothing before the first snapshot is complete.
    cursor: Option<Cursor>,
    events: BTreeMap<EventId, MirrorEvent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorEvent {
    pub details: Details,
    pub quotes: Quotes,
}

/// A payload doesn't follow on what the mirror has: ask for `resync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfStep;

impl Mirror {
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    pub fn events(&self) -> &BTreeMap<EventId, MirrorEvent> {
        &self.events
    }

    /// Takes a snapshot or a part of one. Whether it is whole now: until then it shows what came.
    pub fn snapshot(&mut self, payload: SnapshotPayload) -> bool {
        let part = payload.part.unwrap_or(1);
        let parts = payload.parts.unwrap_or(1);
        if part == 1 {
            self.events.clear();
            self.cursor = None;
        }
        payload.events.into_iter().for_each(|change| self.apply(change));
        let whole = part >= parts;
        if whole {
            self.cursor = Some(payload.cursor);
        }
        whole
    }

    /// Goes on to the payload's cursor. Gives the events that are not what they were.
    pub fn odds(&mut self, payload: OddsPayload) -> Result<Vec<EventId>, OutOfStep> {
        if self.cursor != Some(payload.prev) {
            return Err(OutOfStep);
        }
        let changed = payload
            .events
            .iter()
            .map(|change| match change {
                Change::Removed { id } | Change::Changed { id, .. } => id.clone(),
            })
            .collect();
        payload.events.into_iter().for_each(|change| self.apply(change));
        self.cursor = Some(payload.cursor);
        Ok(changed)
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Removed { id } => {
                self.events.remove(&id);
            }
            Change::Changed { id, details, quotes } => {
                let event = match (self.events.entry(id), details) {
                    (std::collections::btree_map::Entry::Occupied(entry), details) => {
                        let event = entry.into_mut();
                        if let Some(details) = details {
                            event.details = details;
                        }
                        event
                    }
                    (std::collections::btree_map::Entry::Vacant(entry), Some(details)) => {
                        entry.insert(MirrorEvent { details, quotes: Quotes::new() })
                    }
                    // Prices of an event that was never described: nothing to show them under.
                    (std::collections::btree_map::Entry::Vacant(_), None) => return,
                };
                for quote in quotes {
                    let key = (quote.bookmaker, quote.market);
                    if quote.outcomes.is_empty() {
                        event.quotes.remove(&key);
                    } else {
                        event.quotes.insert(key, Market { last_update: quote.last_update, outcomes: quote.outcomes });
                    }
                }
            }
        }
    }
}

impl MirrorEvent {
    pub fn image(&self, polled_at: Timestamp) -> Image {
        Image { polled_at, details: self.details.clone(), quotes: self.quotes.clone() }
    }
}
