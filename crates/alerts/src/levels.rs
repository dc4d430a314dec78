//! The rules of a group with many subjects. A rule fires for a subject when its level crosses the rule's threshold.

use std::collections::{HashMap, HashSet};

use odds::EventId;

use crate::thresholds::{Level, Slot, Thresholds};

#[derive(Debug, Default)]
pub(crate) struct Levels {
    /// By their thresholds.
    rules: Vec<(Level, Slot)>,
    /// By the hashes of subjects.
    known: HashMap<u64, Known>,
    /// The subjects of each event, so that an event that is over can be forgotten.
    of_events: HashMap<EventId, HashSet<u64>>,
}

/// What is known of a subject.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The last known level.
    pub(crate) level: Option<f64>,
    /// The rules that have fired for it at least once.
    pub(crate) experienced: Thresholds,
    /// Whether a rule about its point may have to fire although the point stays.
    pub(crate) is_cooling: bool,
}

impl Levels {
    pub(crate) fn add(&mut self, fires_at: f64, rule: Slot) {
        let entry = (Level(fires_at), rule);
        let place = self.rules.partition_point(|it| *it < entry);
        self.rules.insert(place, entry);
    }

    pub(crate) fn remove(&mut self, rule: Slot) {
        self.rules.retain(|(_, it)| *it != rule);
        self.known.values_mut().for_each(|known| known.experienced.remove(rule));
    }

    pub(crate) fn subject(&mut self, hash: u64) -> &mut Known {
        self.known.entry(hash).or_default()
    }

    pub(crate) fn note_event(&mut self, event: &EventId, hash: u64) {
        if let Some(subjects) = self.of_events.get_mut(event) {
            subjects.insert(hash);
        } else {
            self.of_events.insert(event.clone(), [hash].into());
        }
    }

    pub(crate) fn forget(&mut self, event: &EventId) {
        let subjects = self.of_events.remove(event).into_iter().flatten();
        subjects.for_each(|subject| drop(self.known.remove(&subject)));
    }

    /// The rules whose thresholds are above one level, and not above another.
    pub(crate) fn between(&self, above: f64, upto: f64) -> Vec<Slot> {
        let place = |level: f64| self.rules.partition_point(|(it, _)| *it <= Level(level));
        self.rules.get(place(above)..place(upto)).unwrap_or_default().iter().map(|(_, rule)| *rule).collect()
    }

    pub(crate) fn all(&self) -> Vec<Slot> {
        self.rules.iter().map(|(_, rule)| *rule).collect()
    }
}
