//! A simulated month of polling, for tests of the poll plan: sports with their fixtures, and any number of producers
//! that share one key.

use odds::Timestamp;
use producers::{Budget, Nearness, SportState, first_of_next_month, next_poll};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A sport's fixtures over a month that starts on the first.
pub struct Fixtures {
    pub starts: Vec<Timestamp>,
    pub lasts: i64,
}

pub fn month_begins() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

/// A sport that plays a few games on some days of the week, at different hours for each `n`.
pub fn sport(n: i64) -> Fixtures {
    let mut starts = Vec::new();
    for day in (0..30).filter(|day| (day + n) % (1 + n % 4) == 0) {
        for game in 0..=(n % 3) {
            starts.push(month_begins().plus_millis(day * DAY + (12 + (n * 5 + game * 3) % 11) * HOUR));
        }
    }
    Fixtures { starts, lasts: 2 * HOUR }
}

#[derive(Debug, Default)]
pub struct Month {
    pub polls: u64,
    pub spent: f64,
    /// When a poll first couldn't be paid. None if that never happened.
    pub dry: Option<Timestamp>,
    pub polls_in_play: u64,
    pub play_time: i64,
    /// The longest time between two polls of each sport.
    pub longest_unseen: Vec<i64>,
    pub shortest_interval: i64,
}

/// Simulates `producers` that share a key with these credits, for `days` from `begin`.
pub fn play(fixtures: &[Fixtures], credits: f64, producers: usize, cost: f64, begin: Timestamp, days: i64) -> Month {
    let end = begin.plus_millis(days * DAY);
    let mut left = credits;
    let mut month = Month { longest_unseen: vec![0; fixtures.len()], shortest_interval: i64::MAX, ..Month::default() };
    let mut last_polled: Vec<Vec<Option<Timestamp>>> = vec![vec![None; fixtures.len()]; producers];
    let mut now = begin;
    while now < end {
        let mut next = now.plus_millis(MINUTE);
        for polled in &mut last_polled {
            let sports: Vec<SportState> = fixtures
                .iter()
                .zip(polled.iter())
                .enumerate()
                .map(|(n, (fixtures, last_polled))| {
                    // Upstream lists running events until they end, and upcoming ones a week ahead.
                    let listed = |start: &&Timestamp| {
                        let until = start.millis_since(now);
                        until > -fixtures.lasts && until < 7 * DAY
                    };
                    let starts = fixtures.starts.iter().filter(listed).copied().collect();
                    let key = format!("s{n}").parse().unwrap();
                    SportState { key, outrights: false, starts, last_polled: *last_polled, cost }
                })
                .collect();
            let share = left / producers as f64;
            let budget = Budget { left: Some(share), renewal: first_of_next_month(now), today: None };
            let Some((at, due)) = next_poll(&sports, &budget, now) else {
                month.dry.get_or_insert(now);
                continue;
            };
            if due > now {
                next = next.min(due);
                continue;
            }
            if let Some(last) = polled[at] {
                month.shortest_interval = month.shortest_interval.min(now.millis_since(last));
                month.longest_unseen[at] = month.longest_unseen[at].max(now.millis_since(last));
            }
            polled[at] = Some(now);
            left -= cost;
            month.spent += cost;
            month.polls += 1;
            if sports[at].nearness(now) == Nearness::InPlay {
                month.polls_in_play += 1;
            }
            next = next.min(now.plus_millis(1_000));
        }
        let step = next.max(now.plus_millis(1_000));
        let running = |it: &&Fixtures| it.starts.iter().any(|start| (0..it.lasts).contains(&now.millis_since(*start)));
        month.play_time += fixtures.iter().filter(running).count() as i64 * step.millis_since(now);
        now = step;
    }
    month
}
