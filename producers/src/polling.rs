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
    Answer, Budget, Nearness, OddsQuery, RetryAfter, Source, SourceError, Sport, SportState, Unreadable, intervals,
    midnight_after, next_poll, renewal_after, settings::PollSettings, spending::Spending, stale_after,
};

/// How often the list of sports, and the starts of sports without known events, are asked for.
const LIST_INTERVAL: i64 = 60 * 60 * 1000;
const OUTRIGHTS: &str = "outrights";

/// Waits after failures: doubled each time, up to the longest.
const FIRST_BACK_OFF: f64 = 1_000.0;
const LONGEST_BACK_OFF: f64 = 60_000.0;
/// However long upstream wants to be left alone, it is asked again after this.
const LONGEST_RETRY_AFTER: i64 = 10 * 60 * 1000;
/// How often it is tried again whether credits were renewed, and first.
const OUT_OF_CREDITS_RETRY: i64 = 10 * 60 * 1000;
const FIRST_CREDITS_CHECK: i64 = 60 * 1000;
/// A sport that is refused, or answered in another format, is asked for again after this, doubled each time up
/// to the longest; in play it doesn't wait for so long.
const FIRST_REFUSED_RETRY: i64 = 60 * 1000;
const LONGEST_REFUSED_RETRY: i64 = 60 * 60 * 1000;
const LONGEST_REFUSED_RETRY_IN_PLAY: i64 = 2 * 60 * 1000;
/// What a list lacks is believed to be gone when the next list lacks it too; that is asked for after this.
const LIST_RETRY: i64 = 60 * 1000;
/// For how long an event that an answer lacks still says when its sport is in play: bookmakers take their prices
/// down for a while.
const VANISHED_FOR: i64 = 15 * 60 * 1000;
/// How many bookmakers of a region are remembered.
const MAX_BOOKMAKERS: usize = 500;
/// The longest reason, in characters.
const MAX_REASON: usize = 300;
/// When everything has been stale for this long, the feed is down.
const DOWN_AFTER: i64 = 10 * 60 * 1000;

/// What to ask the source next.
#[derive(Clone, Debug)]
pub(crate) enum PollRequest {
    Sports,
    /// Only what is left of credits, which is free.
    Credits,
    Odds(OddsQuery),
}

/// What the source answered.
#[derive(Debug)]
pub(crate) enum PollOutcome {
    Sports(Result<Listed, SourceError>),
    Credits(Result<Credits, SourceError>),
    /// `asked_at`: no price is older.
    Odds {
        sport: SportKey,
        asked_at: Timestamp,
        answer: Result<Answer, SourceError>,
    },
}

/// The sports as the source lists them.
#[derive(Debug)]
pub(crate) struct Listed {
    sports: Vec<Known>,
    credits: Credits,
    pub(crate) unreadable: Unreadable,
}

/// A sport as the source lists it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    sport: Sport,
    /// Nothing if it could not be read.
    starts: Option<Vec<Timestamp>>,
}

#[derive(Debug)]
pub(crate) struct Polling {
    region: Region,
    settings: PollSettings,
    source: String,
    sports: Vec<SportState>,
    /// When each known start of a sport's events was last listed or answered.
    starts: BTreeMap<SportKey, BTreeMap<Timestamp, Timestamp>>,
    listed_at: Option<Timestamp>,
    /// The last list lacked something that may only be missing for a moment.
    list_again: bool,
    /// Sports that the last list lacked.
    missing: BTreeSet<SportKey>,
    /// Sports whose last poll came to nothing.
    troubled: BTreeMap<SportKey, Trouble>,
    freshness: BTreeMap<SportKey, SportFreshness>,
    bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    bookmaker_names: BTreeMap<BookmakerKey, String>,
    credits: Credits,
    /// A report of what is left of credits that is believed if the next says so too.
    doubted: Option<f64>,
    /// When credits were last reported, and how often in a row they did not do.
    credits_at: Timestamp,
    credits_checks: u32,
    spending: Spending,
    failure: Option<Failure>,
    planned: Vec<(SportKey, i64)>,
}

/// Of the source as a whole.
#[derive(Debug)]
struct Failure {
    reason: String,
    count: i32,
    retry_at: Timestamp,
    /// Longer than it takes to notice that one poll failed.
    is_long: bool,
}

/// Of one sport.
#[derive(Debug)]
struct Trouble {
    reason: String,
    count: i32,
    retry_at: Timestamp,
    /// Upstream answers, and not with what was asked for.
    is_refusal: bool,
}

