//! How much a client can be sent at a time without a ping waiting too long behind it.

use std::time::Duration;

use tokio::time::Instant;

/// What is sent at once should not take a client longer.
const PATIENCE: Duration = Duration::from_secs(4);
const LEAST_AT_ONCE: usize = 4_096;
/// An update that takes more than this is sent as a snapshot, in parts, whoever takes it.
const MOST_AT_ONCE: usize = 1 << 20;
/// Bytes a second that are believed of a stranger.
const AT_FIRST: f64 = 8_192.0;

/// What a client is believed to take. Belief grows by doubling, and only when so much was taken so
/// fast that buffers on the way don't explain it; one frame that had to be waited for shows how slow
/// the client really is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throughput {
    /// Bytes a second.
    speed: f64,
    /// What was taken since, without waiting.
    since: Instant,
    bytes: usize,
}

impl Throughput {
    pub(crate) fn new(now: Instant) -> Self {
        Self { speed: AT_FIRST, since: now, bytes: 0 }
    }

    /// So many bytes, sent at this time, are taken now.
    pub(crate) fn took(&mut self, bytes: usize, sent: Instant, now: Instant) {
        if self.bytes == 0 {
            self.since = sent;
        }
        self.bytes += bytes;
        let elapsed = now.saturating_duration_since(self.since);
        if self.bytes >= self.at_once() {
            if self.bytes as f64 >= elapsed.as_secs_f64() * self.speed * 2.0 {
                self.speed = (self.speed * 2.0).min(MOST_AT_ONCE as f64);
            }
            self.bytes = 0;
        } else if elapsed > PATIENCE {
            self.bytes = 0;
        }
    }

    /// The same, and something else had to wait for it. The last bytes of a frame may wait for a moment
    /// only, when the others went into a buffer: that shows how slow a client is, not how fast.
    pub(crate) fn kept_waiting(&mut self, bytes: usize, sent: Instant, now: Instant) {
        let measured = bytes as f64 / now.saturating_duration_since(sent).as_secs_f64().max(0.001);
        if measured < self.speed {
            self.speed = measured;
            self.bytes = 0;
        } else {
            self.took(bytes, sent, now);
        }
    }

    /// How much to send at once: few different sizes, so that clients of about the same speed share
    /// what is made.
    pub(crate) fn at_once(&self) -> usize {
        let bytes = (self.speed * PATIENCE.as_secs_f64()).clamp(LEAST_AT_ONCE as f64, MOST_AT_ONCE as f64);
        1 << (bytes as usize).ilog2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);

    #[test]
    fn who_takes_much_at_once_is_soon_trusted_with_more() {
        let mut now = Instant::now();
        let mut throughput = Throughput::new(now);
        assert_eq!(throughput.at_once(), 32_768);
        let mut taken = 0;
        while throughput.at_once() < MOST_AT_ONCE {
            throughput.took(8_192, now, now + MOMENT);
            taken += 8_192;
            now += MOMENT;
        }
        assert!(taken <= 2 * MOST_AT_ONCE, "after {taken} bytes");
    }

    #[test]
    fn small_frames_prove_nothing() {
        let mut now = Instant::now();
        let mut throughput = Throughput::new(now);
        throughput.kept_waiting(8_192, now, now + Duration::from_secs(4));
        let slow = throughput.at_once();
        for _ in 0..100_000 {
            throughput.took(200, now, now + MOMENT);
            now += Duration::from_millis(100);
        }
        assert_eq!((throughput.at_once(), slow), (8_192, 8_192));
    }

    #[test]
    fn who_had_to_be_waited_for_gets_what_it_takes_in_a_few_seconds() {
        for (speed, bytes) in [(1, 4_096), (2_100, 8_192), (5_000, 16_384)] {
            let now = Instant::now();
            let mut throughput = Throughput::new(now);
            throughput.kept_waiting(speed, now, now + Duration::from_secs(1));
            assert_eq!(throughput.at_once(), bytes, "at {speed} bytes a second");
        }
    }

    #[test]
    fn a_moment_of_waiting_is_no_proof_of_speed() {
        let mut now = Instant::now();
        let mut throughput = Throughput::new(now);
        throughput.kept_waiting(8_192, now, now + Duration::from_secs(4));
        for _ in 0..3 {
            throughput.kept_waiting(1_000, now, now + MOMENT);
            now += MOMENT;
        }
        assert_eq!(throughput.at_once(), 8_192);
    }
}
