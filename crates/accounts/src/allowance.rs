//! A rate limiter: a burst of attempts, and then one more per interval.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// How many remembered keys start a search for those that can be dropped.
const SWEEP_AT: usize = 1_024;

/// A rate limiter with a limit per key. A key takes memory only until all of its attempts are available again. It uses
/// the monotonic clock, so that setting back the wall clock locks no one out.
#[derive(Debug)]
pub struct Allowance<K> {
    burst: u32,
    every: Duration,
    spent: Mutex<Spent<K>>,
}

#[derive(Debug)]
struct Spent<K> {
    /// When all attempts of a key are available again.
    until: HashMap<K, Instant>,
    sweep_at: usize,
}

impl<K: Eq + Hash> Allowance<K> {
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, spent: Mutex::new(Spent { until: HashMap::new(), sweep_at: SWEEP_AT }) }
    }

    fn spent(&self) -> MutexGuard<'_, Spent<K>> {
        self.spent.lock().expect("no thread panics while holding the lock")
    }

    fn wait(&self, until: Instant, now: Instant) -> Option<Duration> {
        let spent = until.saturating_duration_since(now);
        let wait = (spent + self.every).saturating_sub(self.every * self.burst);
        (!wait.is_zero()).then_some(wait)
    }

    /// Takes one attempt, or returns how long to wait for the next.
    pub fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        let mut spent = self.spent();
        let until = spent.until.entry(key).or_insert(now);
        if let Some(wait) = self.wait(*until, now) {
            return Err(wait);
        }
        *until = (*until).max(now) + self.every;
        if spent.until.len() >= spent.sweep_at {
            spent.until.retain(|_, until| *until > now);
            spent.sweep_at = (spent.until.len() * 2).max(SWEEP_AT);
        }
        Ok(())
    }

    /// Whether no attempt is available now.
    pub fn is_spent(&self, key: &K, now: Instant) -> bool {
        self.spent().until.get(key).is_some_and(|until| self.wait(*until, now).is_some())
    }

    /// Gives back an attempt that was taken.
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
    fn a_burst_and_then_one_more_per_interval() {
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
        assert!(allowance.take("a", at(1_000)).is_err(), "unused attempts do not pile up");
    }

    #[test]
    fn keys_with_all_attempts_available_are_dropped() {
        let (at, allowance) = (clock(), Allowance::new(3, Duration::from_secs(10)));
        for key in 0..100_000 {
            allowance.take(key, at(key)).unwrap();
        }
        assert!(allowance.spent().until.len() <= SWEEP_AT);
    }
}
