//! When to poll which sport: as often as its events need, never faster than upstream updates, and never so often that
//! the credits run out before they are renewed.
//!
//! Each sport has an ideal interval. If polling at the ideal intervals would spend the remaining budget before its
//! renewal, the intervals are stretched by a common factor. Sports in play are stretched less than others: if credits
//! allow, they may spend at a multiple of the even rate. Polls of all sports together keep the distance that this rate
//! allows, and the sport most overdue for its interval is polled next. The rate is always computed from the credits
//! that remain, so it falls as they do.

use odds::{SportKey, Timestamp};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How long an event counts as in play after its start, unless it vanishes earlier.
const IN_PLAY_FOR: i64 = 4 * HOUR;

/// While games are in play, credits may be spent at up to this multiple of the even rate.
const IN_PLAY_RUSH: f64 = 3.0;

/// A sport, as the poll plan sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct SportState {
    pub key: SportKey,
    pub outrights: bool,
    /// When its events start, including those that are running.
    pub starts: Vec<Timestamp>,
    pub last_polled: Option<Timestamp>,
    /// Credits that a poll costs.
    pub cost: f64,
}

/// The credits that may be spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// This producer's share of the key's remaining credits. None before the first answer.
    pub left: Option<f64>,
    pub renewal: Timestamp,
    /// Credits that may still be spent today, and when the day ends. None without a daily limit.
    pub today: Option<(f64, Timestamp)>,
}

/// How soon a sport's next event starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    InPlay,
    Hour,
    SixHours,
    Day,
    Days,
    Distant,
}

impl SportState {
    pub fn nearness(&self, now: Timestamp) -> Nearness {
        let until = |start: &Timestamp| start.millis_since(now);
        if self.starts.iter().map(until).any(|until| (-IN_PLAY_FOR..=0).contains(&until)) {
            return Nearness::InPlay;
        }
        match self.starts.iter().map(until).filter(|until| *until > 0).min() {
            Some(until) if until <= HOUR => Nearness::Hour,
            Some(until) if until <= 6 * HOUR => Nearness::SixHours,
            Some(until) if until <= DAY => Nearness::Day,
            Some(until) if until <= 3 * DAY => Nearness::Days,
            _ => Nearness::Distant,
        }
    }

    /// The ideal interval between polls, in milliseconds. Never shorter than upstream's own update interval.
    fn deserved(&self, now: Timestamp) -> i64 {
        match (self.nearness(now), self.outrights) {
            (Nearness::InPlay, false) => 40 * SECOND,
            (Nearness::InPlay, true) => MINUTE,
            (_, true) => HOUR,
            (Nearness::Hour, false) => MINUTE,
            (Nearness::SixHours, false) => 4 * MINUTE,
            (Nearness::Day, false) => 15 * MINUTE,
            (Nearness::Days, false) => 40 * MINUTE,
            (Nearness::Distant, false) => 2 * HOUR,
        }
    }
}

/// Returns the current interval of each sport in milliseconds, or None for a sport whose poll can't be paid.
pub fn intervals(sports: &[SportState], budget: &Budget, now: Timestamp) -> Vec<Option<i64>> {
    let rate = |sport: &SportState| sport.cost / sport.deserved(now) as f64;
    let of = |in_play: bool| {
        sports.iter().filter(move |sport| (sport.nearness(now) == Nearness::InPlay) == in_play).map(rate).sum::<f64>()
    };
    let (play, rest) = (of(true), of(false));
    let even = even_rate(budget, now);
    // Sports not in play get what those in play leave of the even rate, but at least a third of it.
    let rest_rate = (even - play).max(even / 3.0);
    let play_rate = even * rush(sports, budget, now) - rest.min(rest_rate);
    let stretch = |wanted: f64, allowed: f64| if wanted > allowed { wanted / allowed } else { 1.0 };
    let (stretch_play, stretch_rest) = (stretch(play, play_rate), stretch(rest, rest_rate));
    sports
        .iter()
        .map(|sport| {
            if sport.cost > affordable(budget) {
                return None;
            }
            let stretch = if sport.nearness(now) == Nearness::InPlay { stretch_play } else { stretch_rest };
            let interval = sport.deserved(now) as f64 * stretch;
            Some(interval.min(366.0 * DAY as f64) as i64)
        })
        .collect()
}

/// Credits per millisecond, if the remaining credits are spent evenly until their renewal.
fn even_rate(budget: &Budget, now: Timestamp) -> f64 {
    let over = |left: f64, until: Timestamp| left.max(0.0) / until.millis_since(now).max(MINUTE) as f64;
    let month = budget.left.map_or(f64::INFINITY, |left| over(left, budget.renewal));
    let day = budget.today.map_or(f64::INFINITY, |(left, until)| over(left, until));
    month.min(day)
}

/// Returns the multiple of the even rate that may be spent. It is 1 if the even rate doesn't pay for a daily poll of
/// every sport, or if the remaining credits don't pay for one poll of each.
fn rush(sports: &[SportState], budget: &Budget, now: Timestamp) -> f64 {
    let once: f64 = sports.iter().map(|sport| sport.cost).sum();
    (affordable(budget).min(even_rate(budget, now) * DAY as f64) / once).clamp(1.0, IN_PLAY_RUSH)
}

fn affordable(budget: &Budget) -> f64 {
    budget.left.unwrap_or(f64::INFINITY).min(budget.today.map_or(f64::INFINITY, |(left, _)| left))
}

/// Returns the index of the sport to poll next, and when. A time in the past means now. None if no poll can be paid.
pub fn next_poll(sports: &[SportState], budget: &Budget, now: Timestamp) -> Option<(usize, Timestamp)> {
    let intervals = intervals(sports, budget, now);
    let payable = || intervals.iter().enumerate().filter_map(|(at, interval)| Some((at, (*interval)?)));
    // A sport that was never polled doesn't wait.
    if let Some((at, _)) = payable().find(|(at, _)| sports[*at].last_polled.is_none()) {
        return Some((at, Timestamp::from_millis(0)));
    }
    let polled = |at: usize| sports[at].last_polled.unwrap_or(now);
    let soonest = payable().map(|(at, interval)| polled(at).plus_millis(interval)).min()?;
    let latest = payable().max_by_key(|(at, _)| polled(*at))?.0;
    // The rate at the time of the last poll: if it were the current one, it would rise, and the wait shrink, as time
    // passes.
    let rate = even_rate(budget, polled(latest)) * rush(sports, budget, polled(latest));
    let due = soonest.max(polled(latest).plus_millis((sports[latest].cost / rate).min(366.0 * DAY as f64) as i64));
    let waited = |(at, interval): (usize, i64)| due.millis_since(polled(at)) as f64 / interval.max(1) as f64;
    let turn = payable().max_by(|one, other| waited(*one).total_cmp(&waited(*other)))?.0;
    Some((turn, due))
}

/// Returns until when a poll counts as fresh: until well after the next poll is due, but only briefly in play.
pub fn stale_after(sport: &SportState, interval: i64, polled_at: Timestamp) -> Timestamp {
    let longest = match sport.nearness(polled_at) {
        Nearness::InPlay => 3 * MINUTE,
        Nearness::Hour => 10 * MINUTE,
        Nearness::SixHours => HOUR,
        _ => DAY,
    };
    polled_at.plus_millis((2 * interval + 30 * SECOND).min(longest))
}

/// Returns when the day ends, in UTC.
pub fn midnight_after(now: Timestamp) -> Timestamp {
    Timestamp::from_millis((now.as_millis().div_euclid(DAY) + 1) * DAY)
}
