//! The clock of a replay.

use std::time::Duration;

use odds::Timestamp;
use tokio::time::Instant;

/// A replay that is later than this waits for its client.
const MOST_LATE: Duration = Duration::from_millis(250);

/// Runs at the speed of the replay. Without a speed, it shows the time of the last step.
#[derive(Debug)]
pub(super) struct ReplayClock {
    from: Timestamp,
    begun: Instant,
    speed: Option<f64>,
}

impl ReplayClock {
    pub(super) fn new(from: Timestamp, speed: Option<f64>, begun: Instant) -> Self {
        Self { from, begun, speed }
    }

    pub(super) fn now(&self, now: Instant) -> Timestamp {
        let Some(speed) = self.speed else { return self.from };
        self.from.plus_millis((now.duration_since(self.begun).as_secs_f64() * 1e3 * speed) as i64)
    }

    /// How long it takes until the clock shows this time.
    pub(super) fn time_until(&self, at: Timestamp, now: Instant) -> Duration {
        let millis = at.millis_since(self.now(now)).max(0);
        self.speed.map_or(Duration::ZERO, |speed| Duration::from_secs_f64(millis as f64 / 1e3 / speed))
    }

    /// Shows the time of a step that is played now. If the client could not take it in time, the clock has waited.
    pub(super) fn plays(&mut self, at: Timestamp, now: Instant) {
        let late = self.now(now).millis_since(at).max(0);
        let is_late = self.speed.is_some_and(|speed| late as f64 > MOST_LATE.as_millis() as f64 * speed);
        if is_late || self.speed.is_none() {
            self.set(at, now);
        }
    }

    /// Shows this time from now on.
    pub(super) fn set(&mut self, at: Timestamp, now: Instant) {
        (self.from, self.begun) = (at, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn it_runs_at_its_speed_and_waits_for_a_late_client() {
        let begun = Instant::now();
        let mut clock = ReplayClock::new(noon(), Some(60.0), begun);
        assert_eq!(clock.time_until(noon().plus_millis(30_000), begun), Duration::from_millis(500));
        let later = begun + Duration::from_millis(500);
        assert_eq!(clock.now(later), noon().plus_millis(30_000));
        assert_eq!(clock.time_until(noon(), later), Duration::ZERO);
        // Within what is allowed: a quarter of a second is 15 seconds here.
        clock.plays(noon().plus_millis(16_000), later);
        assert_eq!(clock.now(later), noon().plus_millis(30_000));
        clock.plays(noon().plus_millis(14_000), later);
        assert_eq!(clock.now(later), noon().plus_millis(14_000));
    }

    #[test]
    fn without_a_speed_it_shows_the_time_of_the_last_step() {
        let begun = Instant::now();
        let mut clock = ReplayClock::new(noon(), None, begun);
        let later = begun + Duration::from_secs(9);
        assert_eq!(clock.now(later), noon());
        assert_eq!(clock.time_until(noon().plus_millis(9_000_000), later), Duration::ZERO);
        clock.plays(noon().plus_millis(5), later);
        assert_eq!(clock.now(later), noon().plus_millis(5));
    }
}
