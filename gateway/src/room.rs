//! A room: everybody in a region with the same filter. It is at one cursor, and keeps the frames
//! that lead there, each made once for all who need it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use odds::{Board, Cursor, Filter, Frame, FrameKind, Region};
use serde_json::value::RawValue;
use socketioxide::socket::Sid;

/// An update that takes more than this is sent as a snapshot, in parts.
const MAX_ODDS_BYTES: usize = 1_000_000;

/// What leads a client to the room's cursor: an `odds` or a snapshot in one or more parts.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) kind: FrameKind,
    pub(crate) parts: Vec<Box<RawValue>>,
    /// Where a client is that has all parts.
    pub(crate) cursor: Cursor,
}

impl Frames {
    pub(crate) fn event(&self) -> &'static str {
        match self.kind {
            FrameKind::Snapshot => "snapshot",
            FrameKind::Odds => "odds",
        }
    }

    fn new(kind: FrameKind, frames: Vec<Frame>, cursor: Cursor) -> Arc<Self> {
        let raw = |frame: Frame| RawValue::from_string(frame.json).expect("the board writes JSON");
        Arc::new(Self { kind, parts: frames.into_iter().map(raw).collect(), cursor })
    }
}

#[derive(Debug)]
pub(crate) struct Room {
    /// As Socket.IO calls it.
    pub(crate) name: String,
    pub(crate) filter: Arc<Filter>,
    /// Where everybody is who follows; nothing while there is no verified board.
    pub(crate) cursor: Option<Cursor>,
    pub(crate) members: HashSet<Sid>,
    /// By where they start from; a snapshot starts from nothing.
    frames: HashMap<Option<Cursor>, Arc<Frames>>,
}

impl Room {
    pub(crate) fn new(region: Region, number: u64, filter: Arc<Filter>, board: Option<&Board>) -> Self {
        let cursor = board.and_then(|board| board.cursor(&filter));
        Self { name: format!("{region}-{number}"), filter, cursor, members: HashSet::new(), frames: HashMap::new() }
    }

    /// Moves to where the board is, if that looks different under the filter, or if the room's
    /// cursor would soon be forgotten. Gives what leads from the old cursor to the new.
    pub(crate) fn advance(&mut self, region: Region, board: &Board) -> Option<(Cursor, Arc<Frames>)> {
        let Some(from) = self.cursor else {
            self.cursor = board.cursor(&self.filter);
            self.frames.clear();
            return None;
        };
        if !board.differs(&from, &self.filter) && !board.is_growing_old(&from, &self.filter) {
            return None;
        }
        self.cursor = board.cursor(&self.filter);
        self.frames.clear();
        Some((from, self.frames(region, board, Some(from))?))
    }

    /// The board is not to be relied on any more.
    pub(crate) fn lose(&mut self) {
        self.cursor = None;
        self.frames.clear();
    }

    /// What leads from there to the room's cursor. Nothing while there is no verified board.
    pub(crate) fn frames(&mut self, region: Region, board: &Board, from: Option<Cursor>) -> Option<Arc<Frames>> {
        let to = self.cursor?;
        if let Some(known) = self.frames.get(&from) {
            return Some(known.clone());
        }
        let since = from.and_then(|from| board.since_until(region, &from, &to, &self.filter));
        let made = match since {
            Some(frame) if frame.json.len() <= MAX_ODDS_BYTES => Frames::new(FrameKind::Odds, vec![frame], to),
            _ => match self.frames.get(&None) {
                Some(snapshot) => snapshot.clone(),
                None => {
                    let parts = board.snapshot_at(region, &to, &self.filter);
                    let snapshot = Frames::new(FrameKind::Snapshot, parts, to);
                    self.frames.insert(None, snapshot.clone());
                    snapshot
                }
            },
        };
        self.frames.insert(from, made.clone());
        Some(made)
    }
}
