//! A client's copy of one region's board, updated by `snapshot` and `odds` events. It is used by the page, and by all
//! tests that check that a client has exactly the board.

use std::collections::BTreeMap;

use odds::{Cursor, Event, EventId, OddsPayload, SnapshotPayload};

/// A copy of one region's board.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    /// `None` until the first snapshot is complete.
    cursor: Option<Cursor>,
    events: BTreeMap<EventId, Event>,
    incoming: Option<Incoming>,
}

/// The parts of a snapshot received so far. It replaces the board when it is complete.
#[derive(Clone, Debug)]
struct Incoming {
    cursor: Cursor,
    last_part: u32,
    parts: u32,
    events: BTreeMap<EventId, Event>,
}

/// A payload that doesn't continue what the mirror has: ask for `resync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfStep;

impl Mirror {
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    pub fn events(&self) -> &BTreeMap<EventId, Event> {
        &self.events
    }

    /// Takes a snapshot or a part of one. Returns whether it is complete; until then, the mirror keeps its board. Fails
    /// if a part is missing.
    pub fn snapshot(&mut self, payload: SnapshotPayload) -> Result<bool, OutOfStep> {
        let SnapshotPayload { cursor, events, part, parts, .. } = payload;
        let (part, parts) = (part.unwrap_or(1), parts.unwrap_or(1));
        let mut incoming = match self.incoming.take() {
            _ if part == 1 => Incoming { cursor, last_part: 0, parts, events: BTreeMap::new() },
            Some(incoming) if incoming.continues_with(cursor, part, parts) => incoming,
            _ => return Err(OutOfStep),
        };
        incoming.last_part = part;
        events.into_iter().for_each(|change| change.apply_to(&mut incoming.events));
        if part < parts {
            self.incoming = Some(incoming);
            return Ok(false);
        }
        self.cursor = Some(cursor);
        self.events = incoming.events;
        Ok(true)
    }

    /// Drops an incomplete snapshot, whose remaining parts will not come.
    pub fn drop_incoming(&mut self) {
        self.incoming = None;
    }

    /// Moves on to the payload's cursor. Returns the events that changed. Fails if the payload starts at another cursor
    /// than the mirror's.
    pub fn odds(&mut self, payload: OddsPayload) -> Result<Vec<EventId>, OutOfStep> {
        if self.cursor != Some(payload.prev) {
            return Err(OutOfStep);
        }
        let changed = payload.events.iter().map(|change| change.id().clone()).collect();
        payload.events.into_iter().for_each(|change| change.apply_to(&mut self.events));
        self.cursor = Some(payload.cursor);
        // It was sent instead of the rest of a snapshot.
        self.incoming = None;
        Ok(changed)
    }
}

impl Incoming {
    fn continues_with(&self, cursor: Cursor, part: u32, parts: u32) -> bool {
        self.cursor == cursor && self.parts == parts && self.last_part.checked_add(1) == Some(part)
    }
}
