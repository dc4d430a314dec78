//! The simulated world: its odds are a pure function of the seed and the time.
//!
//! Nothing is stored. Goals, prices and the times of price changes all follow from numbers drawn from the seed and a
//! name. So the same seed and the same time give the same answer in any process. With a speed of 20, everything takes a
//! twentieth of the time.

use odds::{Decimal, Region, Timestamp};
use serde::Serialize;

use super::catalogue::{Contest, SPORTS, Sport, bookmakers, is_exchange};

#[derive(Clone, Copy, Debug)]
pub struct World {
    pub seed: u64,
    pub speed: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) sport_key: &'static str,
    pub(super) sport_title: &'static str,
    pub(super) commence_time: Timestamp,
    pub(super) home_team: Option<&'static str>,
    pub(super) away_team: Option<&'static str>,
    pub(super) bookmakers: Vec<Bookmaker>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Bookmaker {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) last_update: Timestamp,
    pub(super) markets: Vec<Market>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Market {
    pub(super) key: &'static str,
    pub(super) last_update: Timestamp,
    pub(super) outcomes: Vec<Outcome>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) price: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) point: Option<Decimal>,
}

const MINUTE: f64 = 60_000.0;

/// One fixture: the `n`th of a sport.
struct Fixture<'a> {
    world: &'a World,
    sport: &'static Sport,
    n: i64,
    start: f64,
    home: usize,
    away: usize,
}

