//! What depends on the time: when events start, since when regions are not live, and when events are over.

use std::collections::{BTreeSet, HashMap};

use odds::{Details, EventId, FeedState, Region, SportKey, Timestamp};

use super::{Matcher, evaluation::Occasion};
use crate::{
    Boards, Decision, Facts, RegionView, Subject,
    market_now::MarketNow,
    measure::{Measure, Place, Reading, rounded},
    regions::ByRegion,
};

const MINUTE_MS: i64 = 60_000;
/// The longest time before a start that a rule can wait for.
const EARLIEST_MS: i64 = 24 * 60 * MINUTE_MS;
/// An event that no board has this long after its start is over.
const OVER_AFTER_MS: i64 = 3 * 60 * MINUTE_MS;
/// How often that is checked while a board has it.
const CHECK_AGAIN_MS: i64 = 10 * MINUTE_MS;
/// The level of a feed of which nothing is known: neither well nor not.
const UNKNOWN: f64 = 0.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Check {
    Start,
    Over,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    events: HashMap<EventId, Noted>,
    due: BTreeSet<(Timestamp, Check, EventId)>,
    feeds: ByRegion<Option<Feed>>,
}

#[derive(Debug)]
struct Noted {
    sport: SportKey,
    start: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Feed {
    is_live: bool,
    since: Timestamp,
}

/// The minutes until the start, negative.
pub(super) fn start_level(start: Timestamp, now: Timestamp) -> f64 {
    -(start.millis_since(now) as f64) / MINUTE_MS as f64
}

impl Timers {
    pub(super) fn note_event(&mut self, event: &EventId, details: &Details) {
        let noted = Noted { sport: details.sport_key.clone(), start: details.commence_time };
        self.due.insert((Timestamp::default(), Check::Start, event.clone()));
        if self.events.insert(event.clone(), noted).is_none() {
            self.due.insert((details.commence_time.plus_millis(OVER_AFTER_MS), Check::Over, event.clone()));
        }
    }

    /// Returns the sport of an event that was known.
    pub(super) fn forget_event(&mut self, event: &EventId) -> Option<SportKey> {
        self.events.remove(event).map(|noted| noted.sport)
    }

    /// Checks the starts of these events at the next tick.
    pub(super) fn check_starts(&mut self, place: &Place) {
        let due = &mut self.due;
        let mut check = |event: &EventId| {
            due.insert((Timestamp::default(), Check::Start, event.clone()));
        };
        match place {
            Place::Event(event) => check(event),
            Place::Sport(sport) => {
                let of_sport = self.events.iter().filter(|(_, noted)| noted.sport == *sport);
                of_sport.for_each(|(event, _)| check(event));
            }
            Place::Regions => {}
        }
    }

    /// Takes out the checks of a kind whose time has come.
    fn take_due(&mut self, check: Check, now: Timestamp) -> Vec<EventId> {
        let is_due = |it: &&(Timestamp, Check, EventId)| it.0 <= now;
        let due: Vec<_> = self.due.iter().take_while(is_due).filter(|it| it.1 == check).cloned().collect();
        for it in &due {
            self.due.remove(it);
        }
        due.into_iter().map(|(.., event)| event).collect()
    }

    pub(super) fn events_that_are_over(&mut self, boards: &Boards<'_>, now: Timestamp) -> Vec<EventId> {
        let mut over = Vec::new();
        for event in self.take_due(Check::Over, now) {
            let Some(noted) = self.events.get(&event) else { continue };
            let earliest = noted.start.plus_millis(OVER_AFTER_MS);
            if earliest > now {
                self.due.insert((earliest, Check::Over, event));
            } else if boards.has_event(&event) || boards.steps().iter().next().is_none() {
                self.due.insert((now.plus_millis(CHECK_AGAIN_MS), Check::Over, event));
            } else {
                over.push(event);
            }
        }
        over
    }

    /// The minutes without a live feed; negative, the minutes with one.
    pub(super) fn feed_level(&self, region: Region, now: Timestamp) -> f64 {
        self.feeds[region].map_or(UNKNOWN, |feed| {
            let minutes = now.millis_since(feed.since).max(0) as f64 / MINUTE_MS as f64;
            if feed.is_live { -minutes } else { minutes }
        })
    }

    fn note_feed(&mut self, region: Region, view: Option<RegionView<'_>>, now: Timestamp) {
        let is_live = view.is_some_and(|view| view.is_live(now));
        if self.feeds[region].is_some_and(|feed| feed.is_live == is_live) {
            return;
        }
        let since = match view {
            Some(RegionView { marker, .. }) if !is_live && marker.state == FeedState::Live => marker.next_by.min(now),
            Some(RegionView { marker, .. }) if !is_live => marker.at.min(now),
            _ => now,
        };
        self.feeds[region] = Some(Feed { is_live, since });
    }

    /// When the start of an event is checked next: at whole minutes before it.
    fn next_check(start: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let left = start.millis_since(now);
        let next = (left - 1).div_euclid(MINUTE_MS) * MINUTE_MS;
        (left > 0).then(|| start.plus_millis(-next.clamp(0, EARLIEST_MS)))
    }
}

impl Matcher {
    pub(super) fn evaluate_starts(&mut self, boards: &Boards<'_>, decisions: &mut Vec<Decision>) {
        self.release_timed();
        let now = self.now;
        for event in self.timers.take_due(Check::Start, now) {
            let Some(Noted { sport, start }) = self.timers.events.get(&event) else { continue };
            if let Some(next) = Timers::next_check(*start, now) {
                self.timers.due.insert((next, Check::Start, event.clone()));
            }
            for slot in self.groups.of_market(&event, &sport.clone(), None) {
                let Some(key) = self.groups.get(slot).map(|group| group.key.clone()) else { continue };
                let details = boards.details_of(&event, key.regions);
                let is_about = |team: &str| details.is_some_and(|details| MarketNow::has_team(details, team));
                let Some(details) = details.filter(|_| key.team.as_ref().is_none_or(|team| is_about(team))) else {
                    continue;
                };
                let level = start_level(details.commence_time, now);
                let facts = Facts { value: Some(rounded(-level)), ..Facts::default() };
                let reading = Reading {
                    subject: Subject { event: Some(event.clone()), ..Subject::default() },
                    level,
                    may_fire: true,
                    may_arm: true,
                    facts: facts.about_event(&event, details),
                };
                let start = details.commence_time;
                let (steps, is_late) = (boards.steps(), start <= now);
                let occasion = Occasion { at: now, steps, is_late, is_change: true, start: Some(start) };
                self.evaluate(slot, &reading, &occasion, decisions);
            }
        }
    }

    pub(super) fn evaluate_feeds(&mut self, boards: &Boards<'_>, decisions: &mut Vec<Decision>) {
        let now = self.now;
        Region::ALL.into_iter().for_each(|region| self.timers.note_feed(region, boards.get(region), now));
        let occasion = Occasion { at: now, steps: boards.steps(), is_late: false, is_change: true, start: None };
        for slot in self.groups.of_regions().to_vec() {
            let Some(key) = self.groups.get(slot).map(|group| group.key.clone()) else { continue };
            debug_assert_eq!(key.measure, Measure::Feed);
            for region in key.regions.iter() {
                let level = self.timers.feed_level(region, now);
                let facts = Facts { region: Some(region), value: Some(rounded(level)), ..Facts::default() };
                let subject = Subject { region: Some(region), ..Subject::default() };
                let reading = Reading { subject, level, may_fire: true, may_arm: true, facts };
                self.evaluate(slot, &reading, &occasion, decisions);
            }
        }
    }
}
