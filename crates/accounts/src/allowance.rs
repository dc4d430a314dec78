//! How often something may be tried: so many times at once, and one more every so often.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// When this many are remembered, those that are back at nothing are forgotten.
const SWEEP_AT: usize = 1_024;

/// Each key on its own. A key costs memory only until all of its tries are given back by time. Time is the
/// monotonic clock's: setting the wall clock back locks nobody out.
#[derive(Debug)]
pub struct Allowance<K> {
    burst: u32,
    every: Duration,
    spent: Mutex<Spent<K>>,
}

#[derive(Debug)]
struct Spent<K> {
    /// When all is given back.
    until: HashMap<K, Instant>,
    sweep_at: usize,
}

impl<K: Eq + Hash> Allowance<K> {
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, spent: Mutex::new(Spent { until: HashMap::new(), sweep_at: SWEEP_AT }) }
    }

    fn spent(&self) -> MutexGuard<'_, Spent<K>> {
        self.spent.lock().expect("nobody panics while holding it")
    }

    fn early(&self, until: Instant, now: Instant) -> Option<Duration> {
        let spent = until.saturating_duration_since(now);
        let early = (spent + self.every).saturating_sub(self.every * self.burst);
        (!early.is_zero()).then_some(early)
    }

    /// Takes one try, or says how long to wait for it.
    pub fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut spent = self.spent();
        let until = spent.until.entry(key).or_insert(now);
        if let Some(wait) = self.early(*until, now) {
            return Err(wait);
        }
        *until = (*until).max(now) + self.every;
        if spent.until.len() >= spent.sweep_at {
            spent.until.retain(|_, until| *until > now);
            spent.sweep_at = (spent.until.len() * 2).max(SWEEP_AT);
        }
        Ok(())
    }

    /// Whether there is no try just now.
    pub fn is_spent(&self, key: &K, now: Instant) -> bool {
        self.spent().until.get(key).is_some_and(|until| self.early(*until, now).is_some())
    }

    /// The try that was taken does not count.
    pub(crate) fn give_back(&self, key: &K) {
        if let Some(until) = self.spent().until.get_mut(key) {
            *until = until.checked_sub(self.every).unwrap_or(*until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |seconds| start + Duration::from_secs(seconds)
    }

    #[test]
    fn so_many_at_once_and_one_more_every_so_often() {
        let (at, allowance) = (clock(), Allowance::new(3, Duration::from_secs(10)));
        for _ in 0..3 {
            allowance.take("a", at(0)).unwrap();
        }
        assert_eq!(allowance.take("a", at(0)), Err(Duration::from_secs(10)));
        assert!(
            allowance.is_spent(&"a", at(9)) && !allowance.is_spent(&"a", at(10)) && !allowance.is_spent(&"b", at(0))
        );
        assert_eq!(allowance.take("a", at(4)), Err(Duration::from_secs(6)));
        allowance.take("b", at(0)).unwrap();
        allowance.take("a", at(10)).unwrap();
        assert!(allowance.take("a", at(10)).is_err());
        allowance.give_back(&"a");
        allowance.take("a", at(10)).unwrap();
        for _ in 0..3 {
            allowance.take("a", at(1_000)).unwrap();
        }
        assert!(allowance.take("a", at(1_000)).is_err(), "rest does not pile up");
    }

    #[test]
    fn what_is_given_back_by_time_is_forgotten() {
        let (at, allowance) = (clock(), Allowance::new(3, Duration::from_secs(10)));
        for key in 0..100_000 {
            allowance.take(key, at(key)).unwrap();
        }
        assert!(allowance.spent().until.len() <= SWEEP_AT);
    }
}