impl PollOutcome {
    pub(crate) fn outcome(&self) -> &'static str {
        let error = match self {
            Self::Sports(Ok(_)) | Self::Credits(Ok(_)) | Self::Odds { answer: Ok(_), .. } => return "ok",
            Self::Sports(Err(error)) | Self::Credits(Err(error)) | Self::Odds { answer: Err(error), .. } => error,
        };
        match error {
            SourceError::BadKey { .. } => "bad_key",
            SourceError::OutOfCredits(_) => "out_of_credits",
            SourceError::Refused { .. } => "refused",
            SourceError::TooFast { .. } => "too_fast",
            SourceError::Outage { .. } => "outage",
            SourceError::WrongFormat { .. } => "wrong_format",
        }
    }
}

impl PollRequest {
    /// It was not even tried.
    pub(crate) fn fails(self, reason: &str) -> PollOutcome {
        let error = SourceError::Outage { reason: reason.to_owned(), retry_after: None, cost: 0.0 };
        match self {
            Self::Sports => PollOutcome::Sports(Err(error)),
            Self::Credits => PollOutcome::Credits(Err(error)),
            Self::Odds(query) => PollOutcome::Odds { sport: query.sport, asked_at: query.now, answer: Err(error) },
        }
    }

    pub(crate) async fn run<S: Source>(self, source: &S, wanted: &[SportKey]) -> PollOutcome {
        match self {
            Self::Sports => PollOutcome::Sports(list(source, wanted).await),
            Self::Credits => PollOutcome::Credits(source.sports().await.map(|list| list.credits)),
            Self::Odds(query) => {
                let (sport, asked_at) = (query.sport.clone(), query.now);
                PollOutcome::Odds { sport, asked_at, answer: source.odds(query).await }
            }
        }
    }
}

async fn list<S: Source>(source: &S, wanted: &[SportKey]) -> Result<Listed, SourceError> {
    let list = source.sports().await?;
    let mut unreadable = list.unreadable;
    let mut sports = Vec::new();
    let mut goes_on = true;
    for sport in list.sports {
        if wanted.is_empty() || wanted.contains(&sport.key) {
            let starts = if goes_on { Some(source.starts(&sport.key).await) } else { None };
            let starts = match starts {
                Some(Ok(list)) => {
                    unreadable.merge(&list.unreadable);
                    Some(list.starts)
                }
                Some(Err(error @ SourceError::BadKey { .. })) => return Err(error),
                Some(Err(error)) => {
                    warn!(sport = %sport.key, %error, "when its events start is not known");
                    // Where one sport is refused, others may not be.
                    goes_on = matches!(error, SourceError::Refused { .. } | SourceError::WrongFormat { .. });
                    None
                }
                None => None,
            };
            sports.push(Known { sport, starts });
        }
    }
    Ok(Listed { sports, credits: list.credits, unreadable })
}

