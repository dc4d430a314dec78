//! Scales times for a simulator that runs faster than reality.

use odds::Timestamp;

use super::SportState;

/// The shortest scaled wait, in milliseconds.
const SHORTEST_WAIT: i64 = 1_000;

/// The speed of the source's world, as a multiple of real time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace(f64);

impl Pace {
    pub(super) fn new(speed: f64) -> Self {
        Self(speed)
    }

    /// Returns how long a span of the source's time takes in reality, in milliseconds.
    pub(super) fn span(self, millis: i64) -> i64 {
        (millis as f64 / self.0) as i64
    }

    /// Returns a scaled wait in milliseconds. It is at least [`SHORTEST_WAIT`], unless the wait itself is shorter.
    pub(super) fn wait(self, millis: i64) -> i64 {
        self.span(millis).max(millis.min(SHORTEST_WAIT))
    }

    /// Returns the sport with the time since its last poll in the source's time.
    pub(super) fn seen_at(self, sport: &SportState, now: Timestamp) -> SportState {
        let passed = |last: Timestamp| now.millis_since(last) as f64 * self.0;
        let last_polled = sport.last_polled.map(|last| now.plus_millis(-(passed(last) as i64)));
        SportState { last_polled, ..sport.clone() }
    }
}
