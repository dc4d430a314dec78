//! Rebuilds a board from a keyframe and the differences after it.

use std::collections::BTreeMap;

use odds::{Board, Change, Digest, Event, EventId, Timestamp};

/// The events of a board that is being rebuilt.
#[derive(Debug, Default)]
pub(crate) struct Rebuild(BTreeMap<EventId, Event>);

/// The rebuilt board doesn't have the digest of its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl Rebuild {
    pub(crate) fn apply(&mut self, changes: impl IntoIterator<Item = Change>) {
        changes.into_iter().for_each(|change| change.apply_to(&mut self.0));
    }

    /// Returns the board if it has this digest.
    pub(crate) fn finish(self, digest: Digest) -> Result<Board, Damaged> {
        let mut board = Board::remembering(1);
        for (id, event) in &self.0 {
            // A board has no use for the time of a poll.
            board.set(id, &event.image(Timestamp::default()));
        }
        if board.digest() == digest { Ok(board) } else { Err(Damaged) }
    }
}
