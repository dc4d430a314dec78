//! What a leader knows of its source: which sports there are, when each was polled, what that
//! cost, what went wrong, and therefore when to ask what next and how fresh everything is.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use odds::{BookmakerKey, Credits, FeedState, Region, SportFreshness, SportKey, Status, Timestamp};
use rand::RngExt;
use tracing::{info, warn};

use crate::{
    Answer, Budget, OddsQuery, Source, SourceError, Sport, SportState, intervals, midnight_after, next_poll,
    renewal_after, settings::PollSettings, stale_after,
};

/// How often the list of sports, and the starts of sports without known events, are asked for.
const LIST_INTERVAL: i64 = 60 * 60 * 1000;
const OUTRIGHTS: &str = "outrights";

/// Waits after failures: doubled each time, up to the longest.
const FIRST_BACK_OFF: f64 = 1_000.0;
const LONGEST_BACK_OFF: f64 = 60_000.0;
/// How often it is tried again whether credits were renewed.
const OUT_OF_CREDITS_RETRY: i64 = 10 * 60 * 1000;
/// A market or sport that is refused is asked for again after this.
const REFUSED_RETRY: i64 = 60 * 60 * 1000;
/// When everything has been stale for this long, the feed is down.
const DOWN_AFTER: i64 = 10 * 60 * 1000;

/// What to ask the source next.
#[derive(Clone, Debug)]
pub(crate) enum Errand {
    Sports,
    Odds(OddsQuery),
}

/// What came of an errand.
#[derive(Debug)]
pub(crate) enum Returned {
    Sports(Result<(Vec<Known>, Credits), SourceError>),
    Odds(SportKey, Result<Answer, SourceError>),
}

/// A sport as the source lists it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    sport: Sport,
    starts: Vec<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct Polling {
    region: Region,
    settings: PollSettings,
    source: String,
    sports: Vec<SportState>,
    listed_at: Option<Timestamp>,
    refused_until: BTreeMap<SportKey, Timestamp>,
    freshness: BTreeMap<SportKey, SportFreshness>,
    bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    credits: Credits,
    spent_today: (Timestamp, f64),
    failure: Option<Failure>,
    planned: Vec<(SportKey, i64)>,
}

#[derive(Debug)]
struct Failure {
    reason: String,
    count: i32,
    retry_at: Timestamp,
}

impl Returned {
    pub(crate) fn outcome(&self) -> &'static str {
        let error = match self {
            Self::Sports(Ok(_)) | Self::Odds(_, Ok(_)) => return "ok",
            Self::Sports(Err(error)) | Self::Odds(_, Err(error)) => error,
        };
        match error {
            SourceError::BadKey { .. } => "bad_key",
            SourceError::OutOfCredits(_) => "out_of_credits",
            SourceError::Refused { .. } => "refused",
            SourceError::TooFast { .. } => "too_fast",
            SourceError::Outage(_) => "outage",
        }
    }
}

impl Errand {
    pub(crate) async fn run<S: Source>(self, source: &S, wanted: &[SportKey]) -> Returned {
        match self {
            Self::Sports => Returned::Sports(list(source, wanted).await),
            Self::Odds(query) => Returned::Odds(query.sport.clone(), source.odds(query).await),
        }
    }
}

async fn list<S: Source>(source: &S, wanted: &[SportKey]) -> Result<(Vec<Known>, Credits), SourceError> {
    let (sports, credits) = source.sports().await?;
    let mut known = Vec::new();
    for sport in sports {
        if wanted.is_empty() || wanted.contains(&sport.key) {
            let starts = source.starts(&sport.key).await?;
            known.push(Known { sport, starts });
        }
    }
    Ok((known, credits))
}

impl Polling {
    pub(crate) fn new(region: Region, settings: PollSettings, source: String, now: Timestamp) -> Self {
        Self {
            region,
            settings,
            source,
            sports: Vec::new(),
            listed_at: None,
            refused_until: BTreeMap::new(),
            freshness: BTreeMap::new(),
            bookmakers: BTreeMap::new(),
            credits: Credits::default(),
            spent_today: (midnight_after(now), 0.0),
            failure: None,
            planned: Vec::new(),
        }
    }

    /// Takes over what the topic's last marker says, so that a new leader doesn't begin by polling
    /// everything, nor shows as never polled what was polled a moment ago.
    pub(crate) fn take_over(&mut self, marker: &odds::Marker) {
        if marker.source == self.source {
            self.freshness = marker.sports.clone();
            self.bookmakers = marker.bookmakers.clone();
            self.credits = marker.credits;
        }
    }

    /// The sports to poll; none: all that there are.
    pub(crate) fn wanted(&self) -> &[SportKey] {
        &self.settings.sports
    }

    pub(crate) fn known_sports(&self) -> Option<BTreeSet<SportKey>> {
        self.listed_at.map(|_| self.sports.iter().map(|sport| sport.key.clone()).collect())
    }

    pub(crate) fn credits(&self) -> Credits {
        self.credits
    }

    pub(crate) fn freshness(&self) -> &BTreeMap<SportKey, SportFreshness> {
        &self.freshness
    }

