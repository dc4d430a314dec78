//! Which log counts at a time: one that began later replaces what an earlier one says about the same time.

use odds::Timestamp;

/// The time in which a log counts: until a later log begins. A store names logs in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window<L> {
    pub(crate) log: L,
    pub(crate) begins: Timestamp,
    /// `None` for the newest log.
    pub(crate) ends: Option<Timestamp>,
}

impl<L> Window<L> {
    pub(crate) fn contains(&self, at: Timestamp) -> bool {
        self.begins <= at && self.ends.is_none_or(|ends| at < ends)
    }

    /// The last millisecond of it.
    pub(crate) fn last(&self) -> Timestamp {
        self.ends.map_or(Timestamp::from_millis(i64::MAX), |ends| ends.plus_millis(-1))
    }
}

/// The windows of a region, one after the other, from its logs and the times of their first steps, the newest log first.
/// A log that is replaced as a whole has none.
pub(crate) fn windows<L>(newest_first: impl IntoIterator<Item = (L, Timestamp)>) -> Vec<Window<L>> {
    let mut windows = Vec::new();
    let mut ends: Option<Timestamp> = None;
    for (log, begins) in newest_first {
        if ends.is_none_or(|ends| begins < ends) {
            windows.push(Window { log, begins, ends });
            ends = Some(begins);
        }
    }
    windows.reverse();
    windows
}
