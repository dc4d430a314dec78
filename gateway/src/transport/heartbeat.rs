//! Pings and pongs of one client, by either transport. Engine.IO's own are not used: they go through the queue of each
//! session, which keeps twice the memory once 32 packets went through it.

use std::time::Duration;

use tokio::time::Instant;

/// How often a client is pinged, and how long it has to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeartbeatTimes {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// What is to be done about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Ping,
    /// It has not answered in time.
    Lost,
}

#[derive(Debug)]
pub(super) struct Heartbeat {
    times: HeartbeatTimes,
    /// When it was pinged last, or its connection began.
    since: Instant,
    /// Whether an answer is to come.
    waits: bool,
}

impl Heartbeat {
    pub(super) fn begin(times: HeartbeatTimes, now: Instant) -> Self {
        Self { times, since: now, waits: false }
    }

    /// When something may be due.
    pub(super) fn due_at(&self) -> Instant {
        self.since + if self.waits { self.times.timeout } else { self.times.interval }
    }

    /// Returns what is due now. A ping counts as sent.
    pub(super) fn beat(&mut self, now: Instant) -> Option<Beat> {
        if now < self.due_at() {
            return None;
        }
        if self.waits {
            return Some(Beat::Lost);
        }
        (self.since, self.waits) = (now, true);
        Some(Beat::Ping)
    }

    /// Notes an answer. One that nobody waits for changes nothing.
    pub(super) fn pong(&mut self) {
        self.waits = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_answers_is_pinged_again_and_one_that_does_not_is_lost() {
        let times = HeartbeatTimes { interval: Duration::from_secs(25), timeout: Duration::from_secs(20) };
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut heartbeat = Heartbeat::begin(times, began);
        heartbeat.pong();
        assert_eq!(heartbeat.beat(at(24)), None, "a pong that nobody asked for");
        assert_eq!(heartbeat.beat(at(25)), Some(Beat::Ping));
        heartbeat.pong();
        assert_eq!((heartbeat.beat(at(49)), heartbeat.due_at()), (None, at(50)));
        assert_eq!(heartbeat.beat(at(51)), Some(Beat::Ping));
        assert_eq!(heartbeat.beat(at(70)), None);
        assert_eq!(heartbeat.beat(at(71)), Some(Beat::Lost));
    }
}
