//! Estimates how much a client can be sent at a time without delaying its pings too long.

use std::time::Duration;

use tokio::time::Instant;

/// The longest time that a client should need to receive what is sent at once, if the answers to pings may take longer.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many times as long an update may take that spares the client a whole board.
const MORE_PATIENCE: u32 = 4;
const LEAST_AT_ONCE: usize = 4_096;
/// A larger update is sent as a snapshot in parts, even to fast clients.
const MOST_AT_ONCE: usize = 1 << 20;
/// The first estimate, in bytes a second.
const AT_FIRST: f64 = 8_192.0;

/// An estimate of a client's throughput. It doubles only when the client took so many bytes so fast that buffers on the
/// way can't explain it. It falls to the measured speed when a frame had to be waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throughput {
    /// Bytes a second.
    speed: f64,
    /// How long the client may need to receive what is sent at once.
    patience: Duration,
    /// The beginning of the current measurement, and the bytes that the client has taken since.
    since: Instant,
    bytes: usize,
}

impl Throughput {
    /// The estimate of a new client, which answers pings within `ping_timeout`. A ping waits for what was sent before it,
    /// even for the largest update, and a fifth of that time is left for its own way. Only where that would be less than
    /// `LEAST_AT_ONCE`, more is sent.
    pub(crate) fn new(ping_timeout: Duration, now: Instant) -> Self {
        let patience = PATIENCE.min(ping_timeout / (MORE_PATIENCE + 1));
        Self { speed: AT_FIRST, patience, since: now, bytes: 0 }
    }

    /// Notes that the network accepted these bytes without anything waiting for them.
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
        } else if elapsed > self.patience {
            self.bytes = 0;
        }
    }

    /// Notes that the network accepted these bytes only after something else had to wait for them. If most of the bytes
    /// went into a buffer, the wait is short, so such a measurement can lower the estimate but not raise it directly.
    pub(crate) fn kept_waiting(&mut self, bytes: usize, sent: Instant, now: Instant) {
        let measured = bytes as f64 / now.saturating_duration_since(sent).as_secs_f64().max(0.001);
        if measured < self.speed {
            self.speed = measured;
            self.bytes = 0;
        } else {
            self.took(bytes, sent, now);
        }
    }

    /// How many bytes to send at once. It is a power of two, so that clients of about the same speed share frames.
    pub(crate) fn at_once(&self) -> usize {
        let bytes = (self.speed * self.patience.as_secs_f64()).clamp(LEAST_AT_ONCE as f64, MOST_AT_ONCE as f64);
        1 << (bytes as usize).ilog2()
    }

    /// How large an update may be that spares the client a whole board. Its ping comes late, but not too late.
    pub(crate) fn instead_of_a_board(&self) -> usize {
        (self.at_once() * MORE_PATIENCE as usize).min(MOST_AT_ONCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);
    const PING_TIMEOUT: Duration = Duration::from_secs(20);

    #[test]
    fn who_takes_much_at_once_is_soon_trusted_with_more() {
        let mut now = Instant::now();
        let mut throughput = Throughput::new(PING_TIMEOUT, now);
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
    fn an_update_that_spares_a_board_may_be_larger() {
        let now = Instant::now();
        let mut throughput = Throughput::new(PING_TIMEOUT, now);
        assert_eq!(throughput.instead_of_a_board(), 131_072);
        throughput.kept_waiting(2_100, now, now + Duration::from_secs(1));
        assert_eq!(throughput.instead_of_a_board(), 32_768);
    }

    #[test]
    fn a_client_that_must_answer_sooner_gets_less_at_once() {
        let now = Instant::now();
        let mut throughput = Throughput::new(Duration::from_secs(5), now);
        assert_eq!((throughput.at_once(), throughput.instead_of_a_board()), (8_192, 32_768));
        throughput.kept_waiting(32_768, now, now + Duration::from_secs(4));
        assert!(throughput.instead_of_a_board() <= 32_768, "a ping would wait for more than four seconds");
        let patient = Throughput::new(Duration::from_secs(3_600), now);
        assert_eq!(patient.at_once(), 32_768, "odds should not be late, whatever a ping may be");
    }

    #[test]
    fn small_frames_prove_nothing() {
        let mut now = Instant::now();
        let mut throughput = Throughput::new(PING_TIMEOUT, now);
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
            let mut throughput = Throughput::new(PING_TIMEOUT, now);
            throughput.kept_waiting(speed, now, now + Duration::from_secs(1));
            assert_eq!(throughput.at_once(), bytes, "at {speed} bytes a second");
        }
    }

    #[test]
    fn a_moment_of_waiting_is_no_proof_of_speed() {
        let mut now = Instant::now();
        let mut throughput = Throughput::new(PING_TIMEOUT, now);
        throughput.kept_waiting(8_192, now, now + Duration::from_secs(4));
        for _ in 0..3 {
            throughput.kept_waiting(1_000, now, now + MOMENT);
            now += MOMENT;
        }
        assert_eq!(throughput.at_once(), 8_192);
    }
}
