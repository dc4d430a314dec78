//! Whether this gateway should get clients: every region's topic was read to its end once, Kafka answers, and the store
//! accepts writes.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use odds::Region;
use tracing::{error, info};

/// A gateway that can't reach Kafka for longer is not ready. A change of leaders takes less.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// The gateway's readiness, as its tasks report it.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loaded: [bool; Region::ALL.len()],
    answered: [Option<Instant>; Region::ALL.len()],
    /// Why a region's topic can't be read yet.
    trouble: [Option<String>; Region::ALL.len()],
    store_fails: bool,
    stopping: bool,
    logged: Option<bool>,
}

impl Readiness {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Notes that Kafka answered this region's task.
    pub(crate) fn answered(&self, region: Region) {
        let mut state = self.state();
        state.answered[region as usize] = Some(Instant::now());
        state.trouble[region as usize] = None;
    }

    /// Notes that a region's topic can't be read yet.
    pub(crate) fn fails(&self, region: Region, reason: String) {
        self.state().trouble[region as usize] = Some(reason);
    }

    /// Notes whether a region's board is loaded. Once it was, the region stays loaded.
    pub(crate) fn looks(&self, region: Region, loaded: bool) {
        let mut state = self.state();
        state.loaded[region as usize] |= loaded;
        state.log_change();
    }

    /// Notes whether the store accepts writes.
    pub(crate) fn stores(&self, is_writable: bool) {
        let mut state = self.state();
        state.store_fails = !is_writable;
        state.log_change();
    }

    pub(crate) fn stop(&self) {
        self.state().stopping = true;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    /// Returns why the gateway is not ready, or `None` if it is.
    pub(crate) fn reason(&self) -> Option<String> {
        self.state().reason(Instant::now())
    }
}

impl State {
    fn log_change(&mut self) {
        let reason = self.reason(Instant::now());
        let ready = reason.is_none();
        if self.logged.is_some_and(|logged| logged != ready) || self.logged.is_none() && ready {
            match &reason {
                None => info!("ready"),
                Some(reason) => error!(reason, "not ready"),
            }
            self.logged = Some(ready);
        }
    }

    fn reason(&self, now: Instant) -> Option<String> {
        if self.stopping {
            return Some("the gateway is stopping".into());
        }
        for region in Region::ALL {
            let at = region as usize;
            if !self.loaded[at] {
                let being_read = || format!("the topic of {region} is being read");
                return Some(self.trouble[at].clone().unwrap_or_else(being_read));
            }
            if self.answered[at].is_none_or(|last| now.duration_since(last) > ANSWERS_WITHIN) {
                return Some(format!("Kafka does not answer: {region} is not read"));
            }
        }
        if self.store_fails {
            return Some("accounts can't be stored".into());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_has_read_every_region_and_hears_from_kafka() {
        let readiness = Readiness::default();
        for region in Region::ALL {
            let reason = readiness.reason().unwrap();
            assert!(reason.contains(region.key()), "{reason}");
            readiness.fails(region, "topic odds.uk has no partitions".into());
            assert_eq!(readiness.reason().unwrap(), "topic odds.uk has no partitions");
            readiness.answered(region);
            readiness.looks(region, true);
        }
        assert_eq!(readiness.reason(), None);
        readiness.stores(false);
        assert_eq!(readiness.reason().unwrap(), "accounts can't be stored");
        readiness.stores(true);
        assert_eq!(readiness.reason(), None);
        let reason = readiness.state().reason(Instant::now() + 2 * ANSWERS_WITHIN).unwrap();
        assert!(reason.starts_with("Kafka does not answer"), "{reason}");
        readiness.stop();
        assert_eq!(readiness.reason().unwrap(), "the gateway is stopping");
    }
}
