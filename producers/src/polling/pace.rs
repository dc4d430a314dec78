//! Waiting times, where the source's world runs faster than reality.

use odds::Timestamp;

use super::SportState;

/// However fast the world runs, no wait gets shorter than this.
const SHORTEST_WAIT: i64 = 1_000;

/// How many times faster than reality the source's world runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace(f64);

impl Pace {
    pub(super) fn new(speed: f64) -> Self {
        Self(speed)
    }

    /// A time span of the source's world.
    pub(super) fn span(self, millis: i64) -> i64 {
        (millis as f64 / self.0) as i64
    }

    /// A waiting time, in milliseconds.
    pub(super) fn wait(self, millis: i64) -> i64 {
        self.span(millis).max(millis.min(SHORTEST_WAIT))
    }

    /// The sport, with the time since its last poll as the source's world sees it.
    pub(super) fn seen_at(self, sport: &SportState, now: Timestamp) -> SportState {
        let passed = |last: Timestamp| now.millis_since(last) as f64 * self.0;
        let last_polled = sport.last_polled.map(|last| now.plus_millis(-(passed(last) as i64)));
        SportState { last_polled, ..sport.clone() }
    }
}