impl World {
    /// A number in 0..1, derived from the seed and these names.
    fn draw(&self, names: &[&dyn std::fmt::Display]) -> f64 {
        // FNV-1a, then the finisher of SplitMix64: good enough for a simulation.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.seed;
        for name in names {
            for byte in name.to_string().bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((hash ^ (hash >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Converts simulated minutes to real milliseconds.
    fn minutes(&self, minutes: f64) -> f64 {
        minutes * MINUTE / self.speed
    }

    pub(super) fn sports(&self) -> &'static [Sport] {
        SPORTS
    }

    /// A sport's events that are offered at a time, sorted by start.
    pub(super) fn events(&self, sport: &'static Sport, region: Region, at: Timestamp) -> Vec<Event> {
        let now = at.as_millis() as f64;
        let mut events: Vec<Event> = self.fixtures(sport, now).map(|fixture| fixture.event(region, now)).collect();
        events.sort_by(|a, b| (a.commence_time, &a.id).cmp(&(b.commence_time, &b.id)));
        events
    }

    /// The running games with their scores.
    pub(super) fn scores(&self, sport: &'static Sport, at: Timestamp) -> Vec<serde_json::Value> {
        let now = at.as_millis() as f64;
        let pairs = self.fixtures(sport, now).filter(|fixture| fixture.sport.contest != Contest::Outright);
        pairs
            .map(|fixture| {
                let event = fixture.event(Region::Us, now);
                let of = |who: f64| fixture.goals(now).filter(|(_, scorer)| *scorer == who).count().to_string();
                let scores = fixture.in_play(now).then(|| {
                    serde_json::json!([
                        { "name": event.home_team, "score": of(1.0) },
                        { "name": event.away_team, "score": of(-1.0) },
                    ])
                });
                serde_json::json!({
                    "id": event.id,
                    "sport_key": event.sport_key,
                    "sport_title": event.sport_title,
                    "commence_time": event.commence_time,
                    "completed": false,
                    "home_team": event.home_team,
                    "away_team": event.away_team,
                    "scores": scores,
                    "last_update": fixture.in_play(now).then_some(at),
                })
            })
            .collect()
    }

    fn fixtures(&self, sport: &'static Sport, now: f64) -> impl Iterator<Item = Fixture<'_>> {
        let every = self.minutes(f64::from(sport.every));
        let first = ((now - self.minutes(f64::from(sport.lasts) * 1.4)) / every).floor() as i64 - 1;
        let last = ((now + self.minutes(f64::from(sport.ahead))) / every).ceil() as i64 + 1;
        (first..=last).map(move |n| self.fixture(sport, n)).filter(move |fixture| fixture.is_offered(now))
    }

    fn fixture(&self, sport: &'static Sport, n: i64) -> Fixture<'_> {
        let every = self.minutes(f64::from(sport.every));
        let start = (n as f64 + 0.8 * self.draw(&[&sport.key, &n, &"start"])) * every;
        // Fixtures start at multiples of five minutes.
        let grid = self.minutes(5.0).max(1_000.0);
        let start = (start / grid).round() * grid;
        let sides = sport.sides.len();
        let home = (self.draw(&[&sport.key, &n, &"home"]) * sides as f64) as usize % sides;
        let other = (self.draw(&[&sport.key, &n, &"away"]) * (sides - 1) as f64) as usize % (sides - 1);
        Fixture { world: self, sport, n, start, home, away: (home + 1 + other) % sides }
    }
}

impl Fixture<'_> {
    fn draw(&self, names: &[&dyn std::fmt::Display]) -> f64 {
        let mut all: Vec<&dyn std::fmt::Display> = vec![&self.sport.key, &self.n];
        all.extend(names);
        self.world.draw(&all)
    }

    fn minutes(&self, minutes: f64) -> f64 {
        self.world.minutes(minutes)
    }

    /// Whether the fixture was moved. One in twelve moves by a quarter of an hour on the day before, and gets a new id.
    fn is_moved(&self, now: f64) -> bool {
        self.draw(&[&"moved"]) < 1.0 / 12.0 && now > self.start - self.minutes(0.4 * f64::from(self.sport.ahead))
    }

    fn start_at(&self, now: f64) -> f64 {
        if self.is_moved(now) { self.start + self.minutes(15.0) } else { self.start }
    }

    fn end(&self, now: f64) -> f64 {
        self.start_at(now) + self.minutes(f64::from(self.sport.lasts) * (0.95 + 0.2 * self.draw(&[&"lasts"])))
    }

    fn is_offered(&self, now: f64) -> bool {
        now >= self.start - self.minutes(f64::from(self.sport.ahead)) && now < self.end(now)
    }

    fn event(&self, region: Region, now: f64) -> Event {
        let half = |salt: &str| (self.draw(&[&"id", &self.is_moved(now), &salt]) * 2f64.powi(53)) as u64;
        let pair = self.sport.contest != Contest::Outright;
        let offers = bookmakers(region).iter().filter_map(|&(key, title)| self.offer(key, title, now));
        let mut bookmakers: Vec<Bookmaker> = offers.collect();
        // Unordered, as at upstream.
        bookmakers.sort_by_key(|offer| (self.draw(&[&offer.key, &"order"]) * 1e9) as u64);
        Event {
            id: format!("{:016x}{:016x}", half("high"), half("low")),
            sport_key: self.sport.key,
            sport_title: self.sport.title,
            commence_time: Timestamp::from_millis((self.start_at(now) / 1000.0).round() as i64 * 1000),
            home_team: pair.then_some(self.sport.sides[self.home]),
            away_team: pair.then_some(self.sport.sides[self.away]),
            bookmakers,
        }
    }

    /// One bookmaker's offer; none if it doesn't offer this event or is temporarily missing.
    fn offer(&self, bookmaker: &'static str, title: &'static str, now: f64) -> Option<Bookmaker> {
        let covers = self.draw(&[&bookmaker, &"covers"]) < 0.92;
        let day_part = (now / self.minutes(90.0)).floor();
        let away = self.world.draw(&[&self.sport.key, &bookmaker, &"away", &day_part]) < 0.02;
        if !covers || away {
            return None;
        }
        // Upstream read the bookmaker some seconds ago, so this time changes with every poll.
        let seen = now - self.minutes(0.1 + 0.9 * self.draw(&[&bookmaker, &"lag"]));
        let last_update = Timestamp::from_millis((seen / 1000.0).floor() as i64 * 1000);
        let markets = self.markets(bookmaker, now);
        let markets: Vec<_> =
            markets.into_iter().map(|(key, outcomes)| Market { key, last_update, outcomes }).collect();
        (!markets.is_empty()).then_some(Bookmaker { key: bookmaker, title, last_update, markets })
    }

    /// The times of goals (or similar) so far, and the side that scores: +1 for home.
    fn goals(&self, now: f64) -> impl Iterator<Item = (f64, f64)> {
        let start = self.start_at(now);
        let count = match self.sport.contest {
            Contest::Football => (self.draw(&[&"goals"]) * 6.0) as usize,
            Contest::Points { .. } => 12,
            Contest::Duel => 9,
            Contest::Outright => 0,
        };
        (0..count)
            .map(move |n| {
                let at = start + self.minutes(f64::from(self.sport.lasts)) * self.draw(&[&"goal", &n]);
                (at, if self.draw(&[&"scorer", &n]) < 0.52 { 1.0 } else { -1.0 })
            })
            .filter(move |(at, _)| *at <= now)
    }

    /// The strength of home against away at a time, as log odds.
    fn strength(&self, at: f64) -> f64 {
        let rating = |side: usize| 1.6 * self.world.draw(&[&self.sport.key, &"rating", &side]) - 0.8;
        let base = rating(self.home) - rating(self.away) + 0.15;
        let hours = at / self.minutes(60.0);
        let drift: f64 = (0..3)
            .map(|n| {
                let phase = self.draw(&[&"phase", &n]) * std::f64::consts::TAU;
                let rate = 0.05 + 0.5 * self.draw(&[&"rate", &n]);
                0.09 * (hours * rate + phase).sin()
            })
            .sum();
        let weight = match self.sport.contest {
            Contest::Football => 1.1,
            _ => 0.35,
        };
        let score: f64 = self.goals(at).map(|(_, who)| who * weight).sum();
        base + drift + score
    }

    fn in_play(&self, now: f64) -> bool {
        now >= self.start_at(now)
    }

    fn markets(&self, bookmaker: &'static str, now: f64) -> Vec<(&'static str, Vec<Outcome>)> {
        // Markets are suspended while a goal is checked.
        let checking = self.minutes(0.5 + self.draw(&[&bookmaker, &"check"]));
        if self.in_play(now) && self.goals(now).any(|(at, _)| now - at < checking) {
            return Vec::new();
        }
        // A bookmaker updates its price from time to time, and more often in play and near the start.
        let to_start = (self.start_at(now) - now) / self.minutes(60.0);
        let look = if self.in_play(now) {
            0.67
        } else if to_start < 6.0 {
            8.0
        } else {
            45.0
        };
        let look = self.minutes(look * (0.7 + 0.6 * self.draw(&[&bookmaker, &"look"])));
        let looked = ((now / look).floor() * look).max(if self.in_play(now) { self.start_at(now) } else { 0.0 });
        let strength = self.strength(looked) + 0.08 * (self.draw(&[&bookmaker, &"opinion"]) - 0.5);
        let margin = if is_exchange(bookmaker) { 0.01 } else { 0.03 + 0.05 * self.draw(&[&bookmaker, &"margin"]) };
        let home = self.sport.sides[self.home];
        let away = self.sport.sides[self.away];
        let price = |p: f64| price(p * (1.0 + margin));
        let side = |name, p, point: Option<f64>| Outcome { name, price: price(p), point: point.map(decimal) };
        let chance = |shift: f64| 1.0 / (1.0 + (-(strength + shift)).exp());

        let mut markets = Vec::new();
        match self.sport.contest {
            Contest::Outright => {
                let weights: Vec<f64> = (0..self.sport.sides.len())
                    .map(|side| {
                        let phase = self.draw(&[&"phase", &side]) * std::f64::consts::TAU;
                        let drift = 0.2 * (looked / self.minutes(600.0) + phase).sin();
                        (2.5 * self.draw(&[&"rating", &side]) + drift).exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                let mut outcomes: Vec<_> = (self.sport.sides.iter().zip(&weights))
                    .map(|(name, weight)| side(name, weight / total, None))
                    .collect();
                outcomes.sort_by_key(|outcome| outcome.price);
                markets.push(("outrights", outcomes));
            }
            contest => {
                let p = chance(0.0);
                let mut h2h = match contest {
                    Contest::Football => {
                        let draw = 0.30 * (1.0 - (2.0 * p - 1.0).abs());
                        let mut outcomes =
                            vec![side(home, p * (1.0 - draw), None), side(away, (1.0 - p) * (1.0 - draw), None)];
                        outcomes.sort_by_key(|outcome| outcome.name);
                        outcomes.push(side("Draw", draw.max(0.02), None));
                        outcomes
                    }
                    _ => vec![side(home, p, None), side(away, 1.0 - p, None)],
                };
                if contest != Contest::Football {
                    h2h.sort_by_key(|outcome| outcome.name);
                }
                if is_exchange(bookmaker) {
                    let lay = |outcome: &Outcome| Outcome {
                        price: Decimal::new((outcome.price.to_f64() * 103.0).round() as i64 + 1, 2),
                        ..outcome.clone()
                    };
                    markets.push(("h2h_lay", h2h.iter().map(lay).collect()));
                }
                markets.push(("h2h", h2h));
                if contest != Contest::Duel {
                    let (spread, step, total) = match contest {
                        Contest::Points { total, spread } => (spread, spread / 12.0, total),
                        _ => (1.5, 0.55, 2.5),
                    };
                    let line = (-strength * spread * 0.8).round() / 2.0 * 2.0;
                    let line = if line.fract() == 0.0 { line + 0.5 } else { line };
                    // Some bookmakers list several lines in the same market.
                    let lines = if self.draw(&[&bookmaker, &"lines"]) < 0.25 { -1..=1 } else { 0..=0 };
                    let mut outcomes = Vec::new();
                    for n in lines {
                        let point = line + f64::from(n);
                        let p = chance(point * 0.9 / (spread * 0.8).max(step));
                        outcomes.push(side(home, p, Some(point)));
                        outcomes.push(side(away, 1.0 - p, Some(-point)));
                    }
                    outcomes.sort_by_key(|outcome| (outcome.name, outcome.point));
                    markets.push(("spreads", outcomes));
                    let scored = self.goals(looked).count() as f64;
                    let pace = if contest == Contest::Football { scored } else { 0.0 };
                    let line = (total + pace + (4.0 * self.draw(&[&"total"])).round() - 2.0).floor().max(0.0) + 0.5;
                    let over = 0.5 + 0.06 * (looked / self.minutes(300.0) + self.draw(&[&"over"]) * 6.0).sin();
                    let totals = vec![side("Over", over, Some(line)), side("Under", 1.0 - over, Some(line))];
                    markets.push(("totals", totals));
                }
            }
        }
        markets.sort_by_key(|(key, _)| *key);
        markets
    }
}

/// Rounds a price like bookmakers do: short prices in finer steps than long ones.
fn price(p: f64) -> Decimal {
    let fair = 1.0 / p.clamp(0.002, 0.985);
    let hundredths = if fair < 3.0 {
        (fair * 100.0).round()
    } else if fair < 10.0 {
        (fair * 20.0).round() * 5.0
    } else {
        fair.round() * 100.0
    };
    Decimal::new((hundredths as i64).max(101), 2)
}

fn decimal(value: f64) -> Decimal {
    Decimal::new((value * 100.0).round() as i64, 2)
}
