//! A clock that never goes back and doesn't follow jumps of the system's clock at once.

use std::time::Duration;

use odds::Timestamp;
use tokio::time::Instant;

/// By which share of the elapsed time the clock is moved towards the system's.
const CORRECTION: f64 = 0.1;

/// Starts with the system's clock and then counts the elapsed time. If the two differ, it goes a little faster or
/// slower, so that a wrong clock that was corrected is forgotten in time.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    system: fn() -> Timestamp,
    last: Timestamp,
    read_at: Instant,
}

impl SteadyClock {
    pub(crate) fn new(system: fn() -> Timestamp) -> Self {
        Self { system, last: system(), read_at: Instant::now() }
    }

    pub(crate) fn now(&mut self) -> Timestamp {
        let elapsed = self.read_at.elapsed();
        let next = corrected(self.last, elapsed, (self.system)());
        // What is less than a millisecond is counted the next time.
        if next > self.last {
            self.last = next;
            self.read_at += elapsed;
        }
        self.last
    }
}

fn corrected(last: Timestamp, elapsed: Duration, system: Timestamp) -> Timestamp {
    let elapsed = elapsed.as_millis() as i64;
    let most = (elapsed as f64 * CORRECTION).ceil() as i64;
    let expected = last.plus_millis(elapsed);
    expected.plus_millis(system.millis_since(expected).clamp(-most, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_jump_of_the_systems_clock_is_followed_slowly_and_never_back() {
        let second = Duration::from_secs(1);
        assert_eq!(corrected(at(100), second, at(101)), at(101));
        let ahead = corrected(at(100), second, at(3_600));
        let behind = corrected(at(100), second, at(-3_600));
        assert_eq!((ahead.as_millis(), behind.as_millis()), (101_100, 100_900));
        let mut now = at(0);
        // An hour ahead, and then right again.
        for second in 1..=10 {
            now = corrected(now, Duration::from_secs(1), at(second + 3_600));
        }
        assert_eq!(now, at(11));
        for second in 11..=30 {
            now = corrected(now, Duration::from_secs(1), at(second));
        }
        assert_eq!(now, at(30));
    }
}
