//! When to poll which sport: as often as its events deserve, never faster than upstream moves, and
//! never so often that the credits run dry before they are renewed.
//!
//! Each sport has an interval it deserves. If all of them together would spend faster than what is
//! left of the budget until renewal, they are stretched by a common factor, sports in play less
//! than others: with credits for it, those may spend at a multiple of the even rate. Polls of all
//! sports together keep the distance that this rate allows; whose turn it is then says who has
//! waited longest for its interval. Because the rate is always taken from what is left, what is
//! left shrinks towards nothing but does not get there.

use odds::{SportKey, Timestamp};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How long after its start an event is taken to be in play, unless it vanishes before.
const IN_PLAY_FOR: i64 = 4 * HOUR;

/// At most this many times the even rate may be spent while games are in play.
const IN_PLAY_RUSH: f64 = 3.0;

#[derive(Clone, Debug, PartialEq)]
pub struct SportState {
    pub key: SportKey,
    pub outrights: bool,
    /// When its events start, running ones included.
    pub starts: Vec<Timestamp>,
    pub last_polled: Option<Timestamp>,
    /// What a poll costs.
    pub cost: f64,
}

/// What may be spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// This producer's share of what the key has left; nothing is known before the first answer.
    pub left: Option<f64>,
    pub renewal: Timestamp,
    /// What may still be spent today, and when the day ends.
    pub today: Option<(f64, Timestamp)>,
}

/// How soon something happens in a sport.
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

    /// How often it would be polled with credits to spare. Never faster than upstream moves.
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

/// The interval of each sport, as things stand now; nothing where no poll can be paid.
pub fn intervals(sports: &[SportState], budget: &Budget, now: Timestamp) -> Vec<Option<i64>> {
    let rate = |sport: &SportState| sport.cost / sport.deserved(now) as f64;
    let of = |in_play: bool| {
        sports.iter().filter(move |sport| (sport.nearness(now) == Nearness::InPlay) == in_play).map(rate).sum::<f64>()
    };
    let (play, rest) = (of(true), of(false));
    let even = even_rate(budget, now);
    // The rest gets what play leaves of the even rate, and a third of it in any case.
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

/// Credits a millisecond, if what is left is spent evenly until it is renewed.
fn even_rate(budget: &Budget, now: Timestamp) -> f64 {
    let over = |left: f64, until: Timestamp| left.max(0.0) / until.millis_since(now).max(MINUTE) as f64;
    let month = budget.left.map_or(f64::INFINITY, |left| over(left, budget.renewal));
    let day = budget.today.map_or(f64::INFINITY, |(left, until)| over(left, until));
    month.min(day)
}

/// How much faster than evenly may be spent: not at all unless every sport could be seen daily,
/// nor on the last credits.
fn rush(sports: &[SportState], budget: &Budget, now: Timestamp) -> f64 {
    let once: f64 = sports.iter().map(|sport| sport.cost).sum();
    (affordable(budget).min(even_rate(budget, now) * DAY as f64) / once).clamp(1.0, IN_PLAY_RUSH)
}

fn affordable(budget: &Budget) -> f64 {
    budget.left.unwrap_or(f64::INFINITY).min(budget.today.map_or(f64::INFINITY, |(left, _)| left))
}

/// Which sport to poll next, and when; a moment that has passed means now.
pub fn next_poll(sports: &[SportState], budget: &Budget, now: Timestamp) -> Option<(usize, Timestamp)> {
    let intervals = intervals(sports, budget, now);
    let payable = || intervals.iter().enumerate().filter_map(|(at, interval)| Some((at, (*interval)?)));
    // A sport that was never seen doesn't wait.
    if let Some((at, _)) = payable().find(|(at, _)| sports[*at].last_polled.is_none()) {
        return Some((at, Timestamp::from_millis(0)));
    }
    let polled = |at: usize| sports[at].last_polled.unwrap_or(now);
    let soonest = payable().map(|(at, interval)| polled(at).plus_millis(interval)).min()?;
    let latest = payable().max_by_key(|(at, _)| polled(*at))?.0;
    // As things were when the last poll was paid: while one waits, the time left must not shrink the wait.
    let rate = even_rate(budget, polled(latest)) * rush(sports, budget, polled(latest));
    let due = soonest.max(polled(latest).plus_millis((sports[latest].cost / rate).min(366.0 * DAY as f64) as i64));
    let waited = |(at, interval): (usize, i64)| due.millis_since(polled(at)) as f64 / interval.max(1) as f64;
    let turn = payable().max_by(|one, other| waited(*one).total_cmp(&waited(*other)))?.0;
    Some((turn, due))
}

/// Until when a poll counts as fresh: until well after the next is due, and not for long in play.
pub fn stale_after(sport: &SportState, interval: i64, polled_at: Timestamp) -> Timestamp {
    let longest = match sport.nearness(polled_at) {
        Nearness::InPlay => 3 * MINUTE,
        Nearness::Hour => 10 * MINUTE,
        Nearness::SixHours => HOUR,
        _ => DAY,
    };
    polled_at.plus_millis((2 * interval + 30 * SECOND).min(longest))
}

/// When the key's credits are renewed: on the first of the month, in UTC.
pub fn renewal_after(now: Timestamp) -> Timestamp {
    let text = now.to_string();
    let year: i32 = text[..4].parse().expect("four digits of a year");
    let month: u32 = text[5..7].parse().expect("two digits of a month");
    let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    format!("{year:04}-{month:02}-01T00:00:00Z").parse().unwrap_or(now)
}

/// When the day ends, in UTC.
pub fn midnight_after(now: Timestamp) -> Timestamp {
    Timestamp::from_millis((now.as_millis().div_euclid(DAY) + 1) * DAY)
}
