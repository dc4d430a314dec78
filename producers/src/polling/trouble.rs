//! Failures of the source as a whole and of single sports: when to retry, and the reason to publish.

use std::{collections::BTreeMap, time::Duration};

use odds::{SportKey, Timestamp};
use rand::RngExt;
use tracing::{info, warn};

use super::{credits, pace::Pace};
use crate::source::{RetryAfter, SourceError};

/// Waits after failures in milliseconds, doubled each time up to the longest.
const FIRST_BACK_OFF: f64 = 1_000.0;
const LONGEST_BACK_OFF: f64 = 60_000.0;
/// The longest wait that the source can impose with `Retry-After`, in milliseconds.
pub(super) const LONGEST_RETRY_AFTER: i64 = 10 * 60 * 1000;
/// Waits after a sport is refused or its answer can't be read, in milliseconds, doubled each time up to the longest. In
/// play, the longest wait is shorter.
const FIRST_REFUSED_RETRY: i64 = 60 * 1000;
const LONGEST_REFUSED_RETRY: i64 = 60 * 60 * 1000;
pub(super) const LONGEST_REFUSED_RETRY_IN_PLAY: i64 = 2 * 60 * 1000;
/// The longest published reason, in characters.
const MAX_REASON: usize = 300;

/// The failures that are not resolved yet.
#[derive(Debug)]
pub(super) struct Troubles {
    pace: Pace,
    pub(super) source: Option<SourceTrouble>,
    pub(super) sports: BTreeMap<SportKey, SportTrouble>,
}

/// A failure of the source as a whole.
#[derive(Debug)]
pub(super) struct SourceTrouble {
    pub(super) reason: String,
    count: i32,
    pub(super) retry_at: Timestamp,
    /// More than one request failed in a row, or the wait is longer than any back-off.
    is_long: bool,
}

/// A failure to poll one sport.
#[derive(Debug)]
pub(super) struct SportTrouble {
    reason: String,
    count: i32,
    pub(super) retry_at: Timestamp,
    /// The source answers, but refuses the sport or sends an unreadable answer.
    is_refusal: bool,
}

impl Troubles {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, source: None, sports: BTreeMap::new() }
    }

    /// The earliest time for the next request of any kind.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.source.as_ref().map(|trouble| trouble.retry_at)
    }

    /// Returns until when this sport is not polled, if that time is in the future.
    pub(super) fn waits_until(&self, sport: &SportKey, now: Timestamp) -> Option<Timestamp> {
        self.sports.get(sport).map(|trouble| trouble.retry_at).filter(|until| *until > now)
    }

    /// Notes that a sport's odds arrived.
    pub(super) fn resolved(&mut self, sport: &SportKey) {
        if let Some(trouble) = self.source.take() {
            info!(after = trouble.count, "the odds API answers again");
        }
        self.sports.remove(sport);
    }

    pub(super) fn keep_sports(&mut self, is_known: impl Fn(&SportKey) -> bool) {
        self.sports.retain(|sport, _| is_known(sport));
    }

    /// Notes that a request failed. `sport` is set if it was for a sport's odds. `renewal` is when the credits are
    /// renewed.
    pub(super) fn failed(
        &mut self,
        sport: Option<&SportKey>,
        in_play: bool,
        error: &SourceError,
        renewal: Timestamp,
        now: Timestamp,
    ) {
        let is_refusal = matches!(error, SourceError::Refused { .. } | SourceError::WrongFormat { .. });
        if let Some(sport) = sport.filter(|_| is_refusal || matches!(error, SourceError::Outage { .. })) {
            self.sport_failed(sport, in_play, error, is_refusal, now);
            if is_refusal {
                // The source itself works: other sports are polled as usual.
                self.source = None;
                return;
            }
        }
        let count = self.source.as_ref().map_or(0, |trouble| trouble.count) + 1;
        let jittered = self.pace.wait(back_off(count));
        let longest = self.pace.wait(LONGEST_RETRY_AFTER);
        let wait = match (error, error.retry_after()) {
            (SourceError::OutOfCredits { .. }, _) => {
                self.pace.wait(credits::LONGEST_CHECK).min(renewal.millis_since(now).max(1_000))
            }
            (_, Some(RetryAfter::In(wait))) => millis(wait).min(longest).max(jittered),
            (_, Some(RetryAfter::At(at))) => at.millis_since(now).min(longest).max(jittered),
            (_, None) => jittered,
        };
        warn!(sport = sport.map(tracing::field::display), %error, retry_in_ms = wait, "a poll failed");
        let is_long = count > 1 || wait > self.pace.wait(LONGEST_BACK_OFF as i64);
        self.source =
            Some(SourceTrouble { reason: short(&error.to_string()), count, retry_at: now.plus_millis(wait), is_long });
    }

    /// Delays polls of one sport, so that a sport that always fails doesn't keep others from being polled.
    fn sport_failed(&mut self, sport: &SportKey, in_play: bool, error: &SourceError, is_refusal: bool, now: Timestamp) {
        let count = self.sports.get(sport).map_or(0, |trouble| trouble.count) + 1;
        let longest = if in_play { LONGEST_REFUSED_RETRY_IN_PLAY } else { LONGEST_REFUSED_RETRY };
        let wait = match is_refusal {
            true => (FIRST_REFUSED_RETRY << (count - 1).min(10)).min(longest),
            false => back_off(count),
        };
        if is_refusal {
            warn!(%sport, %error, retry_in_ms = wait, "a sport's odds are refused or can't be read: retrying later");
        }
        let retry_at = now.plus_millis(self.pace.wait(wait));
        let reason = short(&format!("{sport}: {error}"));
        self.sports.insert(sport.clone(), SportTrouble { reason, count, retry_at, is_refusal });
    }

    /// Returns the reason to publish, and whether the trouble lasts.
    pub(super) fn reason(&self) -> Option<(String, bool)> {
        if let Some(trouble) = &self.source {
            return Some((trouble.reason.clone(), trouble.is_long));
        }
        let worst = self.sports.values().max_by_key(|it| (it.is_refusal, it.count))?;
        Some((worst.reason.clone(), worst.is_refusal || worst.count > 1))
    }
}

/// Returns the wait after so many failures, with jitter.
fn back_off(count: i32) -> i64 {
    let doubled = (FIRST_BACK_OFF * 2f64.powi(count.clamp(1, 10) - 1)).min(LONGEST_BACK_OFF);
    (doubled * rand::rng().random_range(0.5..1.0)) as i64
}

fn short(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
