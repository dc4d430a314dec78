//! When a region's next tick is due, and how late it is.

use std::time::Duration;

use tokio::time::Instant;

/// The time of a region's next tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// When the change had been read and the previous tick was long enough ago. Lateness is measured from here, so a
    /// tick is also late if the previous one took too long.
    pub(crate) wanted: Instant,
    /// When the tick is scheduled: never in the past, so that ticks keep their distance.
    pub(crate) at: Instant,
}

impl Due {
    /// Returns when a change that was read at `read_at` is sent, at least `distance` after the last tick.
    pub(crate) fn after(last: Option<Instant>, distance: Duration, read_at: Instant, now: Instant) -> Self {
        let wanted = last.map_or(read_at, |last| read_at.max(last + distance));
        Self { wanted, at: wanted.max(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn what_comes_while_a_tick_overruns_is_late() {
        let begin = Instant::now();
        let ms = |millis| begin + Duration::from_millis(millis);
        // The first took 250 ms.
        let due = Due::after(Some(ms(0)), TICK, ms(10), ms(250));
        assert_eq!(due, Due { wanted: ms(100), at: ms(250) });
        let due = Due::after(Some(ms(0)), TICK, ms(200), ms(250));
        assert_eq!(due, Due { wanted: ms(200), at: ms(250) });
        // And keeps its distance.
        assert_eq!(Due::after(Some(due.at), TICK, ms(251), ms(251)).at, ms(350));
    }

    #[test]
    fn what_waits_for_the_tick_is_not_late() {
        let begin = Instant::now();
        let ms = |millis| begin + Duration::from_millis(millis);
        let due = Due::after(Some(ms(0)), TICK, ms(30), ms(31));
        assert_eq!((due.wanted, due.at), (ms(100), ms(100)));
        let due = Due::after(None, TICK, ms(30), ms(30));
        assert_eq!((due.wanted, due.at), (ms(30), ms(30)));
    }
}