    fn budget(&self, now: Timestamp) -> Budget {
        let (midnight, spent) = self.spent_today;
        let spent = if now >= midnight { 0.0 } else { spent };
        Budget {
            left: self.credits.remaining.map(|left| left * self.settings.credit_share),
            renewal: renewal_after(now),
            today: self.settings.max_credits_per_day.map(|cap| (cap - spent, midnight_after(now))),
        }
    }

    /// The next errand, and when to run it.
    pub(crate) fn next(&self, now: Timestamp) -> Option<(Errand, Timestamp)> {
        let not_before = self.failure.as_ref().map_or(now, |failure| failure.retry_at);
        let list_at = self.listed_at.map_or(now, |at| at.plus_millis(LIST_INTERVAL));
        let list = (Errand::Sports, list_at.max(not_before));
        let refused = |sport: &SportState| self.refused_until.get(&sport.key).is_some_and(|until| *until > now);
        let open: Vec<SportState> =
            self.sports.iter().filter(|sport| !refused(sport)).map(|sport| self.hurried(sport, now)).collect();
        let Some((at, due)) = next_poll(&open, &self.budget(now), now) else {
            return Some(list);
        };
        let wait = due.millis_since(now) as f64 / self.settings.poll_speed;
        let due = now.plus_millis(wait as i64).max(not_before);
        if list.1 <= due {
            return Some(list);
        }
        let sport = &open[at];
        let markets =
            if sport.outrights { vec![OUTRIGHTS.parse().expect("a plain key")] } else { self.settings.markets.clone() };
        let query = OddsQuery { sport: sport.key.clone(), region: self.region, markets, now };
        Some((Errand::Odds(query), due))
    }

    /// As if the time since its last poll had passed faster.
    fn hurried(&self, sport: &SportState, now: Timestamp) -> SportState {
        let passed = |last: Timestamp| now.millis_since(last) as f64 * self.settings.poll_speed;
        let last_polled = sport.last_polled.map(|last| now.plus_millis(-(passed(last) as i64)));
        SportState { last_polled, ..sport.clone() }
    }

    /// Takes what came of an errand. An error that nothing but a person can mend is given back.
    pub(crate) fn returned(&mut self, returned: &Returned, now: Timestamp) -> Result<(), SourceError> {
        let failed = match returned {
            Returned::Sports(Ok((known, credits))) => {
                self.listed(known, now);
                self.take_credits(*credits);
                None
            }
            Returned::Odds(sport, Ok(answer)) => {
                self.polled(sport, answer, now);
                None
            }
            Returned::Sports(Err(error)) => Some((None, error)),
            Returned::Odds(sport, Err(error)) => Some((Some(sport), error)),
        };
        match failed {
            None => {
                if let Some(failure) = &self.failure {
                    // The free list proves nothing about credits.
                    let free = matches!(returned, Returned::Sports(_));
                    if !free {
                        info!(after = failure.count, "the odds API answers again");
                        self.failure = None;
                    }
                }
                self.log_plan(now);
                Ok(())
            }
            Some((_, error @ SourceError::BadKey { .. })) => Err(error.clone()),
            Some((Some(sport), error @ SourceError::Refused { .. })) => {
                warn!(%sport, %error, "this sport is left alone for an hour");
                self.refused_until.insert(sport.clone(), now.plus_millis(REFUSED_RETRY));
                Ok(())
            }
            Some((sport, error)) => {
                self.failed(sport, error, now);
                Ok(())
            }
        }
    }

    fn failed(&mut self, sport: Option<&SportKey>, error: &SourceError, now: Timestamp) {
        let count = self.failure.as_ref().map_or(0, |failure| failure.count) + 1;
        let doubled = (FIRST_BACK_OFF * 2f64.powi(count.min(10) - 1)).min(LONGEST_BACK_OFF);
        let jittered = doubled * rand::rng().random_range(0.5..1.0);
        let wait = match error {
            SourceError::TooFast { retry_after: Some(wait) } => millis(*wait).max(jittered as i64),
            SourceError::OutOfCredits(credits) => {
                self.take_credits(*credits);
                self.credits.remaining = self.credits.remaining.map(|left| left.min(0.0)).or(Some(0.0));
                OUT_OF_CREDITS_RETRY.min(renewal_after(now).millis_since(now).max(1_000))
            }
            _ => jittered as i64,
        };
        warn!(sport = sport.map(tracing::field::display), %error, retry_in_ms = wait, "a poll failed");
        self.failure = Some(Failure { reason: error.to_string(), count, retry_at: now.plus_millis(wait) });
    }

    fn listed(&mut self, known: &[Known], now: Timestamp) {
        self.listed_at = Some(now);
        let before = std::mem::take(&mut self.sports);
        for Known { sport, starts } in known {
            let last_polled = before
                .iter()
                .find(|known| known.key == sport.key)
                .and_then(|known| known.last_polled)
                .or_else(|| self.freshness.get(&sport.key).map(|it| it.polled_at));
            let markets = if sport.outrights { 1 } else { self.settings.markets.len() };
            self.sports.push(SportState {
                key: sport.key.clone(),
                outrights: sport.outrights,
                starts: starts.clone(),
                last_polled,
                cost: markets as f64,
            });
        }
        for wanted in &self.settings.sports {
            if known.iter().all(|known| known.sport.key != *wanted) {
                warn!(sport = %wanted, "the odds API has no such sport in season");
            }
        }
        let current: BTreeSet<&SportKey> = self.sports.iter().map(|sport| &sport.key).collect();
        self.freshness.retain(|sport, _| current.contains(sport));
    }

