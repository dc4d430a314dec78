//! What a region's producers spent of their source's credits today, and what they may still spend.
//!
//! The cap for a day is kept across restarts and changes of leaders: what is spent is written to the
//! topic, by every marker, before the poll that spends it is made.

use std::collections::BTreeMap;

use odds::{DaySpending, Marker, Timestamp};
use tracing::warn;

use super::midnight_after;

const DAY: i64 = 24 * 60 * 60 * 1000;

#[derive(Debug)]
pub(crate) struct Spending {
    source: String,
    cap: Option<f64>,
    day_ends: Timestamp,
    /// Nothing: an earlier version spent today and did not say how much, and there is no cap to assume.
    spent: Option<f64>,
    /// For a poll that is about to be made, or on its way.
    reserved: f64,
    /// What was spent today of other sources' credits.
    others: BTreeMap<String, f64>,
}

impl Spending {
    pub(crate) fn new(source: &str, cap: Option<f64>, now: Timestamp) -> Self {
        let (source, day_ends) = (source.to_owned(), midnight_after(now));
        Self { source, cap, day_ends, spent: Some(0.0), reserved: 0.0, others: BTreeMap::new() }
    }

    /// Takes over what a former leader, or a file, says of today.
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

    /// Takes over what the topic's last marker says. An earlier version's says nothing: then all that may be
    /// spent today may have been spent.
    pub(crate) fn take_over_marker(&mut self, marker: &Marker, now: Timestamp) {
        self.begin_day(now);
        match &marker.spent_today {
            Some(recorded) => self.take_over(recorded, now),
            None if marker.source == self.source && marker.at >= self.day_ends.plus_millis(-DAY) => {
                self.spent = self.cap;
                if self.cap.is_some() {
                    warn!("what was spent of credits today is not on the topic: no more is spent until midnight UTC");
                }
            }
            None => {}
        }
    }

    /// What may still be spent today.
    pub(crate) fn left(&self, now: Timestamp) -> Option<f64> {
        let spent = if now >= self.day_ends { 0.0 } else { self.spent.unwrap_or_default() };
        self.cap.map(|cap| cap - spent - self.reserved)
    }

    /// Whether a poll may cost so much, and if so, sets that aside.
    pub(crate) fn reserve(&mut self, cost: f64, now: Timestamp) -> bool {
        self.begin_day(now);
        self.reserved = 0.0;
        let may_be = self.left(now).is_none_or(|left| cost <= left);
        if may_be {
            self.reserved = cost;
        }
        may_be
    }

    /// The poll was made, and cost this.
    pub(crate) fn spend(&mut self, cost: f64, now: Timestamp) {
        self.reserved = 0.0;
        self.begin_day(now);
        if let Some(spent) = &mut self.spent {
            *spent += cost;
        }
    }

    /// What became of a poll that was about to be made will never be known: it counts.
    pub(crate) fn abandon(&mut self, now: Timestamp) {
        self.spend(self.reserved, now);
    }

    /// Whether the poll that is about to be made needs to be written down first, and isn't.
    pub(crate) fn is_to_be_noted(&self, noted: Option<&DaySpending>) -> bool {
        let Some(spent) = self.spent.filter(|_| self.cap.is_some()) else { return false };
        let of_today = noted.filter(|noted| noted.day_ends == self.day_ends);
        let noted = of_today.and_then(|noted| noted.credits.get(&self.source)).copied().unwrap_or_default();
        noted < spent + self.reserved
    }

    /// What a marker says.
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
    use odds::{Credits, Digest, FeedState};

    use super::*;

    fn noon() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn marker(source: &str, at: Timestamp, spent_today: Option<DaySpending>) -> Marker {
        Marker {
            digest: Digest::default(),
            at,
            next_by: at,
            state: FeedState::Live,
            reason: None,
            source: source.into(),
            credits: Credits::default(),
            sports: BTreeMap::new(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
            spent_today,
        }
    }

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
        assert!(may_spend(&old("real", noon().plus_millis(-DAY))), "yesterday is over");
        assert!(may_spend(&old("simulator", noon())), "what others spent is theirs");
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
