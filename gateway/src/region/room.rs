//! A room: everybody in a region with the same filter. It is at one cursor, and keeps the frames
//! that lead there, each made once for all who need it.

use std::{collections::HashMap, sync::Arc};

use indexmap::{IndexMap, map::Slice};
use odds::{Board, Cursor, Filter, FrameKind, PART_BYTES, Region};
use socketioxide::socket::Sid;

use super::{broadcast::BATCH, frames::Frames, member::Member};

#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) filter: Arc<Filter>,
    /// Where everybody is who follows; nothing while there is no verified board.
    pub(crate) cursor: Option<Cursor>,
    /// In the order they came: what belongs to neighbours is near in memory then, here and in the kernel.
    pub(crate) members: IndexMap<Sid, Member>,
    /// By where they start from; nothing where only a snapshot helps.
    odds: HashMap<Cursor, Option<Arc<Frames>>>,
    /// By the size of their parts.
    snapshots: HashMap<usize, Arc<Frames>>,
}

impl Room {
    pub(crate) fn new(filter: Arc<Filter>, board: Option<&Board>) -> Self {
        let cursor = board.and_then(|board| board.cursor(&filter));
        let (odds, snapshots) = (HashMap::new(), HashMap::new());
        Self { filter, cursor, members: IndexMap::new(), odds, snapshots }
    }

    /// Its members, a batch at a time.
    pub(crate) fn batches(&mut self) -> impl Iterator<Item = &mut Slice<Sid, Member>> {
        let mut rest = self.members.as_mut_slice();
        std::iter::from_fn(move || {
            let here = rest.len().min(BATCH);
            let (batch, others) = std::mem::take(&mut rest).split_at_mut(here);
            rest = others;
            (here > 0).then_some(batch)
        })
    }

    /// Moves to where the board is, if that looks different under the filter, or if the room's
    /// cursor would soon be forgotten. Gives what leads from the old cursor to the new.
    pub(crate) fn advance(&mut self, region: Region, board: &Board) -> Option<(Cursor, Arc<Frames>)> {
        let Some(from) = self.cursor else {
            self.move_to(board.cursor(&self.filter));
            return None;
        };
        if !board.differs(&from, &self.filter) && !board.is_growing_old(&from, &self.filter) {
            return None;
        }
        self.move_to(board.cursor(&self.filter));
        Some((from, self.frames(region, board, Some(from), usize::MAX)?))
    }

    /// Nothing: the board is not to be relied on any more.
    pub(crate) fn move_to(&mut self, cursor: Option<Cursor>) {
        self.cursor = cursor;
        self.odds.clear();
        self.snapshots.clear();
    }

    /// What leads from there to the room's cursor. Nothing while there is no verified board. No
    /// part is larger than what may be sent at once.
    pub(crate) fn frames(
        &mut self,
        region: Region,
        board: &Board,
        from: Option<Cursor>,
        at_once: usize,
    ) -> Option<Arc<Frames>> {
        let to = self.cursor?;
        if let Some(from) = from {
            let since = || {
                let frame = board.since_until(region, &from, &to, &self.filter)?;
                Some(Frames::new(FrameKind::Odds, vec![frame], to))
            };
            let odds = self.odds.entry(from).or_insert_with(since);
            if let Some(odds) = odds.as_ref().filter(|odds| odds.parts[0].bytes() <= at_once) {
                return Some(odds.clone());
            }
        }
        let (filter, part) = (&self.filter, at_once.min(PART_BYTES));
        let make = || Frames::new(FrameKind::Snapshot, board.snapshot_at(region, &to, filter, part), to);
        Some(self.snapshots.entry(part).or_insert_with(make).clone())
    }
}