    fn polled(&mut self, sport: &SportKey, answer: &Answer, now: Timestamp) {
        let budget = self.budget(now);
        let before = self.credits.remaining;
        self.take_credits(answer.credits);
        let spent = if answer.events.is_empty() { 0.0 } else { self.cost_of(sport) };
        if now >= self.spent_today.0 {
            self.spent_today = (midnight_after(now), 0.0);
        }
        self.spent_today.1 += spent;
        if answer.credits.remaining.is_none() {
            self.credits.remaining = before.map(|before| before - spent);
        }
        for (bookmaker, seen) in &answer.bookmakers {
            let newest = self.bookmakers.entry(bookmaker.clone()).or_insert(*seen);
            *newest = (*newest).max(*seen);
        }
        let Some(at) = self.sports.iter().position(|known| known.key == *sport) else { return };
        let state = &mut self.sports[at];
        state.last_polled = Some(now);
        state.starts = answer.events.iter().map(|(_, image)| image.details.commence_time).collect();
        let interval = intervals(&self.sports, &budget, now)[at].unwrap_or(0);
        let fresh_for = stale_after(&self.sports[at], interval, now).millis_since(now) as f64;
        let stale_after = now.plus_millis((fresh_for / self.settings.poll_speed) as i64);
        self.freshness.insert(sport.clone(), SportFreshness { polled_at: now, stale_after });
    }

    fn cost_of(&self, sport: &SportKey) -> f64 {
        self.sports.iter().find(|known| known.key == *sport).map_or(0.0, |known| known.cost)
    }

    fn take_credits(&mut self, credits: Credits) {
        self.credits.remaining = credits.remaining.or(self.credits.remaining);
        self.credits.used = credits.used.or(self.credits.used);
    }

    /// Says at the start, and when it changes much, how often each sport will be polled.
    fn log_plan(&mut self, now: Timestamp) {
        let intervals = intervals(&self.sports, &self.budget(now), now);
        let plan: Vec<(SportKey, i64)> = self
            .sports
            .iter()
            .zip(intervals)
            .filter_map(|(sport, interval)| Some((sport.key.clone(), interval? / 1000)))
            .collect();
        for (sport, seconds) in &plan {
            let before = self.planned.iter().find(|(key, _)| key == sport).map(|(_, seconds)| *seconds);
            if before.is_none_or(|before| *seconds > before * 2 || *seconds * 2 < before) {
                info!(%sport, every_seconds = seconds, credits = self.credits.remaining, "poll plan");
            }
        }
        let kept = |(sport, seconds): (SportKey, i64)| {
            let before = self.planned.iter().find(|(key, _)| *key == sport).map(|(_, seconds)| *seconds);
            let seconds = before.filter(|before| seconds <= before * 2 && seconds * 2 >= *before).unwrap_or(seconds);
            (sport, seconds)
        };
        self.planned = plan.into_iter().map(kept).collect();
    }

    /// How the feed stands now, and why. A sport that is merely late says so by its own freshness.
    pub(crate) fn state(&self, now: Timestamp) -> (FeedState, Option<&str>) {
        let over = |it: &SportFreshness, grace: i64| it.stale_after.plus_millis(grace) < now;
        let trouble = self.trouble(now);
        if self.freshness.is_empty() {
            (FeedState::Down, trouble.or(Some("nothing polled yet")))
        } else if trouble.is_none() || self.freshness.values().all(|it| !over(it, 0)) {
            (FeedState::Live, None)
        } else if self.freshness.values().all(|it| over(it, DOWN_AFTER)) {
            (FeedState::Down, trouble)
        } else {
            (FeedState::Stale, trouble)
        }
    }

    /// What keeps polls from being made, if anything does.
    fn trouble(&self, now: Timestamp) -> Option<&str> {
        if let Some(failure) = &self.failure {
            return Some(&failure.reason);
        }
        let Budget { left, today, .. } = self.budget(now);
        let dearest = self.sports.iter().map(|sport| sport.cost).max_by(f64::total_cmp)?;
        if left.is_some_and(|left| left < dearest) {
            Some("this producer's share of the credits is used up until they are renewed")
        } else if today.is_some_and(|(left, _)| left < dearest) {
            Some("what may be spent of credits today is used up")
        } else {
            None
        }
    }

    /// What a marker says now.
    pub(crate) fn status(&self, now: Timestamp, next_by: Timestamp) -> Status {
        let (state, reason) = self.state(now);
        Status {
            at: now,
            next_by,
            state,
            reason: reason.map(str::to_owned),
            source: self.source.clone(),
            credits: self.credits,
            sports: self.freshness.clone(),
            bookmakers: self.bookmakers.clone(),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
