//! The credits that a region's producers spent today, and the daily limit.
//!
//! The limit holds across restarts and leader changes: the cost of a poll is written to the topic, in a marker, before
//! the poll is made.

use std::collections::BTreeMap;

use odds::{DaySpending, Marker, Timestamp};
use tracing::warn;

use super::midnight_after;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Today's spending.
#[derive(Debug)]
pub(crate) struct Spending {
    source: String,
    cap: Option<f64>,
    day_ends: Timestamp,
    /// Credits spent today. None if an earlier version spent an unknown amount and there is no limit to assume.
    spent: Option<f64>,
    /// Credits for the poll that is about to be made or is running.
    reserved: f64,
    /// Credits of other sources that were spent today.
    others: BTreeMap<String, f64>,
}

impl Spending {
    pub(crate) fn new(source: &str, cap: Option<f64>, now: Timestamp) -> Self {
        let (source, day_ends) = (source.to_owned(), midnight_after(now));
        Self { source, cap, day_ends, spent: Some(0.0), reserved: 0.0, others: BTreeMap::new() }
    }

    /// Takes over today's spending from a former leader or a file.
    pub(crate) fn take_over(&mut self, recorded: &DaySpending, now: Timestamp) {
        self.begin_day(now);
        if recorded.day_ends != self.day_ends {
            return;
        }
        for (source, credits) in &recorded.credits {
            let known = if *source == self.source {
                self.spent.get_or_insert(0.0)
            } else {
                self.others.entry(source.clone()).or_default()
            };
            *known = known.max(*credits);
        }
    }

    /// Takes over today's spending from the topic's last marker. An earlier version's marker doesn't record it: the
    /// whole limit then counts as spent.
    pub(crate) fn take_over_marker(&mut self, marker: &Marker, now: Timestamp) {
        self.begin_day(now);
        match &marker.spent_today {
            Some(recorded) => self.take_over(recorded, now),
            None if marker.source == self.source && marker.at >= self.day_ends.plus_millis(-DAY) => {
                self.spent = self.cap;
                if self.cap.is_some() {
                    warn!("today's spending is not on the topic: no more credits are spent until midnight UTC");
                }
            }
            None => {}
        }
    }

    /// Returns the credits that may still be spent today. None without a limit.
    pub(crate) fn left(&self, now: Timestamp) -> Option<f64> {
        let spent = if now >= self.day_ends { 0.0 } else { self.spent.unwrap_or_default() };
        self.cap.map(|cap| cap - spent - self.reserved)
    }

    /// Reserves the cost of a poll. Returns false, and reserves nothing, if the limit doesn't allow it.
    pub(crate) fn reserve(&mut self, cost: f64, now: Timestamp) -> bool {
        self.begin_day(now);
        self.reserved = 0.0;
        let may_be = self.left(now).is_none_or(|left| cost <= left);
        if may_be {
            self.reserved = cost;
        }
        may_be
    }

    /// Notes what the poll cost, and clears the reservation.
    pub(crate) fn spend(&mut self, cost: f64, now: Timestamp) {
        self.reserved = 0.0;
        self.begin_day(now);
        if let Some(spent) = &mut self.spent {
            *spent += cost;
        }
    }

    /// Counts the reserved cost as spent, because the outcome of the poll will never be known.
    pub(crate) fn abandon(&mut self, now: Timestamp) {
        self.spend(self.reserved, now);
    }

    /// Whether the reserved cost must still be written to the topic before the poll is made. `noted` is what the topic
    /// has.
    pub(crate) fn is_to_be_noted(&self, noted: Option<&DaySpending>) -> bool {
        let Some(spent) = self.spent.filter(|_| self.cap.is_some()) else { return false };
        let of_today = noted.filter(|noted| noted.day_ends == self.day_ends);
        let noted = of_today.and_then(|noted| noted.credits.get(&self.source)).copied().unwrap_or_default();
        noted < spent + self.reserved
    }

    /// Returns today's spending as a marker records it.
    pub(crate) fn recorded(&self, now: Timestamp) -> Option<DaySpending> {
        if now >= self.day_ends {
            let credits = [(self.source.clone(), self.reserved)].into();
            return Some(DaySpending { day_ends: midnight_after(now), credits });
        }
        let mut credits = self.others.clone();
        credits.insert(self.source.clone(), self.spent? + self.reserved);
        Some(DaySpending { day_ends: self.day_ends, credits })
    }

    fn begin_day(&mut self, now: Timestamp) {
        if now >= self.day_ends {
            self.day_ends = midnight_after(now);
            self.spent = Some(0.0);
            self.others.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::polling::tests::{marker, noon};

    #[test]
    fn the_cap_holds_across_leaders() {
        let mut made = 0;
        let mut topic = None;
        for _ in 0..10 {
            let mut leader = Spending::new("real", Some(15.0), noon());
            if let Some(recorded) = topic.take() {
                leader.take_over_marker(&marker("real", noon(), Some(recorded)), noon());
            }
            for _ in 0..2 {
                if leader.reserve(3.0, noon()) {
                    assert!(leader.is_to_be_noted(topic.as_ref()), "nothing is spent before it is on the topic");
                    topic = leader.recorded(noon());
                    assert!(!leader.is_to_be_noted(topic.as_ref()));
                    leader.spend(3.0, noon());
                    made += 1;
                }
            }
            topic = leader.recorded(noon());
        }
        assert_eq!(made, 5);
    }

    #[test]
    fn a_poll_whose_leader_died_counts() {
        let mut dies = Spending::new("real", Some(5.0), noon());
        assert!(dies.reserve(3.0, noon()));
        let mut next = Spending::new("real", Some(5.0), noon());
        next.take_over_marker(&marker("real", noon(), dies.recorded(noon())), noon());
        assert!(!next.reserve(3.0, noon()));
    }

    #[test]
    fn a_new_day_begins_with_nothing_spent() {
        let mut spending = Spending::new("real", Some(3.0), noon());
        assert!(spending.reserve(3.0, noon()));
        spending.spend(3.0, noon());
        assert!(!spending.reserve(3.0, noon()));
        let tomorrow = noon().plus_millis(DAY);
        let mut next = Spending::new("real", Some(3.0), tomorrow);
        next.take_over_marker(&marker("real", noon(), spending.recorded(noon())), tomorrow);
        for it in [&mut spending, &mut next] {
            assert!(it.reserve(3.0, tomorrow));
        }
    }

    #[test]
    fn an_earlier_version_may_have_spent_all_of_today() {
        let old = |source, at| marker(source, at, None);
        let may_spend = |marker: &Marker| {
            let mut spending = Spending::new("real", Some(15.0), noon());
            spending.take_over_marker(marker, noon());
            spending.reserve(3.0, noon())
        };
        assert!(!may_spend(&old("real", noon())));
        assert!(may_spend(&old("real", noon().plus_millis(-DAY))), "yesterday's spending doesn't count");
        assert!(may_spend(&old("simulator", noon())), "other sources' spending doesn't count");
    }

    #[test]
    fn made_up_odds_in_between_forget_nothing() {
        let mut real = Spending::new("real", Some(3.0), noon());
        assert!(real.reserve(3.0, noon()));
        real.spend(3.0, noon());
        let mut simulator = Spending::new("simulator", None, noon());
        simulator.take_over_marker(&marker("real", noon(), real.recorded(noon())), noon());
        simulator.spend(500.0, noon());
        let mut again = Spending::new("real", Some(3.0), noon());
        again.take_over_marker(&marker("simulator", noon(), simulator.recorded(noon())), noon());
        assert!(!again.reserve(3.0, noon()));
    }
}
