//! Decides at which steps the whole board is recorded.

use odds::{Change, Timestamp};

/// The longest time between two keyframes.
const KEYFRAME_EVERY_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// A keyframe is due when this many times more quotes have changed than are on the board,
const CHANGES_PER_QUOTE: usize = 4;
/// but not before this many have. So a board is rebuilt in bounded time, and a small one is not written too often.
const FEWEST_CHANGES: usize = 10_000;

/// When the last keyframe was due, and what has changed since.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyframePlan {
    last: Option<Timestamp>,
    changes: usize,
}

impl KeyframePlan {
    /// Whether a keyframe is due at the next step. Without what the step changed, one always is. An event that changed
    /// counts as a quote, too.
    pub(crate) fn is_due(&mut self, at: Timestamp, changes: Option<&[Change]>, quotes_on_board: usize) -> bool {
        self.changes += changes.map_or(0, |changes| changes.iter().map(|change| 1 + change.quotes().len()).sum());
        let is_due = changes.is_none() || self.is_over(at, quotes_on_board);
        if is_due {
            *self = Self { last: Some(at), changes: 0 };
        }
        is_due
    }

    fn is_over(&self, at: Timestamp, quotes_on_board: usize) -> bool {
        let Some(last) = self.last else { return true };
        let day = |at: Timestamp| at.as_millis().div_euclid(DAY_MS);
        at.millis_since(last) >= KEYFRAME_EVERY_MS
            || day(at) != day(last)
            || self.changes >= (CHANGES_PER_QUOTE * quotes_on_board).max(FEWEST_CHANGES)
    }
}
