//! What a matcher costs with a million rules: its memory, and the share of a core that it takes while a thousand
//! outcomes change a second. Fails if a goal is missed.
//!
//!     million [--rules <number>] [--seconds <number>]

#![expect(clippy::unwrap_used, reason = "a panic fails the benchmark")]

mod region;
#[path = "../../odds/benches/world/mod.rs"]
#[expect(dead_code, reason = "it has more than this benchmark needs")]
mod world;

use std::{process::ExitCode, time::Instant};

use alerts::{Decision, Installed, Matcher, Rule, RuleId, Steps};
use region::{EVENTS, Random, STEPS, Scene, at};
use serde_json::json;

/// Goals.
const MOST_BYTES: f64 = 250.0;
const MOST_SHARE: f64 = 0.2;
const LEAST_FIRINGS: f64 = 100.0;

fn main() -> ExitCode {
    let number = |name: &str, usual: usize| {
        let mut arguments = std::env::args().skip_while(|it| it != name).skip(1);
        arguments.next().map_or(usual, |text| text.parse().unwrap())
    };
    let (rules, seconds) = (number("--rules", 1_000_000), number("--seconds", 30));
    let mut random = Random(7);
    let mut scene = Scene::new();
    let before = resident_bytes();
    let mut matcher = Matcher::default();
    install(&mut matcher, rules, &scene, &mut random);
    matcher.prime(&scene.boards());
    let bytes = (resident_bytes() - before) / rules as f64;

    // The first step evaluates every rule once, as after a start.
    let first = Instant::now();
    scene.next(&mut random);
    scene.evaluate(&mut matcher);
    println!("the first step of {} rules: {:.2} s", matcher.len(), first.elapsed().as_secs_f64());
    let (mut busy, mut fired, mut outcomes) = (0.0, 0, 0);
    for _ in 0..seconds * STEPS {
        outcomes += scene.next(&mut random);
        let began = cpu_seconds();
        let decisions = scene.evaluate(&mut matcher);
        busy += cpu_seconds() - began;
        fired += decisions.iter().filter(|it| matches!(it, Decision::Fire(_))).count();
    }
    let after = (resident_bytes() - before) / rules as f64;
    let share = busy / seconds as f64;
    let of_a_second = |count: usize| count as f64 / seconds as f64;
    println!("changed outcomes a second: {:.0}", of_a_second(outcomes));
    println!("firings a second: {:.0} (at least {LEAST_FIRINGS:.0})", of_a_second(fired));
    println!("bytes a rule: {bytes:.0}, and {after:.0} at the end (at most {MOST_BYTES:.0})");
    println!("share of a core: {:.1} % (at most {:.0} %)", share * 100.0, MOST_SHARE * 100.0);
    let is_met = after <= MOST_BYTES && share <= MOST_SHARE && of_a_second(fired) >= LEAST_FIRINGS;
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// 60 % about prices, 20 % about movements, 10 % about lines, 5 % about a sport and 5 % about arbitrages.
fn install(matcher: &mut Matcher, count: usize, scene: &Scene, random: &mut Random) {
    for n in 0..count {
        let (id, image) = &scene.events[zipf(random, EVENTS)];
        let market = world::MARKETS[random.below(3)];
        let quote = image.quotes.iter().find(|((_, key), _)| key.as_str() == market).unwrap().1;
        let outcomes = quote.outcomes.to_vec();
        let outcome = &outcomes[random.below(outcomes.len())];
        let hundredths = |value: f64| (value * 100.0).round() / 100.0;
        let mut rule = match n % 20 {
            0..12 => {
                let price = hundredths(outcome.price.to_f64() * (1.0 + random.fraction() * 0.3));
                json!({ "kind": "price", "outcome": outcome.name, "point": outcome.point, "at_least": price })
            }
            12..16 => {
                let percent = hundredths(1.0 + random.fraction() * 5.0);
                json!({ "kind": "move", "outcome": outcome.name, "point": outcome.point, "percent": percent,
                    "minutes": 10 })
            }
            16..18 => json!({ "kind": "line", "by": 0.5 }),
            18 => json!({ "kind": "price", "at_least": hundredths(3.0 + random.fraction() * 2.0) }),
            _ => json!({ "kind": "arbitrage", "percent": hundredths(3.0 + random.fraction() * 10.0) }),
        };
        match n % 20 {
            18 => rule["sport"] = json!(image.details.sport_key),
            _ => rule["event"] = json!(id),
        }
        rule["market"] = json!(match rule["kind"].as_str() {
            Some("line") => "totals",
            _ => market,
        });
        rule["cooldown_minutes"] = json!(1);
        let rule = Rule::from_json(&rule).unwrap();
        let id = RuleId::new((n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (edited_at, after) = (at(0), Steps::default());
        matcher.install(&Installed { id, revision: 1, rule: &rule, edited_at, after, armings: &[] });
    }
}

/// A number below `most` by a Zipf distribution: the first is drawn most often.
fn zipf(random: &mut Random, most: usize) -> usize {
    ((most as f64).powf(random.fraction()) as usize).clamp(1, most) - 1
}

/// The CPU time of this thread, by Linux: whatever else runs on the machine doesn't count.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// The memory of this process, by Linux.
fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4_096.0
}
