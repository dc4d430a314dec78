//! Decides which request a leader sends to its source next and when, and how fresh the odds are.
//!
//! [`season`] has the sports, [`poll_plan`] their intervals, [`credits`] and [`spending`] the budget, and [`trouble`]
//! the failures. [`request`] is one request to the source.

mod credits;
mod pace;
mod poll_plan;
mod request;
mod season;
mod spending;
#[cfg(test)]
mod tests;
mod trouble;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use odds::{BookmakerKey, Credits, FeedState, Region, SportFreshness, SportKey, Status, Timestamp};
use tracing::{info, warn};

pub use self::poll_plan::{Budget, Nearness, SportState, intervals, midnight_after, next_poll, stale_after};
use self::{credits::CreditReports, pace::Pace, season::Season, trouble::Troubles};
pub(crate) use self::{
    request::{PollOutcome, PollRequest},
    spending::Spending,
};
use crate::{
    settings::PollSettings,
    source::{Answer, OddsQuery, Source, SourceError},
};

/// The most bookmakers that are remembered for a region.
const MAX_BOOKMAKERS: usize = 500;
/// When all prices have been stale for this long, the feed is down.
const DOWN_AFTER: i64 = 10 * 60 * 1000;

#[derive(Debug)]
pub(crate) struct Polling {
    region: Region,
    settings: PollSettings,
    pace: Pace,
    source: Arc<dyn Source>,
    season: Season,
    troubles: Troubles,
    freshness: BTreeMap<SportKey, SportFreshness>,
    bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    bookmaker_names: BTreeMap<BookmakerKey, String>,
    credit_reports: CreditReports,
    spending: Spending,
    /// The interval of each sport when it was last logged, in seconds.
    logged_plan: Vec<(SportKey, i64)>,
}

