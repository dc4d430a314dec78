//! Crossings of rules over one region, by the simplest code: it looks at every step, and knows nothing of the matcher.

use std::collections::BTreeMap;

use alerts::{Kind, Limit, Rule};
use odds::Timestamp;

use crate::world::{MINUTE, Quality, World, WorldStep};

/// An episode, the event it is about, and the time of the step at which it fires.
pub type Crossing = (u32, u8, Timestamp);

#[derive(Clone, Copy)]
struct State {
    armed: bool,
    episode: u32,
    fired_at: Option<Timestamp>,
}

/// The crossings of a rule over one region after its last edit, for each of these events.
pub fn crossings(world: &World, rule: &Rule, edited_at: Timestamp, events: &[u8]) -> Vec<Crossing> {
    let region = rule.scope.regions.iter().next().unwrap();
    let steps = world.of(region);
    let mut found: Vec<Crossing> = events.iter().flat_map(|event| of_event(&steps, rule, edited_at, *event)).collect();
    found.sort_by_key(|(episode, event, at)| (*at, *event, *episode));
    if rule.cooldown_minutes.is_none() {
        found.truncate(1);
    }
    found
}

fn of_event(steps: &[&WorldStep], rule: &Rule, edited_at: Timestamp, event: u8) -> Vec<Crossing> {
    let is_about_sport = rule.scope.sport.is_some();
    let market = rule.scope.market.as_ref().unwrap().as_str();
    let market = ["h2h", "totals"].into_iter().find(|it| *it == market).unwrap();
    let mut state = State { armed: true, episode: 1, fired_at: None };
    // A price that is there when a rule is made counts, but not for a whole sport.
    let mut changed = matches!(rule.kind, Kind::Price(_)) && !is_about_sport;
    let mut last_value = None;
    let mut base: Option<f64> = None;
    let mut found = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        changed |= step.changed.contains(&(event, market));
        if step.quality != Quality::Live || !changed {
            continue;
        }
        let was_edited_before = step.at > edited_at;
        if !was_edited_before && !is_about_sport && !matches!(rule.kind, Kind::Line { .. }) {
            changed = matches!(rule.kind, Kind::Price(_));
            continue;
        }
        changed = false;
        let Some(value) = value(steps, n, rule, event) else { continue };
        let before = last_value.replace(value);
        if !was_edited_before {
            base = Some(value);
            continue;
        }
        let is_cool = state
            .fired_at
            .is_none_or(|at| step.at >= at.plus_millis(i64::from(rule.cooldown_minutes.unwrap_or(0)) * MINUTE));
        if let Kind::Line { by } = rule.kind {
            let from = *base.get_or_insert(value);
            if (value - from).abs() >= by.to_f64() && is_cool {
                found.push((state.episode, event, step.at));
                state = State { armed: true, episode: state.episode + 1, fired_at: Some(step.at) };
                base = Some(value);
            }
            continue;
        }
        let (reached, back) = sides(rule, value);
        if !state.armed && back {
            state = State { armed: true, episode: state.episode + 1, ..state };
        }
        // For a whole sport, the price must have been on the other side before.
        let crosses = !is_about_sport || state.episode > 1 || before.is_some_and(|before| !sides(rule, before).0);
        if state.armed && reached && crosses && is_cool {
            found.push((state.episode, event, step.at));
            state = State { armed: false, fired_at: Some(step.at), ..state };
        }
    }
    found
}

/// Whether the value is reached, and whether it is back by the margin.
fn sides(rule: &Rule, value: f64) -> (bool, bool) {
    match rule.kind {
        Kind::Price(Limit::AtLeast(price)) => (value >= price.to_f64(), value <= price.to_f64() * (1.0 - 0.01)),
        Kind::Price(Limit::AtMost(price)) => (value <= price.to_f64(), value >= price.to_f64() * (1.0 + 0.01)),
        Kind::Move { percent, .. } | Kind::Arbitrage { percent } => {
            (value >= percent.to_f64(), value <= percent.to_f64() * 0.5)
        }
        _ => unreachable!("no value"),
    }
}

/// What the rule looks at, after the step.
fn value(steps: &[&WorldStep], n: usize, rule: &Rule, event: u8) -> Option<f64> {
    let offers: BTreeMap<u8, _> =
        steps[n].offers.iter().filter(|((it, _), _)| *it == event).map(|((_, b), offer)| (*b, *offer)).collect();
    if offers.is_empty() {
        return None;
    }
    let best = |of: fn(&crate::world::Offer) -> i64| offers.values().map(of).max().unwrap() as f64 / 100.0;
    match rule.kind {
        Kind::Price(_) => Some(best(|it| it.a)),
        Kind::Arbitrage { .. } => Some((1.0 / (1.0 / best(|it| it.a) + 1.0 / best(|it| it.b)) - 1.0) * 100.0),
        Kind::Line { .. } => {
            let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
            offers.values().for_each(|it| *counts.entry(it.half_points).or_default() += 1);
            let most = *counts.values().max().unwrap();
            counts.into_iter().find(|(_, count)| *count == most).map(|(halves, _)| halves as f64 / 2.0)
        }
        Kind::Move { minutes, bookmakers, .. } => {
            let live_since = live_since(steps, n)?;
            let from = steps[n].at.plus_millis(-i64::from(minutes) * MINUTE).max(live_since);
            if from >= steps[n].at {
                return None;
            }
            // The newest step at that time.
            let earlier = steps[..=n].iter().rev().find(|step| step.at <= from)?;
            let both: Vec<_> =
                offers.iter().filter_map(|(b, now)| Some((*earlier.offers.get(&(event, *b))?, *now))).collect();
            if both.is_empty() {
                return None;
            }
            let share = |a: i64, b: i64| (1.0 / a as f64) / (1.0 / a as f64 + 1.0 / b as f64);
            let [mut then, mut now] = [Vec::new(), Vec::new()];
            for (before, after) in &both {
                then.push(share(before.a, before.b));
                now.push(share(after.a, after.b));
            }
            let change = median(now) - median(then);
            let with = both.iter().filter(|(before, after)| match change > 0.0 {
                true => after.a < before.a,
                false => after.a > before.a,
            });
            Some(if with.count() >= bookmakers as usize { (change * 100.0).abs() } else { 0.0 })
        }
        _ => unreachable!("no value"),
    }
}

/// Since when the prices have been live without a break.
fn live_since(steps: &[&WorldStep], n: usize) -> Option<Timestamp> {
    let mut since = None;
    for at in (0..=n).rev() {
        if steps[at].quality != Quality::Live {
            break;
        }
        // Prices are live for two minutes after each step.
        if at < n && steps[at + 1].at.millis_since(steps[at].at) > 2 * MINUTE {
            break;
        }
        since = Some(steps[at].at);
    }
    since
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}