impl Polling {
    pub(crate) fn new(region: Region, settings: PollSettings, source: String, now: Timestamp) -> Self {
        let spending = Spending::new(&source, settings.max_credits_per_day, now);
        Self {
            region,
            settings,
            source,
            sports: Vec::new(),
            starts: BTreeMap::new(),
            listed_at: None,
            list_again: false,
            missing: BTreeSet::new(),
            troubled: BTreeMap::new(),
            freshness: BTreeMap::new(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
            credits: Credits::default(),
            doubted: None,
            credits_at: now,
            credits_checks: 0,
            spending,
            failure: None,
            planned: Vec::new(),
        }
    }

    /// Takes over what the topic's last marker says, so that a new leader doesn't begin by polling
    /// everything, nor shows as never polled what was polled a moment ago, nor spends what is spent.
    pub(crate) fn take_over(&mut self, marker: &odds::Marker, now: Timestamp) {
        self.spending.take_over_marker(marker, now);
        if marker.source == self.source {
            self.freshness = marker.sports.clone();
            self.bookmakers = marker.bookmakers.clone();
            self.bookmaker_names.extend(marker.bookmaker_names.clone());
            self.credits = marker.credits;
            for sport in &mut self.sports {
                sport.last_polled = sport.last_polled.max(self.freshness.get(&sport.key).map(|it| it.polled_at));
            }
        }
    }

    pub(crate) fn spending(&self) -> &Spending {
        &self.spending
    }

    pub(crate) fn spending_mut(&mut self) -> &mut Spending {
        &mut self.spending
    }

    /// What a request may cost.
    pub(crate) fn price(&self, poll_request: &PollRequest) -> f64 {
        match poll_request {
            PollRequest::Odds(query) => self.cost_of(&query.sport),
            PollRequest::Sports | PollRequest::Credits => 0.0,
        }
    }

    /// The sports to poll; none: all that there are.
    pub(crate) fn wanted(&self) -> &[SportKey] {
        &self.settings.sports
    }

    fn is_wanted(&self, sport: &SportKey) -> bool {
        self.wanted().is_empty() || self.wanted().contains(sport)
    }

    /// The sports that there are, and those that may only be missing from the last list.
    pub(crate) fn known_sports(&self) -> Option<BTreeSet<SportKey>> {
        let known = || self.sports.iter().map(|sport| &sport.key).chain(&self.missing).cloned().collect();
        self.listed_at.map(|_| known())
    }

    pub(crate) fn credits(&self) -> Credits {
        self.credits
    }

    pub(crate) fn freshness(&self) -> &BTreeMap<SportKey, SportFreshness> {
        &self.freshness
    }

    fn budget(&self, now: Timestamp) -> Budget {
        Budget {
            left: self.credits.remaining.map(|left| left * self.settings.credit_share),
            renewal: renewal_after(now),
            today: self.spending.left(now).map(|left| (left, midnight_after(now))),
        }
    }

    /// The next request, and when it is due.
    pub(crate) fn next(&self, now: Timestamp) -> Option<(PollRequest, Timestamp)> {
        let not_before = self.failure.as_ref().map_or(now, |failure| failure.retry_at);
        let list_interval = self.hurry(if self.list_again { LIST_RETRY } else { LIST_INTERVAL });
        let list_at = self.listed_at.map_or(now, |at| at.plus_millis(list_interval));
        let mut soonest = (PollRequest::Sports, list_at.max(not_before));
        let mut take = |poll_request, due: Timestamp| {
            if due.max(not_before) < soonest.1 {
                soonest = (poll_request, due.max(not_before));
            }
        };
        if self.lacks_credits(now) {
            let wait = FIRST_CREDITS_CHECK.saturating_mul(1 << self.credits_checks.min(10));
            take(PollRequest::Credits, self.credits_at.plus_millis(self.hurry(wait.min(OUT_OF_CREDITS_RETRY))));
        }
        let waits_until = |sport: &SportState| {
            self.troubled.get(&sport.key).map(|trouble| trouble.retry_at).filter(|until| *until > now)
        };
        let open: Vec<SportState> = self
            .sports
            .iter()
            .filter(|sport| waits_until(sport).is_none())
            .map(|sport| self.hurried(sport, now))
            .collect();
        let waiting = self.sports.iter().filter_map(|sport| Some((waits_until(sport)?, sport)));
        if let Some((at, due)) = next_poll(&open, &self.budget(now), now) {
            let wait = due.millis_since(now) as f64 / self.settings.poll_speed;
            take(PollRequest::Odds(self.query(&open[at], now)), now.plus_millis(wait as i64));
        } else if let Some((until, _)) = waiting.min_by_key(|(until, _)| *until).filter(|_| open.is_empty()) {
            // Planned anew when that one may be asked for.
            take(PollRequest::Credits, until);
        }
        Some(soonest)
    }

    fn query(&self, sport: &SportState, now: Timestamp) -> OddsQuery {
        let markets =
            if sport.outrights { vec![OUTRIGHTS.parse().expect("a plain key")] } else { self.settings.markets.clone() };
        OddsQuery { sport: sport.key.clone(), region: self.region, markets, now }
    }

    /// Whether some sport can't be polled for want of credits.
    fn lacks_credits(&self, now: Timestamp) -> bool {
        let left = self.budget(now).left;
        self.sports.iter().any(|sport| left.is_some_and(|left| left < sport.cost))
    }

    /// A wait, where the world runs faster than reality: but no rush.
    fn hurry(&self, millis: i64) -> i64 {
        ((millis as f64 / self.settings.poll_speed) as i64).max(millis.min(FIRST_BACK_OFF as i64))
    }

    /// As if the time since its last poll had passed faster.
    fn hurried(&self, sport: &SportState, now: Timestamp) -> SportState {
        let passed = |last: Timestamp| now.millis_since(last) as f64 * self.settings.poll_speed;
        let last_polled = sport.last_polled.map(|last| now.plus_millis(-(passed(last) as i64)));
        SportState { last_polled, ..sport.clone() }
    }

    /// Takes what the source answered. `believed`: unless the answer is empty for the first time. An error that
    /// nothing but a person can mend is given back.
    pub(crate) fn poll_finished(
        &mut self,
        outcome: &PollOutcome,
        believed: bool,
        now: Timestamp,
    ) -> Result<(), SourceError> {
        match outcome {
            PollOutcome::Sports(Ok(listed)) => {
                self.listed(listed, now);
                self.take_credits(listed.credits, 0.0, now);
            }
            PollOutcome::Credits(Ok(credits)) => {
                self.take_credits(*credits, 0.0, now);
                self.credits_at = now;
            }
            PollOutcome::Odds { sport, asked_at, answer: Ok(answer) } => {
                self.spending.spend(answer.cost, now);
                self.take_credits(answer.credits, answer.cost, now);
                self.polled(sport, *asked_at, answer, believed, now);
                if let Some(failure) = self.failure.take() {
                    info!(after = failure.count, "the odds API answers again");
                }
                self.troubled.remove(sport);
            }
            PollOutcome::Sports(Err(error)) | PollOutcome::Credits(Err(error)) => self.failed(None, error, now)?,
            PollOutcome::Odds { sport, answer: Err(error), .. } => {
                self.spending.spend(error.cost(), now);
                self.failed(Some(sport), error, now)?;
            }
        }
        if self.lacks_credits(now) {
            self.credits_checks += 1;
        } else {
            self.credits_checks = 0;
        }
        self.log_plan(now);
        Ok(())
    }

    fn failed(&mut self, sport: Option<&SportKey>, error: &SourceError, now: Timestamp) -> Result<(), SourceError> {
        let is_refusal = matches!(error, SourceError::Refused { .. } | SourceError::WrongFormat { .. });
        if let SourceError::BadKey { .. } = error {
            return Err(error.clone());
        }
        if let SourceError::WrongFormat { credits, cost, .. } = error {
            self.take_credits(*credits, *cost, now);
        }
        if let Some(sport) = sport.filter(|_| is_refusal || matches!(error, SourceError::Outage { .. })) {
            self.troubled_by(sport, error, is_refusal, now);
            if is_refusal {
                // Upstream answers: others are polled as ever.
                self.failure = None;
                return Ok(());
            }
        }
        let count = self.failure.as_ref().map_or(0, |failure| failure.count) + 1;
        let jittered = self.hurry(back_off(count));
        let longest = self.hurry(LONGEST_RETRY_AFTER);
        let wait = match error {
            SourceError::OutOfCredits(credits) => {
                self.credits.used = credits.used.or(self.credits.used);
                self.credits.remaining = Some(credits.remaining.map_or(0.0, |left| left.min(0.0)));
                self.credits_at = now;
                self.hurry(OUT_OF_CREDITS_RETRY).min(renewal_after(now).millis_since(now).max(1_000))
            }
            error => match error.retry_after() {
                Some(RetryAfter::In(wait)) => millis(wait).min(longest).max(jittered),
                Some(RetryAfter::At(at)) => at.millis_since(now).min(longest).max(jittered),
                None => jittered,
            },
        };
        warn!(sport = sport.map(tracing::field::display), %error, retry_in_ms = wait, "a poll failed");
        let is_long = count > 1 || wait > self.hurry(LONGEST_BACK_OFF as i64);
        self.failure =
            Some(Failure { reason: short(&error.to_string()), count, retry_at: now.plus_millis(wait), is_long });
        Ok(())
    }

    /// One sport that fails again and again must not keep others from being polled.
    fn troubled_by(&mut self, sport: &SportKey, error: &SourceError, is_refusal: bool, now: Timestamp) {
        let count = self.troubled.get(sport).map_or(0, |trouble| trouble.count) + 1;
        let in_play = self.sports.iter().any(|it| it.key == *sport && it.nearness(now) == Nearness::InPlay);
        let longest = if in_play { LONGEST_REFUSED_RETRY_IN_PLAY } else { LONGEST_REFUSED_RETRY };
        let wait = match is_refusal {
            true => (FIRST_REFUSED_RETRY << (count - 1).min(10)).min(longest),
            false => back_off(count),
        };
        if is_refusal {
            warn!(%sport, %error, retry_in_ms = wait, "this sport is left alone for a while");
        }
        let wait = self.hurry(wait);
        let reason = short(&format!("{sport}: {error}"));
        self.troubled.insert(sport.clone(), Trouble { reason, count, retry_at: now.plus_millis(wait), is_refusal });
    }

    fn listed(&mut self, listed: &Listed, now: Timestamp) {
        self.listed_at = Some(now);
        self.list_again = listed.sports.iter().any(|known| known.starts.is_none());
        let before = std::mem::take(&mut self.sports);
        let missing_before = std::mem::take(&mut self.missing);
        for Known { sport, starts } in &listed.sports {
            let last_polled = before
                .iter()
                .find(|known| known.key == sport.key)
                .and_then(|known| known.last_polled)
                .or_else(|| self.freshness.get(&sport.key).map(|it| it.polled_at));
            let known = self.starts.entry(sport.key.clone()).or_default();
            match starts.as_deref() {
                // What was there a moment ago may only be missing from one list.
                None | Some([]) => known.retain(|_, seen| now.millis_since(*seen) <= VANISHED_FOR),
                Some(starts) => *known = starts.iter().map(|start| (*start, now)).collect(),
            }
            self.sports.push(SportState {
                key: sport.key.clone(),
                outrights: sport.outrights,
                starts: known.keys().copied().collect(),
                last_polled,
                cost: if sport.outrights { 1 } else { self.settings.markets.len() } as f64,
            });
        }
        for sport in before {
            if self.sports.iter().all(|known| known.key != sport.key) && !missing_before.contains(&sport.key) {
                warn!(sport = %sport.key, "the odds API's list lacks a sport: it is kept until the next list");
                self.missing.insert(sport.key.clone());
                self.list_again = true;
                self.sports.push(sport);
            }
        }
        // Those of a former leader, too.
        let is_gone = |sport: &&SportKey| {
            let is_listed = self.sports.iter().any(|known| known.key == **sport);
            !is_listed && self.is_wanted(sport) && !missing_before.contains(*sport)
        };
        let of_former: Vec<SportKey> = self.freshness.keys().filter(is_gone).cloned().collect();
        for sport in of_former {
            warn!(%sport, "the odds API's first list lacks a sport: its odds are kept until the next list");
            self.missing.insert(sport);
            self.list_again = true;
        }
        for wanted in &self.settings.sports {
            if self.sports.iter().all(|known| known.key != *wanted) {
                warn!(sport = %wanted, "the odds API has no such sport in season");
            }
        }
        // A new leader has no list before its first one; an empty one is no reason to forget everything.
        if self.sports.is_empty() {
            self.list_again = true;
        } else {
            let current: BTreeSet<&SportKey> =
                self.sports.iter().map(|sport| &sport.key).chain(&self.missing).collect();
            self.freshness.retain(|sport, _| current.contains(sport));
            self.starts.retain(|sport, _| current.contains(sport));
            self.troubled.retain(|sport, _| current.contains(sport));
        }
    }

    fn polled(&mut self, sport: &SportKey, asked_at: Timestamp, answer: &Answer, believed: bool, now: Timestamp) {
        let budget = self.budget(now);
        for (bookmaker, seen) in &answer.bookmakers {
            if self.bookmakers.len() < MAX_BOOKMAKERS || self.bookmakers.contains_key(bookmaker) {
                let newest = self.bookmakers.entry(bookmaker.clone()).or_insert(*seen);
                *newest = (*newest).max(*seen);
            }
        }
        for (bookmaker, name) in &answer.bookmaker_names {
            if self.bookmaker_names.len() < MAX_BOOKMAKERS || self.bookmaker_names.contains_key(bookmaker) {
                self.bookmaker_names.insert(bookmaker.clone(), name.clone());
            }
        }
        let Some(at) = self.sports.iter().position(|known| known.key == *sport) else { return };
        self.sports[at].last_polled = Some(now);
        let mut answered: Vec<Timestamp> = answer.events.iter().map(|(_, image)| image.details.commence_time).collect();
        answered.extend(answer.incomplete.iter().filter_map(|it| Some(it.details.as_ref()?.commence_time)));
        // An empty answer says nothing of when events start: bookmakers may have taken all prices down.
        if !answered.is_empty() {
            let starts = self.starts.entry(sport.clone()).or_default();
            starts.retain(|_, seen| now.millis_since(*seen) <= VANISHED_FOR);
            starts.extend(answered.into_iter().map(|start| (start, now)));
            self.sports[at].starts = starts.keys().copied().collect();
        }
        if !believed {
            warn!(%sport, "an empty answer is not believed: what was there gets no fresher by it");
            return;
        }
        let interval = intervals(&self.sports, &budget, now)[at].unwrap_or(0);
        let fresh_for = stale_after(&self.sports[at], interval, now).millis_since(now) as f64;
        let stale_after = asked_at.plus_millis((fresh_for / self.settings.poll_speed) as i64);
        self.freshness.insert(sport.clone(), SportFreshness { polled_at: asked_at, stale_after });
    }

    fn cost_of(&self, sport: &SportKey) -> f64 {
        self.sports.iter().find(|known| known.key == *sport).map_or(0.0, |known| known.cost)
    }

    /// Takes what upstream says is left, after a call that cost this. A report that more than half of it is gone
    /// at once is believed the second time.
    fn take_credits(&mut self, recorded: Credits, cost: f64, now: Timestamp) {
        self.credits.used = recorded.used.or(self.credits.used);
        let expected = self.credits.remaining.map(|left| left - cost);
        let Some(left) = recorded.remaining else {
            self.credits.remaining = expected;
            return;
        };
        let is_collapse = |left: f64| expected.is_some_and(|expected| left < expected / 2.0);
        if is_collapse(left) && !self.doubted.is_some_and(is_collapse) {
            warn!(left, ?expected, "the odds API says that credits collapsed: believed if it says so again");
            self.doubted = Some(left);
            self.credits.remaining = expected;
            return;
        }
        self.doubted = None;
        self.credits.remaining = Some(left);
        self.credits_at = now;
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

    /// How the feed stands now, and why. A sport that is merely late says so by its own freshness; what lasts is
    /// said also while all prices are still good.
    pub(crate) fn state(&self, now: Timestamp) -> (FeedState, Option<String>) {
        let over = |it: &SportFreshness, grace: i64| it.stale_after.plus_millis(grace) < now;
        let trouble = self.trouble(now);
        let Some((reason, lasts)) = trouble else {
            return match self.freshness.is_empty() {
                true => (FeedState::Down, Some("nothing polled yet".into())),
                false => (FeedState::Live, None),
            };
        };
        // Of none, all are.
        let are_over = |grace: i64| self.freshness.values().all(|it| over(it, grace));
        if are_over(DOWN_AFTER) {
            (FeedState::Down, Some(reason))
        } else if are_over(0) {
            (FeedState::Stale, Some(reason))
        } else {
            // Each sport's prices grow old by themselves; those of others are good all the same.
            let some_are_old = self.freshness.values().any(|it| over(it, 0));
            (FeedState::Live, Some(reason).filter(|_| lasts || some_are_old))
        }
    }

    /// What keeps polls from being made, if anything does, and whether it lasts.
    fn trouble(&self, now: Timestamp) -> Option<(String, bool)> {
        if let Some(failure) = &self.failure {
            return Some((failure.reason.clone(), failure.is_long));
        }
        let worst = self.troubled.values().max_by_key(|it| (it.is_refusal, it.count));
        if let Some(trouble) = worst {
            return Some((trouble.reason.clone(), trouble.is_refusal || trouble.count > 1));
        }
        let Budget { left, today, .. } = self.budget(now);
        let dearest = self.sports.iter().map(|sport| sport.cost).max_by(f64::total_cmp)?;
        let reason = if left.is_some_and(|left| left < dearest) {
            "this producer's share of the credits is used up until they are renewed"
        } else if self.settings.max_credits_per_day.is_some_and(|cap| cap < dearest) {
            "a poll costs more credits than may be spent a day"
        } else if today.is_some_and(|(left, _)| left < dearest) {
            "what may be spent of credits today is used up"
        } else {
            return None;
        };
        Some((reason.to_owned(), true))
    }

    /// What a marker says now.
    pub(crate) fn status(&self, now: Timestamp, next_by: Timestamp) -> Status {
        let (state, reason) = self.state(now);
        Status {
            at: now,
            next_by,
            state,
            reason,
            source: self.source.clone(),
            credits: self.credits,
            sports: self.freshness.clone(),
            bookmakers: self.bookmakers.clone(),
            bookmaker_names: self.bookmaker_names.clone(),
            spent_today: self.spending.recorded(now),
        }
    }
}

/// Doubled each time, up to the longest, and not the same for everybody.
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

#[cfg(test)]
mod tests {
    use odds::{Details, Image, Quotes};

    use super::*;

    const MINUTE: i64 = 60_000;

    fn noon() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn key() -> SportKey {
        "soccer_epl".parse().unwrap()
    }

    /// Knows one sport, with a game that began ten minutes ago, polled a minute ago.
    fn in_play() -> Polling {
        let markets = ["h2h", "spreads", "totals"].map(|key| key.parse().unwrap()).to_vec();
        let settings =
            PollSettings { sports: Vec::new(), markets, credit_share: 1.0, max_credits_per_day: None, poll_speed: 1.0 };
        let mut polling = Polling::new(Region::Uk, settings, "test".into(), noon());
        let sport = Sport { key: key(), outrights: false };
        let starts = Some(vec![noon().plus_millis(-10 * MINUTE)]);
        let listed = list_of(vec![Known { sport, starts }]);
        polling.poll_finished(&listed, true, noon().plus_millis(-MINUTE)).unwrap();
        polling.poll_finished(&odds(Ok(full(900_000.0))), true, noon().plus_millis(-MINUTE)).unwrap();
        polling
    }

    fn list_of(sports: Vec<Known>) -> PollOutcome {
        PollOutcome::Sports(Ok(Listed { sports, credits: Credits::default(), unreadable: Unreadable::default() }))
    }

    fn odds(answer: Result<Answer, SourceError>) -> PollOutcome {
        PollOutcome::Odds { sport: key(), asked_at: noon().plus_millis(-MINUTE), answer }
    }

    fn empty() -> Answer {
        Answer { credits: Credits { remaining: Some(900_000.0), used: None }, ..Answer::default() }
    }

    fn full(remaining: f64) -> Answer {
        let details = Details {
            sport_key: key(),
            sport_title: "EPL".into(),
            commence_time: noon().plus_millis(-10 * MINUTE),
            home_team: None,
            away_team: None,
        };
        let image = Image { polled_at: noon(), details, quotes: Quotes::new() };
        let credits = Credits { remaining: Some(remaining), used: None };
        Answer { events: vec![("e".parse().unwrap(), image)], credits, cost: 3.0, ..Answer::default() }
    }

    /// How long until the sport is polled again.
    fn wait(polling: &Polling, now: Timestamp) -> i64 {
        let mut at = now;
        for _ in 0..200 {
            match polling.next(at).unwrap() {
                (PollRequest::Odds(_), due) => return due.millis_since(now),
                (_, due) => at = due.plus_millis(1_000),
            }
        }
        i64::MAX
    }

    #[test]
    fn an_empty_answer_neither_slows_a_sport_in_play_nor_freshens_it() {
        let mut polling = in_play();
        let before = polling.freshness[&key()];
        let asked_now = PollOutcome::Odds { sport: key(), asked_at: noon(), answer: Ok(empty()) };
        polling.poll_finished(&asked_now, false, noon()).unwrap();
        assert!(wait(&polling, noon()) <= MINUTE);
        assert_eq!(polling.freshness[&key()], before);
        // Also when it is believed: bookmakers take prices down for a while.
        polling.poll_finished(&odds(Ok(empty())), true, noon().plus_millis(MINUTE)).unwrap();
        assert!(wait(&polling, noon().plus_millis(MINUTE)) <= MINUTE);
    }

    #[test]
    fn a_list_of_starts_that_is_empty_does_not_slow_a_sport_in_play() {
        let mut polling = in_play();
        let sport = || Sport { key: key(), outrights: false };
        for starts in [Some(Vec::new()), None] {
            polling.poll_finished(&list_of(vec![Known { sport: sport(), starts }]), true, noon()).unwrap();
            assert!(wait(&polling, noon()) <= MINUTE);
        }
    }

    #[test]
    fn what_a_list_lacks_is_gone_when_the_next_lacks_it_too() {
        let mut polling = in_play();
        polling.poll_finished(&list_of(Vec::new()), true, noon()).unwrap();
        assert!(polling.known_sports().unwrap().contains(&key()));
        assert!(wait(&polling, noon()) <= MINUTE);
        let (poll_request, due) = polling.next(noon().plus_millis(MINUTE)).unwrap();
        assert!(
            matches!(poll_request, PollRequest::Sports | PollRequest::Odds(_))
                && due.millis_since(noon()) <= 2 * MINUTE
        );
        polling.poll_finished(&list_of(Vec::new()), true, noon().plus_millis(MINUTE)).unwrap();
        assert!(polling.sports.is_empty());
    }

    #[test]
    fn what_the_first_list_of_a_new_leader_lacks_is_gone_when_the_next_lacks_it_too() {
        let former = in_play();
        let mut polling = Polling::new(Region::Uk, former.settings.clone(), "test".into(), noon());
        polling.freshness.clone_from(&former.freshness);
        let other =
            || Known { sport: Sport { key: "other".parse().unwrap(), outrights: false }, starts: Some(Vec::new()) };
        polling.poll_finished(&list_of(vec![other()]), true, noon()).unwrap();
        assert!(polling.known_sports().unwrap().contains(&key()) && polling.freshness.contains_key(&key()));
        polling.poll_finished(&list_of(vec![other()]), true, noon().plus_millis(MINUTE)).unwrap();
        assert!(!polling.known_sports().unwrap().contains(&key()) && !polling.freshness.contains_key(&key()));
    }

    #[test]
    fn prices_are_as_old_as_the_question() {
        let mut polling = in_play();
        let asked_at = noon().plus_millis(-9_000);
        polling
            .poll_finished(&PollOutcome::Odds { sport: key(), asked_at, answer: Ok(full(900_000.0)) }, true, noon())
            .unwrap();
        let SportFreshness { polled_at, stale_after } = polling.freshness[&key()];
        assert_eq!(polled_at, asked_at, "a slow answer may be as old");
        assert!(stale_after.millis_since(asked_at) <= 3 * MINUTE);
    }

    #[test]
    fn a_sport_that_is_refused_is_asked_for_again_soon_and_the_reason_is_said() {
        let mut polling = in_play();
        let refused = || SourceError::Refused { code: "UNKNOWN_SPORT".into(), message: "no such sport".into() };
        for _ in 0..20 {
            polling.poll_finished(&odds(Err(refused())), true, noon()).unwrap();
            assert!(polling.troubled[&key()].retry_at.millis_since(noon()) <= LONGEST_REFUSED_RETRY_IN_PLAY);
            let (_, reason) = polling.state(noon());
            assert!(reason.is_some_and(|reason| reason.contains("soccer_epl") && reason.contains("UNKNOWN_SPORT")));
        }
        assert_eq!(polling.state(noon().plus_millis(5 * MINUTE)).0, FeedState::Stale);
        polling.poll_finished(&odds(Ok(full(900_000.0))), true, noon()).unwrap();
        assert_eq!(polling.state(noon()), (FeedState::Live, None));
    }

    #[test]
    fn one_sport_in_trouble_makes_no_others_prices_old() {
        let mut polling = in_play();
        let later = noon().plus_millis(5 * MINUTE);
        let fresh = SportFreshness { polled_at: later, stale_after: later.plus_millis(MINUTE) };
        polling.freshness.insert("other".parse().unwrap(), fresh);
        let format =
            || SourceError::WrongFormat { reason: "no decimal odds".into(), credits: Credits::default(), cost: 0.0 };
        polling.poll_finished(&odds(Err(format())), true, later).unwrap();
        let (state, reason) = polling.state(later);
        assert!(state == FeedState::Live && reason.is_some_and(|reason| reason.contains("no decimal odds")));
        assert_eq!(polling.state(later.plus_millis(2 * MINUTE)).0, FeedState::Stale, "until all are old");
    }

    #[test]
    fn however_long_upstream_wants_to_be_left_alone_it_is_asked_again() {
        let at = RetryAfter::At(noon().plus_millis(365 * 24 * 60 * MINUTE));
        for retry_after in [RetryAfter::In(Duration::from_secs(u64::MAX)), at] {
            let retry_after = Some(retry_after);
            let outage = SourceError::Outage { reason: "status 503".into(), retry_after, cost: 0.0 };
            for error in [SourceError::TooFast { retry_after }, outage] {
                let mut polling = in_play();
                polling.poll_finished(&odds(Err(error.clone())), true, noon()).unwrap();
                assert_eq!(polling.failure.as_ref().unwrap().retry_at.millis_since(noon()), LONGEST_RETRY_AFTER);
                assert_eq!(
                    polling.state(noon()),
                    (FeedState::Live, Some(polling.failure.as_ref().unwrap().reason.clone()))
                );
            }
        }
    }

    #[test]
    fn one_report_that_credits_are_gone_is_not_believed_and_two_are() {
        let mut polling = in_play();
        polling.poll_finished(&odds(Ok(full(-3.0))), true, noon()).unwrap();
        assert!(wait(&polling, noon()) <= MINUTE);
        polling.poll_finished(&odds(Ok(full(899_990.0))), true, noon()).unwrap();
        polling.poll_finished(&odds(Ok(full(-3.0))), true, noon()).unwrap();
        polling.poll_finished(&odds(Ok(full(-6.0))), true, noon()).unwrap();
        let (poll_request, due) = polling.next(noon()).unwrap();
        assert!(matches!(poll_request, PollRequest::Credits), "what is left is asked for again");
        assert!(due.millis_since(noon()) <= OUT_OF_CREDITS_RETRY);
        assert!(polling.state(noon()).1.is_some_and(|reason| reason.contains("credits")));
    }

    #[test]
    fn a_sport_that_always_fails_keeps_no_other_from_being_polled() {
        let mut polling = in_play();
        let known = |key: &str| Known {
            sport: Sport { key: key.parse().unwrap(), outrights: false },
            starts: Some(vec![noon().plus_millis(-10 * MINUTE)]),
        };
        polling.poll_finished(&list_of(vec![known("soccer_epl"), known("other")]), true, noon()).unwrap();
        let outage = SourceError::Outage { reason: "status 500".into(), retry_after: None, cost: 0.0 };
        for _ in 0..8 {
            polling.poll_finished(&odds(Err(outage.clone())), true, noon()).unwrap();
        }
        let after = polling.failure.as_ref().unwrap().retry_at.plus_millis(-1);
        polling.troubled.get_mut(&key()).unwrap().retry_at = after.plus_millis(MINUTE);
        let Some((PollRequest::Odds(query), _)) = polling.next(after) else { panic!("nothing is polled") };
        assert_eq!(query.sport.as_str(), "other");
    }
}
