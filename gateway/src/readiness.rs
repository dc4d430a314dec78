//! Whether clients should be sent here: every region's topic was read to its end once, and every
//! partition is read by a consumer of this gateway.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use odds::Region;
use tracing::{error, info};

/// Partitions are without a consumer for a moment at every rebalance; for longer, somebody else has them.
const OWNED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Readiness {
    instance: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loaded: [bool; Region::ALL.len()],
    lost_since: [Option<Instant>; Region::ALL.len()],
    stopping: bool,
    told: Option<bool>,
}

impl Readiness {
    pub(crate) fn new(instance: String) -> Self {
        Self { instance, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// How a region stands now.
    pub(crate) fn looks(&self, region: Region, loaded: bool, owns_all: bool) {
        let mut state = self.state();
        let at = region as usize;
        state.loaded[at] |= loaded && owns_all;
        match owns_all {
            true => state.lost_since[at] = None,
            false => drop(state.lost_since[at].get_or_insert_with(Instant::now)),
        }
        let reason = state.reason(&self.instance);
        let ready = reason.is_none();
        if state.told.is_some_and(|told| told != ready) || state.told.is_none() && ready {
            match &reason {
                None => info!("ready"),
                Some(reason) => error!(reason, "not ready"),
            }
            state.told = Some(ready);
        }
    }

    pub(crate) fn stop(&self) {
        self.state().stopping = true;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    /// Why it is not ready, if it is not.
    pub(crate) fn reason(&self) -> Option<String> {
        self.state().reason(&self.instance)
    }
}

impl State {
    fn reason(&self, instance: &str) -> Option<String> {
        if self.stopping {
            return Some("the gateway is stopping".into());
        }
        for region in Region::ALL {
            let at = region as usize;
            if !self.loaded[at] {
                return Some(format!("the topic of {region} is being read"));
            }
            if self.lost_since[at].is_some_and(|since| since.elapsed() > OWNED_WITHIN) {
                return Some(format!(
                    "not every partition of {region} has a consumer here: Kafka is away, or another gateway is in \
                     the group gateway-{region}-{instance}, too; give each its own --instance"
                ));
            }
        }
        None
    }
}
