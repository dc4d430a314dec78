//! Failed requests: of the source as a whole, and of single sports. When to try again, and the reason to publish.

use std::{collections::BTreeMap, time::Duration};

use odds::{SportKey, Timestamp};
use rand::RngExt;
use tracing::{info, warn};

use super::{credits, pace::Pace, renewal_after};
use crate::source::{RetryAfter, SourceError};

/// Waits after failures: doubled each time, up to the longest.
const FIRST_BACK_OFF: f64 = 1_000.0;
const LONGEST_BACK_OFF: f64 = 60_000.0;
/// The source is tried again after this, however long it asks to be left alone.
pub(super) const LONGEST_RETRY_AFTER: i64 = 10 * 60 * 1000;
/// A sport that is refused, or whose answer can't be read, is tried again after this, doubled each time up to the
/// longest. In play it doesn't wait for so long.
const FIRST_REFUSED_RETRY: i64 = 60 * 1000;
const LONGEST_REFUSED_RETRY: i64 = 60 * 60 * 1000;
pub(super) const LONGEST_REFUSED_RETRY_IN_PLAY: i64 = 2 * 60 * 1000;
/// The longest reason, in characters.
const MAX_REASON: usize = 300;

#[derive(Debug)]
pub(super) struct Troubles {
    pace: Pace,
    pub(super) source: Option<SourceTrouble>,
    pub(super) sports: BTreeMap<SportKey, SportTrouble>,
}

/// Requests fail, whatever they ask for.
#[derive(Debug)]
pub(super) struct SourceTrouble {
    pub(super) reason: String,
    count: i32,
    pub(super) retry_at: Timestamp,
    /// It takes longer than it takes to notice that one poll failed.
    is_long: bool,
}

/// Polls of one sport fail.
#[derive(Debug)]
pub(super) struct SportTrouble {
    reason: String,
    count: i32,
    pub(super) retry_at: Timestamp,
    /// The source answers, but not with this sport's odds.
    is_refusal: bool,
}

impl Troubles {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, source: None, sports: BTreeMap::new() }
    }

    /// Nothing may be requested before then.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.source.as_ref().map(|trouble| trouble.retry_at)
    }

    /// Until when this sport is not polled, if that is yet to come.
    pub(super) fn waits_until(&self, sport: &SportKey, now: Timestamp) -> Option<Timestamp> {
        self.sports.get(sport).map(|trouble| trouble.retry_at).filter(|until| *until > now)
    }

    /// The sport's odds came.
    pub(super) fn resolved(&mut self, sport: &SportKey) {
        if let Some(trouble) = self.source.take() {
            info!(after = trouble.count, "the odds API answers again");
        }
        self.sports.remove(sport);
    }

    pub(super) fn keep_sports(&mut self, is_known: impl Fn(&SportKey) -> bool) {
        self.sports.retain(|sport, _| is_known(sport));
    }

    /// A request failed: for a sport's odds, if one is given.
    pub(super) fn failed(&mut self, sport: Option<&SportKey>, in_play: bool, error: &SourceError, now: Timestamp) {
        let is_refusal = matches!(error, SourceError::Refused { .. } | SourceError::WrongFormat { .. });
        if let Some(sport) = sport.filter(|_| is_refusal || matches!(error, SourceError::Outage { .. })) {
            self.sport_failed(sport, in_play, error, is_refusal, now);
            if is_refusal {
                // The source works: other sports are polled as usual.
                self.source = None;
                return;
            }
        }
        let count = self.source.as_ref().map_or(0, |trouble| trouble.count) + 1;
        let jittered = self.pace.wait(back_off(count));
        let longest = self.pace.wait(LONGEST_RETRY_AFTER);
        let wait = match (error, error.retry_after()) {
            (SourceError::OutOfCredits(_), _) => {
                self.pace.wait(credits::LONGEST_CHECK).min(renewal_after(now).millis_since(now).max(1_000))
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

    /// One sport that always fails must not keep others from being polled.
    fn sport_failed(&mut self, sport: &SportKey, in_play: bool, error: &SourceError, is_refusal: bool, now: Timestamp) {
        let count = self.sports.get(sport).map_or(0, |trouble| trouble.count) + 1;
        let longest = if in_play { LONGEST_REFUSED_RETRY_IN_PLAY } else { LONGEST_REFUSED_RETRY };
        let wait = match is_refusal {
            true => (FIRST_REFUSED_RETRY << (count - 1).min(10)).min(longest),
            false => back_off(count),
        };
        if is_refusal {
            warn!(%sport, %error, retry_in_ms = wait, "a sport's odds are refused or can't be read: it waits");
        }
        let retry_at = now.plus_millis(self.pace.wait(wait));
        let reason = short(&format!("{sport}: {error}"));
        self.sports.insert(sport.clone(), SportTrouble { reason, count, retry_at, is_refusal });
    }

    /// The reason to publish, and whether it lasts.
    pub(super) fn reason(&self) -> Option<(String, bool)> {
        if let Some(trouble) = &self.source {
            return Some((trouble.reason.clone(), trouble.is_long));
        }
        let worst = self.sports.values().max_by_key(|it| (it.is_refusal, it.count))?;
        Some((worst.reason.clone(), worst.is_refusal || worst.count > 1))
    }
}

/// Doubled each time, up to the longest, and with jitter.
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