impl Polling {
    pub(crate) fn new(region: Region, settings: PollSettings, source: Arc<dyn Source>, now: Timestamp) -> Self {
        let spending = Spending::new(source.name(), settings.max_credits_per_day, now);
        let pace = Pace::new(settings.poll_speed);
        Self {
            region,
            settings,
            pace,
            source,
            season: Season::default(),
            troubles: Troubles::new(pace),
            freshness: BTreeMap::new(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
            credit_reports: CreditReports::new(now),
            spending,
            logged_plan: Vec::new(),
        }
    }

    /// Takes over the state in the topic's last marker, so that a new leader doesn't poll everything at once, show
    /// recently polled sports as never polled, or exceed the daily limit.
    pub(crate) fn take_over(&mut self, marker: &odds::Marker, now: Timestamp) {
        self.spending.take_over_marker(marker, now);
        if marker.source == self.source.name() {
            self.freshness = marker.sports.clone();
            self.bookmakers = marker.bookmakers.clone();
            self.bookmaker_names.extend(marker.bookmaker_names.clone());
            if self.source.renewal(marker.at) > now {
                self.credit_reports.take_over(marker.credits, marker.at);
            }
            self.season.take_over(|sport| self.freshness.get(sport).map(|it| it.polled_at));
        }
    }

    pub(crate) fn settings(&self) -> &PollSettings {
        &self.settings
    }

    pub(crate) fn spending(&self) -> &Spending {
        &self.spending
    }

    pub(crate) fn spending_mut(&mut self) -> &mut Spending {
        &mut self.spending
    }

    /// The most credits that a request can cost.
    pub(crate) fn cost(&self, request: &PollRequest) -> f64 {
        match request {
            PollRequest::Odds(query) => self.source.cost(&query.sport, &query.markets),
            PollRequest::Sports => self.source.list_cost(),
            PollRequest::Credits => 0.0,
        }
    }

    pub(crate) fn known_sports(&self) -> Option<BTreeSet<SportKey>> {
        self.season.known()
    }

    pub(crate) fn credits(&self) -> Credits {
        self.credit_reports.credits()
    }

    pub(crate) fn freshness(&self) -> &BTreeMap<SportKey, SportFreshness> {
        &self.freshness
    }

    fn budget(&self, now: Timestamp) -> Budget {
        let renewal = self.source.renewal(self.credit_reports.reported_at());
        // After the renewal, nothing is known until the next report.
        let remaining = self.credits().remaining.filter(|_| renewal > now);
        Budget {
            left: remaining.map(|left| left * self.settings.credit_share),
            renewal,
            today: self.spending.left(now).map(|left| (left, midnight_after(now))),
        }
    }

    /// The next request, and when it is due.
    pub(crate) fn next(&self, now: Timestamp) -> Option<(PollRequest, Timestamp)> {
        let not_before = self.troubles.retry_at().unwrap_or(now);
        let mut soonest = (PollRequest::Sports, self.next_list(now).max(not_before));
        let mut take = |request, due: Timestamp| {
            if due.max(not_before) < soonest.1 {
                soonest = (request, due.max(not_before));
            }
        };
        if self.lacks_credits(now) {
            take(PollRequest::Credits, self.credit_reports.next_check(self.pace));
        }
        let sports = self.season.sports();
        let waits_until = |sport: &SportState| self.troubles.waits_until(&sport.key, now);
        let open = sports.iter().filter(|sport| waits_until(sport).is_none());
        let open: Vec<SportState> = open.map(|sport| self.pace.seen_at(sport, now)).collect();
        if let Some((at, due)) = next_poll(&open, &self.budget(now), now) {
            let wait = self.pace.span(due.millis_since(now));
            take(PollRequest::Odds(self.query(&open[at], now)), now.plus_millis(wait));
        } else if let Some(until) = sports.iter().filter_map(waits_until).min().filter(|_| open.is_empty()) {
            // Plans again when the first of them may be polled.
            take(PollRequest::Credits, until);
        }
        Some(soonest)
    }

    /// When to list the sports: when it is time, and can be paid.
    fn next_list(&self, now: Timestamp) -> Timestamp {
        let due = self.season.next_list(self.pace, now);
        let (cost, budget) = (self.source.list_cost(), self.budget(now));
        let paid_today = budget.today.filter(|(left, _)| lacks(Some(*left), cost)).map(|(_, day_ends)| day_ends);
        let renewed = Some(budget.renewal).filter(|_| lacks(budget.left, cost));
        due.max(paid_today.unwrap_or(due)).max(renewed.unwrap_or(due))
    }

    fn query(&self, sport: &SportState, now: Timestamp) -> OddsQuery {
        let markets = self.settings.markets_of(sport.outrights);
        OddsQuery { sport: sport.key.clone(), region: self.region, markets, now }
    }

    /// Whether the remaining credits don't cover a poll of some sport, or a list of all.
    fn lacks_credits(&self, now: Timestamp) -> bool {
        let left = self.budget(now).left;
        lacks(left, self.source.list_cost()) || self.season.sports().iter().any(|sport| lacks(left, sport.cost))
    }

    /// Takes the outcome of a request. `believed`: whether its odds count; those of the first empty answer don't.
    /// Returns an error only if an operator has to fix it.
    pub(crate) fn poll_finished(
        &mut self,
        outcome: &PollOutcome,
        believed: bool,
        now: Timestamp,
    ) -> Result<(), SourceError> {
        match outcome {
            PollOutcome::Sports(Ok(listed)) => {
                let polled_at = self.freshness.iter().map(|(sport, it)| (sport.clone(), it.polled_at)).collect();
                self.season.listed(listed, &self.settings, &polled_at, now);
                if let Some(known) = self.season.known().filter(|_| !self.season.sports().is_empty()) {
                    self.freshness.retain(|sport, _| known.contains(sport));
                    self.troubles.keep_sports(|sport| known.contains(sport));
                }
                self.spending.spend(listed.cost, now);
                self.credit_reports.report(listed.credits, listed.cost, now);
            }
            PollOutcome::Credits(Ok(credits)) => self.credit_reports.checked(*credits, now),
            PollOutcome::Odds { sport, asked_at, answer: Ok(answer) } => {
                self.spending.spend(answer.cost, now);
                self.credit_reports.report(answer.credits, answer.cost, now);
                self.answered(sport, *asked_at, answer, believed, now);
                self.troubles.resolved(sport);
            }
            PollOutcome::Sports(Err(error)) | PollOutcome::Credits(Err(error)) => {
                self.spending.spend(error.cost(), now);
                self.failed(None, error, now)?;
            }
            PollOutcome::Odds { sport, answer: Err(error), .. } => {
                self.spending.spend(error.cost(), now);
                self.failed(Some(sport), error, now)?;
            }
        }
        if let PollOutcome::Odds { sport, .. } = outcome {
            let cost = |outrights| self.source.cost(sport, &self.settings.markets_of(outrights));
            self.season.set_cost(sport, cost);
        }
        self.credit_reports.count_check(self.lacks_credits(now));
        self.log_plan(now);
        Ok(())
    }

    fn failed(&mut self, sport: Option<&SportKey>, error: &SourceError, now: Timestamp) -> Result<(), SourceError> {
        match error {
            SourceError::BadKey { .. } => return Err(error.clone()),
            SourceError::WrongFormat { credits, cost, .. } => self.credit_reports.report(*credits, *cost, now),
            SourceError::OutOfCredits { credits, .. } => self.credit_reports.used_up(*credits, now),
            SourceError::Refused { cost, .. }
            | SourceError::TooFast { cost, .. }
            | SourceError::Outage { cost, .. } => {
                if *cost > 0.0 {
                    self.credit_reports.report(Credits::default(), *cost, now);
                }
            }
        }
        let in_play = sport.is_some_and(|sport| self.season.is_in_play(sport, now));
        self.troubles.failed(sport, in_play, error, self.source.renewal(now), now);
        Ok(())
    }

    fn answered(&mut self, sport: &SportKey, asked_at: Timestamp, answer: &Answer, believed: bool, now: Timestamp) {
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
        let Some(at) = self.season.answered(sport, answer, now) else { return };
        if !believed {
            warn!(%sport, "an empty answer is ignored until the next one confirms it: the old odds stay");
            return;
        }
        let sports = self.season.sports();
        let interval = intervals(sports, &budget, now)[at].unwrap_or(0);
        let fresh_for = stale_after(&sports[at], interval, now).millis_since(now);
        let stale_after = asked_at.plus_millis(self.pace.span(fresh_for));
        self.freshness.insert(sport.clone(), SportFreshness { polled_at: asked_at, stale_after });
    }

    /// How often each sport will be polled, in milliseconds, without those whose polls can't be paid.
    pub(crate) fn plan(&self, now: Timestamp) -> impl Iterator<Item = (SportKey, i64)> {
        let sports = self.season.sports();
        let intervals = intervals(sports, &self.budget(now), now);
        let plan = sports.iter().zip(intervals);
        plan.filter_map(|(sport, interval)| Some((sport.key.clone(), self.pace.span(interval?))))
    }

    /// Logs the plan, at the start and after large changes.
    fn log_plan(&mut self, now: Timestamp) {
        let plan: Vec<(SportKey, i64)> = self
            .plan(now)
            .map(|(sport, interval)| {
                let seconds = interval / 1_000;
                let logged = self.logged_plan.iter().find(|(key, _)| *key == sport).map(|(_, seconds)| *seconds);
                match logged.filter(|logged| seconds <= logged * 2 && seconds * 2 >= *logged) {
                    Some(logged) => (sport, logged),
                    None => {
                        info!(%sport, every_seconds = seconds, credits = self.credits().remaining, "poll plan");
                        (sport, seconds)
                    }
                }
            })
            .collect();
        self.logged_plan = plan;
    }

    /// The feed's state and its reason. A sport that is only late shows it in its own freshness. A lasting problem is
    /// published even while all prices are still fresh.
    pub(crate) fn state(&self, now: Timestamp) -> (FeedState, Option<String>) {
        let is_over = |it: &SportFreshness, grace: i64| it.stale_after.plus_millis(grace) < now;
        let Some((reason, lasts)) = self.trouble(now) else {
            return match self.freshness.is_empty() {
                true => (FeedState::Down, Some("nothing polled yet".into())),
                false => (FeedState::Live, None),
            };
        };
        // True if no sport was polled.
        let are_over = |grace: i64| self.freshness.values().all(|it| is_over(it, grace));
        if are_over(DOWN_AFTER) {
            (FeedState::Down, Some(reason))
        } else if are_over(0) {
            (FeedState::Stale, Some(reason))
        } else {
            // Sports become stale one by one; the others' prices are still fresh.
            let some_are_old = self.freshness.values().any(|it| is_over(it, 0));
            (FeedState::Live, Some(reason).filter(|_| lasts || some_are_old))
        }
    }

    /// The reason why polls fail or can't be made, if there is one, and whether it lasts.
    fn trouble(&self, now: Timestamp) -> Option<(String, bool)> {
        if let Some(reason) = self.troubles.reason() {
            return Some(reason);
        }
        let Budget { left, today, .. } = self.budget(now);
        let dearest = self.season.sports().iter().map(|sport| sport.cost).max_by(f64::total_cmp);
        // Before the first list, that is what has to be paid.
        let dearest = dearest.or_else(|| Some(self.source.list_cost()).filter(|cost| *cost > 0.0))?;
        let reason = if left.is_some_and(|left| left < dearest) {
            "this producer's share of the credits is used up until they are renewed"
        } else if self.settings.max_credits_per_day.is_some_and(|cap| cap < dearest) {
            "one poll costs more credits than the limit per day"
        } else if today.is_some_and(|(left, _)| left < dearest) {
            "the credits for today are used up"
        } else {
            return None;
        };
        Some((reason.to_owned(), true))
    }

    /// The status for the next marker.
    pub(crate) fn status(&self, now: Timestamp, next_by: Timestamp) -> Status {
        let (state, reason) = self.state(now);
        Status {
            at: now,
            next_by,
            state,
            reason,
            source: self.source.name().to_owned(),
            credits: self.credits(),
            sports: self.freshness.clone(),
            bookmakers: self.bookmakers.clone(),
            bookmaker_names: self.bookmaker_names.clone(),
            spent_today: self.spending.recorded(now),
        }
    }
}

/// Whether the remaining credits are known not to cover this cost.
fn lacks(left: Option<f64>, cost: f64) -> bool {
    cost > 0.0 && left.is_some_and(|left| left < cost)
}
