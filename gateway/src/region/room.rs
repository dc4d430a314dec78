//! A room: all members of a region with the same filter. It caches the frames that lead to its cursor, so that each is
//! encoded once for all members.

use std::{collections::HashMap, sync::Arc};

use indexmap::{IndexMap, map::Slice};
use odds::{Board, Cursor, Filter, Frame, FrameDigest, FrameKind, PART_BYTES, Region};
use socketioxide::socket::Sid;

use super::{broadcast::BATCH, frames::Frames, member::Member};

/// All members of a region with the same filter.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) filter: Arc<Filter>,
    /// The cursor of all members that follow; none while there is no verified board.
    pub(crate) cursor: Option<Cursor>,
    /// Whether somebody took the last frame compressed.
    pub(crate) compresses: bool,
    /// In the order in which they joined, so that neighbours are also near in memory, here and in the kernel.
    pub(crate) members: IndexMap<Sid, Member>,
    /// The update from each cursor; none if only a snapshot leads from there.
    odds: HashMap<Cursor, Option<Arc<Frames>>>,
    /// The snapshots, by the size of their parts.
    snapshots: HashMap<usize, Arc<Frames>>,
    /// How many members asked for digests. The frames of all members have them then.
    digest_members: usize,
    /// The digest of the members' board at the cursor, once it was needed.
    digest: Option<FrameDigest>,
}

impl Room {
    pub(crate) fn new(filter: Arc<Filter>, board: Option<&Board>) -> Self {
        let cursor = board.and_then(|board| board.cursor(&filter));
        let (odds, snapshots) = (HashMap::new(), HashMap::new());
        let members = IndexMap::new();
        Self { filter, cursor, compresses: false, members, odds, snapshots, digest_members: 0, digest: None }
    }

    pub(crate) fn join(&mut self, sid: Sid, member: Member) {
        if member.client.wants_digests {
            self.digest_members += 1;
            if self.digest.is_none() {
                self.drop_frames();
            }
        }
        self.members.insert(sid, member);
    }

    pub(crate) fn leave(&mut self, sid: Sid) {
        // The digest stays until the cursor moves: whoever comes and goes does not make it anew.
        if self.members.swap_remove(&sid).is_some_and(|member| member.client.wants_digests) {
            self.digest_members -= 1;
        }
    }

    /// Returns the members in batches.
    pub(crate) fn batches(&mut self) -> impl Iterator<Item = &mut Slice<Sid, Member>> {
        let mut rest = self.members.as_mut_slice();
        std::iter::from_fn(move || {
            let here = rest.len().min(BATCH);
            let (batch, others) = std::mem::take(&mut rest).split_at_mut(here);
            rest = others;
            (here > 0).then_some(batch)
        })
    }

    /// Moves to the board's cursor, if the board changed under the filter or will soon forget the room's cursor.
    /// Returns the old cursor and the frames that lead from there to the new one.
    pub(crate) fn advance(&mut self, region: Region, board: &Board) -> Option<(Cursor, Arc<Frames>)> {
        let Some(from) = self.cursor else {
            self.move_to(board.cursor(&self.filter));
            return None;
        };
        if !board.differs(&from, &self.filter) && !board.is_growing_old(&from, &self.filter) {
            return None;
        }
        let digest = self.digest.take().filter(|_| self.digest_members > 0).and_then(|mut digest| {
            let changes = board.passing_since(board.revision_at(&from, &self.filter)?, &self.filter)?;
            changes.iter().for_each(|change| digest.apply(change));
            Some(digest)
        });
        self.move_to(board.cursor(&self.filter));
        self.digest = digest;
        Some((from, self.frames(region, board, Some(from), usize::MAX, PART_BYTES)?))
    }

    /// Moves to a cursor, or to none when the board is lost.
    pub(crate) fn move_to(&mut self, cursor: Option<Cursor>) {
        self.cursor = cursor;
        self.digest = None;
        self.drop_frames();
    }

    fn drop_frames(&mut self) {
        self.odds.clear();
        self.snapshots.clear();
    }

    /// Returns the frames that lead from a cursor to the room's, or `None` while there is no verified board. An update has
    /// at most `update` bytes, and each part of a snapshot about `part` bytes.
    pub(crate) fn frames(
        &mut self,
        region: Region,
        board: &Board,
        from: Option<Cursor>,
        update: usize,
        part: usize,
    ) -> Option<Arc<Frames>> {
        let to = self.cursor?;
        if self.digest_members > 0 {
            self.digest.get_or_insert_with(|| FrameDigest::of(board.passing(&self.filter)));
        }
        // Also if who asked has left: frames are kept for whoever asks next.
        let digest = self.digest.as_ref();
        let frames = |kind: FrameKind, mut frames: Vec<Frame>| {
            Frame::add_digest(&mut frames, digest);
            Frames::new(kind, frames, to)
        };
        if let Some(from) = from {
            let since = || {
                let frame = board.since_until(region, &from, &to, &self.filter)?;
                Some(frames(FrameKind::Odds, vec![frame]))
            };
            let odds = self.odds.entry(from).or_insert_with(since);
            if let Some(odds) = odds.as_ref().filter(|odds| odds.parts[0].bytes() <= update) {
                return Some(odds.clone());
            }
        }
        let make = || frames(FrameKind::Snapshot, board.snapshot_at(region, &to, &self.filter, part));
        Some(self.snapshots.entry(part).or_insert_with(make).clone())
    }
}
