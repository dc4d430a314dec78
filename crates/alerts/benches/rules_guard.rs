//! What a step costs with few and with many rules, for a tool that counts instructions. `cargo xtask guard` compares
//! them.
//!
//!     rules_guard <work> <times>

#![expect(clippy::unwrap_used, reason = "a panic fails the benchmark")]

mod region;
#[path = "../../odds/benches/world/mod.rs"]
#[expect(dead_code, reason = "it has more than this benchmark needs")]
mod world;

use std::hint::black_box;

use alerts::{Installed, Matcher, Rule, RuleId, Steps};
use region::{EVENTS, Random, Scene, at};
use serde_json::json;

const FEW: usize = 5_000;
const MANY: usize = 20 * FEW;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let [work, times] = &arguments[..] else { return println!("rules_guard <work> <times>") };
    let times = times.parse().unwrap();
    match work.as_str() {
        "many-rules" => evaluate(MANY, times),
        "few-rules" => evaluate(FEW, times),
        other => panic!("unknown work {other:?}"),
    }
}

/// Evaluates steps that change prices of which many rules wait, and reach the values of none.
fn evaluate(rules: usize, times: usize) {
    let mut random = Random(3);
    let mut scene = Scene::new();
    let mut matcher = Matcher::default();
    for n in 0..rules {
        let (id, image) = &scene.events[n % EVENTS];
        let mut rule = json!({ "kind": "price", "market": "totals", "outcome": "Over", "point": 2.5,
            "at_least": 50.0 + (n / EVENTS) as f64 / 100.0, "cooldown_minutes": 1 });
        match n % 20 {
            0 => {
                rule["sport"] = json!(image.details.sport_key);
                rule["at_least"] = json!(100.0 + n as f64 / 100.0);
            }
            _ => rule["event"] = json!(id),
        }
        let rule = Rule::from_json(&rule).unwrap();
        let (id, edited_at, after) = (RuleId::new(n as u64 + 1), at(0), Steps::default());
        matcher.install(&Installed { id, revision: 1, rule: &rule, edited_at, after, armings: &[] });
    }
    matcher.prime(&scene.boards());
    scene.next(&mut random);
    scene.evaluate(&mut matcher);
    for _ in 0..times {
        scene.next(&mut random);
        black_box(scene.evaluate(&mut matcher));
    }
}
