//! The rules of a group with one subject, by their thresholds, so that a new level reaches only rules that it concerns.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use odds::Timestamp;

/// A number by which rules are sorted. None of them is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Level(pub(crate) f64);

impl Eq for Level {}

impl Ord for Level {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Level {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The place of a rule in the matcher.
pub(crate) type Slot = u32;

#[derive(Clone, Debug, Default)]
pub(crate) struct Thresholds {
    /// Those that wait to fire, the lowest threshold first.
    armed: BinaryHeap<Reverse<(Level, Slot)>>,
    /// Those that fired, the highest level at which they are armed first.
    fired: BinaryHeap<(Level, Slot)>,
    /// Those that are armed and may not fire yet, the soonest first.
    cooling: BinaryHeap<Reverse<(Timestamp, Slot)>>,
}

impl Thresholds {
    pub(crate) fn add_armed(&mut self, fires_at: f64, rule: Slot) {
        self.armed.push(Reverse((Level(fires_at), rule)));
    }

    pub(crate) fn add_fired(&mut self, armed_at: f64, rule: Slot) {
        self.fired.push((Level(armed_at), rule));
    }

    pub(crate) fn add_cooling(&mut self, until: Timestamp, rule: Slot) {
        self.cooling.push(Reverse((until, rule)));
    }

    /// Takes a rule out that is armed at this level.
    pub(crate) fn next_to_arm(&mut self, level: f64) -> Option<Slot> {
        if self.fired.peek()?.0 < Level(level) {
            return None;
        }
        self.fired.pop().map(|(_, rule)| rule)
    }

    /// Takes a rule out that fires at this level.
    pub(crate) fn next_to_fire(&mut self, level: f64) -> Option<Slot> {
        if self.armed.peek()?.0.0 > Level(level) {
            return None;
        }
        self.armed.pop().map(|Reverse((_, rule))| rule)
    }

    /// Takes a rule out that may fire from this time on.
    pub(crate) fn next_to_wake(&mut self, now: Timestamp) -> Option<Slot> {
        if self.cooling.peek()?.0.0 > now {
            return None;
        }
        self.cooling.pop().map(|Reverse((_, rule))| rule)
    }

    pub(crate) fn all(&self) -> Vec<Slot> {
        let armed = self.armed.iter().map(|Reverse((_, rule))| *rule);
        let cooling = self.cooling.iter().map(|Reverse((_, rule))| *rule);
        armed.chain(self.fired.iter().map(|(_, rule)| *rule)).chain(cooling).collect()
    }

    pub(crate) fn remove(&mut self, rule: Slot) {
        self.armed.retain(|Reverse((_, it))| *it != rule);
        self.fired.retain(|(_, it)| *it != rule);
        self.cooling.retain(|Reverse((_, it))| *it != rule);
    }
}
