//! The remaining credits, with a check against false reports from the source.

use odds::{Credits, Timestamp};
use tracing::warn;

use super::pace::Pace;

/// While credits don't pay for every sport, free requests check them. The interval in milliseconds starts at twice the
/// first of these and doubles with each outcome that finds too few, up to the longest.
const FIRST_CHECK: i64 = 60 * 1000;
pub(super) const LONGEST_CHECK: i64 = 10 * 60 * 1000;

/// What the source reported about credits.
#[derive(Debug)]
pub(super) struct CreditReports {
    credits: Credits,
    /// Remaining credits in a doubtful report, which is believed if the next report confirms it.
    doubted: Option<f64>,
    reported_at: Timestamp,
    /// Outcomes in a row with too few credits for some poll.
    checks: u32,
}

impl CreditReports {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { credits: Credits::default(), doubted: None, reported_at: now, checks: 0 }
    }

    pub(super) fn credits(&self) -> Credits {
        self.credits
    }

    /// When the credits were last reported.
    pub(super) fn reported_at(&self) -> Timestamp {
        self.reported_at
    }

    /// Takes over what was reported to a former leader.
    pub(super) fn take_over(&mut self, credits: Credits, reported_at: Timestamp) {
        self.credits = credits;
        self.reported_at = reported_at;
    }

    /// Takes the report of a call with this cost. A loss of more than half of the credits is believed only when a
    /// second report confirms it.
    pub(super) fn report(&mut self, reported: Credits, cost: f64, now: Timestamp) {
        self.credits.used = reported.used.or(self.credits.used);
        let expected = self.credits.remaining.map(|left| left - cost);
        let Some(left) = reported.remaining else {
            self.credits.remaining = expected;
            return;
        };
        let is_collapse = |left: f64| expected.is_some_and(|expected| left < expected / 2.0);
        if is_collapse(left) && !self.doubted.is_some_and(is_collapse) {
            warn!(left, ?expected, "the odds API reports far fewer credits: ignored unless reported again");
            self.doubted = Some(left);
            self.credits.remaining = expected;
            return;
        }
        self.doubted = None;
        self.credits.remaining = Some(left);
        self.reported_at = now;
    }

    /// Takes the report of a free request for the credits.
    pub(super) fn checked(&mut self, reported: Credits, now: Timestamp) {
        self.report(reported, 0.0, now);
        self.reported_at = now;
    }

    /// Notes that the source refused a call because the credits are used up.
    pub(super) fn used_up(&mut self, reported: Credits, now: Timestamp) {
        self.credits.used = reported.used.or(self.credits.used);
        self.credits.remaining = Some(reported.remaining.map_or(0.0, |left| left.min(0.0)));
        self.reported_at = now;
    }

    /// Counts outcomes in a row with too few credits.
    pub(super) fn count_check(&mut self, too_few: bool) {
        self.checks = if too_few { self.checks + 1 } else { 0 };
    }

    pub(super) fn next_check(&self, pace: Pace) -> Timestamp {
        let wait = FIRST_CHECK.saturating_mul(1 << self.checks.min(10));
        self.reported_at.plus_millis(pace.wait(wait.min(LONGEST_CHECK)))
    }
}
