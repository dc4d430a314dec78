//! The pause between two terms of a producer whose steps aren't accepted. Without it, two writers could fence each
//! other off forever.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause, and the longest.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);

/// The back-off that decides when the next term may begin.
#[derive(Debug, Default)]
pub(super) struct FencePause {
    not_before: Option<Instant>,
    pause: Duration,
}

impl FencePause {
    pub(super) fn may_be(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    pub(super) fn begins(&mut self, now: Instant) {
        self.not_before = (!self.pause.is_zero()).then(|| now + self.pause);
        self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
    }

    /// Resets the pause after a step was accepted.
    pub(super) fn has_led(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_lead_to_nothing_begin_less_and_less_often() {
        let (start, mut fence) = (Instant::now(), FencePause::default());
        let mut begun = Vec::new();
        for millis in 0..60_000 {
            let now = start + Duration::from_millis(millis);
            if fence.may_be(now) {
                fence.begins(now);
                begun.push(millis);
            }
        }
        assert_eq!(begun, [0, 1, 251, 751, 1_751, 3_751, 7_751, 15_751, 30_751, 45_751]);
        fence.has_led();
        assert!(fence.may_be(start + Duration::from_secs(60)));
    }
}
