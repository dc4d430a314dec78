//! Rebuilds a board from a keyframe and the differences after it.

use std::collections::BTreeMap;

use odds::{Board, Change, Digest, Event, EventId, Image, StepId, Timestamp};

/// What a step changed is asked of the board after it: the state before it is needed, too.
const REMEMBERED_STATES: usize = 2;

/// Applies what a step changed to a board.
pub(crate) fn apply(board: &mut Board, changes: Vec<Change>) {
    for change in changes {
        let id = change.id().clone();
        // A board has no use for the time of a poll.
        let no_time = Timestamp::default();
        let mut event = board.image(&id, no_time).map(Image::into_event);
        change.apply_to_event(&mut event);
        match event {
            Some(event) => drop(board.set(&id, &event.image(no_time))),
            None => drop(board.remove(&id)),
        }
    }
}

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

    /// Returns the board of a step if it has the step's digest.
    pub(crate) fn finish(self, step: StepId, digest: Digest) -> Result<Board, Damaged> {
        let mut board = Board::remembering(REMEMBERED_STATES);
        for (id, event) in &self.0 {
            // A board has no use for the time of a poll.
            board.set(id, &event.image(Timestamp::default()));
        }
        board.remember(step);
        if board.digest() == digest { Ok(board) } else { Err(Damaged) }
    }
}
