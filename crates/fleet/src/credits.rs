//! How the credits of each region burn down.

use std::{collections::BTreeMap, time::Duration};

use odds::{Region, Timestamp};

use crate::programs::{Programs, passed};

/// How far apart samples are kept,
const EVERY: Duration = Duration::from_secs(1_800);
/// and how many: a day.
const KEPT: usize = 48;
/// From a shorter time, nothing is predicted.
const PREDICTED_AFTER: Duration = Duration::from_secs(60);
/// What lasts longer is not predicted.
const LONGEST_DAYS: f64 = 366.0;

/// The credits that the keys had left. The last sample is that of now.
#[derive(Clone, Debug, Default)]
pub struct CreditHistory(BTreeMap<Region, Vec<(Timestamp, f64)>>);

impl CreditHistory {
    /// Takes what the leaders report now.
    pub fn take(&mut self, programs: &Programs, now: Timestamp) {
        for region in Region::ALL {
            let leads = |values: &crate::Values| values.of("producer_leading", region.key()) == Some(1.0);
            let leader = programs.running().find(|report| leads(&report.values));
            let left = leader.and_then(|report| report.values.of("producer_credits_remaining", region.key()));
            if let Some(left) = left {
                self.add(region, now, left);
            }
        }
    }

    fn add(&mut self, region: Region, now: Timestamp, left: f64) {
        let samples = self.0.entry(region).or_default();
        // Renewed: what was before says nothing about what comes.
        if samples.last().is_some_and(|(_, before)| left > *before) {
            samples.clear();
        }
        // The newest moves on until it is far enough from the one before.
        if let [.., (before, _), newest] = samples.as_mut_slice()
            && !passed(*before, now, EVERY)
        {
            *newest = (now, left);
            return;
        }
        if samples.len() == KEPT {
            samples.remove(0);
        }
        samples.push((now, left));
    }

    pub fn of(&self, region: Region) -> &[(Timestamp, f64)] {
        self.0.get(&region).map_or(&[], Vec::as_slice)
    }

    /// When they are used up, if they go on to be used as they were. `None` if they are not used, or if too little is
    /// known.
    pub fn run_out_at(&self, region: Region) -> Option<Timestamp> {
        let [(from, at_first), .., (until, left)] = self.of(region) else { return None };
        let (time, used) = (until.millis_since(*from), at_first - left);
        if time < PREDICTED_AFTER.as_millis() as i64 || used <= 0.0 {
            return None;
        }
        let lasts = left / used * time as f64;
        (lasts < LONGEST_DAYS * 86_400_000.0).then(|| until.plus_millis(lasts as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000_000 + 60_000 * minutes)
    }

    #[test]
    fn credits_run_out_when_they_go_on_to_be_used_as_they_were() {
        let mut history = CreditHistory::default();
        assert_eq!(history.run_out_at(Region::Uk), None);
        for minute in 0..=100 {
            history.add(Region::Uk, at(minute), 1_000.0 - minute as f64);
        }
        assert_eq!(history.run_out_at(Region::Uk), Some(at(1_000)));
        let minutes: Vec<i64> = history.of(Region::Uk).iter().map(|(it, _)| it.millis_since(at(0)) / 60_000).collect();
        assert_eq!(minutes, [0, 30, 60, 90, 100]);
        history.add(Region::Uk, at(101), 20_000.0);
        assert_eq!((history.of(Region::Uk).len(), history.run_out_at(Region::Uk)), (1, None));
    }

    #[test]
    fn a_day_is_kept() {
        let mut history = CreditHistory::default();
        for minute in 0..10_000 {
            history.add(Region::Eu, at(minute), 500.0);
        }
        assert_eq!(history.of(Region::Eu).len(), KEPT);
        assert_eq!(history.run_out_at(Region::Eu), None, "nothing is used");
    }
}
