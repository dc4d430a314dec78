//! Random steps, read in any order, with crashes, edits and former owners that go on.

use alerts::{Rule, RuleId};
use odds::{Region, Timestamp};
use proptest::prelude::*;

use crate::{
    crossings::{Crossing, crossings},
    owner::{Owner, Store},
    world::{Offer, Quality, REGIONS, World, at},
};

/// What happens next to an owner.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// It reads some steps of a region.
    Read { region: usize, steps: u8 },
    /// It notes how far everything is recorded.
    Save,
    /// It crashes after it recorded this many of a step's decisions.
    Crash { region: usize, recorded: u8 },
    /// The other owner, which knows nothing of this one, takes its turn.
    Switch,
}

type ScriptedStep = (usize, i64, Quality, Vec<(u8, u8, Option<Offer>)>);

fn scripted_step() -> impl Strategy<Value = ScriptedStep> {
    let offer = (190i64..216, 190i64..216, 4i64..8).prop_map(|(a, b, half_points)| Offer { a, b, half_points });
    let offer = prop_oneof![6 => offer.prop_map(Some), 1 => Just(None)];
    let quality = prop_oneof![
        12 => Just(Quality::Live),
        1 => Just(Quality::Stale),
        1 => Just(Quality::Old),
        1 => Just(Quality::Replay),
    ];
    let seconds = prop_oneof![8 => 1i64..60, 1 => 100i64..300];
    (0usize..2, seconds, quality, prop::collection::vec((0u8..2, 0u8..3, offer), 0..4))
}

fn script() -> impl Strategy<Value = Vec<ScriptedStep>> {
    prop::collection::vec(scripted_step(), 1..50)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (0usize..2, 1u8..6).prop_map(|(region, steps)| Event::Read { region, steps }),
        2 => Just(Event::Save),
        2 => (0usize..2, 0u8..4).prop_map(|(region, recorded)| Event::Crash { region, recorded }),
        2 => Just(Event::Switch),
    ];
    prop::collection::vec(event, 0..40)
}

fn world(script: &[ScriptedStep]) -> World {
    let mut world = World::default();
    let mut millis = 0;
    for (region, seconds, quality, changes) in script {
        millis += seconds * 1_000;
        world.step(REGIONS[*region], millis, *quality, changes);
    }
    world
}

/// Rules over one region, of every kind whose firing depends on steps alone.
fn rules() -> Vec<Rule> {
    let of_event = r#""event":"event-0""#;
    let of_sport = r#""sport":"soccer""#;
    let mut rules = Vec::new();
    for region in ["uk", "eu"] {
        for (scope, outcome) in [(of_event, r#","outcome":"A""#), (of_sport, r#","outcome":"A""#)] {
            for cooldown in ["", r#","cooldown_minutes":1"#, r#","cooldown_minutes":10"#] {
                for (market, what) in [
                    ("h2h", format!(r#""kind":"price","at_least":2.1{outcome}"#)),
                    ("h2h", format!(r#""kind":"price","at_most":1.97{outcome}"#)),
                    ("h2h", r#""kind":"arbitrage","percent":4"#.to_owned()),
                    ("h2h", format!(r#""kind":"move","percent":0.8,"minutes":3{outcome}"#)),
                    ("h2h", format!(r#""kind":"move","percent":0.4,"minutes":10,"min_bookmakers":2{outcome}"#)),
                    ("totals", r#""kind":"line","by":0.5"#.to_owned()),
                    ("totals", r#""kind":"line","by":1"#.to_owned()),
                ] {
                    let json = format!(r#"{{{what},{scope},"market":"{market}","regions":["{region}"]{cooldown}}}"#);
                    rules.push(Rule::from_json(&serde_json::from_str(&json).unwrap()).unwrap());
                }
            }
        }
    }
    rules
}

fn id(number: usize) -> RuleId {
    RuleId::new(number as u64 + 1)
}

fn store_with(rules: &[Rule], edited_at: Timestamp) -> Store {
    let mut store = Store::default();
    rules.iter().enumerate().for_each(|(n, rule)| store.edit(id(n), rule.clone(), edited_at));
    store
}

/// Lets owners do all this, and then one of them read what is left.
fn play<'a>(
    world: &'a World,
    store: &mut Store,
    events: &[Event],
    mut after_crash: impl FnMut(&mut Store),
) -> Owner<'a> {
    let now = at(0);
    let mut owner = Owner::start(world, store);
    let mut other = Owner::start(world, store);
    for event in events {
        match *event {
            Event::Read { region, steps } => {
                for _ in 0..steps {
                    if owner.has_more(REGIONS[region]) {
                        owner.work(REGIONS[region], now, store);
                    }
                }
            }
            Event::Save => owner.save(store),
            Event::Crash { region, recorded } => {
                if owner.has_more(REGIONS[region]) {
                    let decisions = owner.read(REGIONS[region], now);
                    let some = &decisions[..decisions.len().min(recorded.into())];
                    for decision in some {
                        store.record(decision);
                    }
                }
                after_crash(store);
                owner = Owner::start(world, store);
            }
            Event::Switch => std::mem::swap(&mut owner, &mut other),
        }
    }
    for region in REGIONS {
        while owner.has_more(region) {
            owner.work(region, now, store);
        }
    }
    owner
}

fn fired(store: &Store, rule: RuleId, revision: u32) -> Vec<Crossing> {
    let firings = store.firings_of(rule).into_iter().filter(|firing| firing.id.revision == revision);
    let crossing = |firing: &alerts::Firing| {
        let event = firing.facts.event.as_ref().unwrap().as_str()["event-".len()..].parse().unwrap();
        (firing.id.episode, event, firing.at)
    };
    let mut fired: Vec<Crossing> = firings.map(crossing).collect();
    fired.sort_by_key(|(episode, event, at)| (*at, *event, *episode));
    fired
}

fn expected(world: &World, rule: &Rule, edited_at: Timestamp) -> Vec<Crossing> {
    let events: &[u8] = if rule.scope.sport.is_some() { &[0, 1] } else { &[0] };
    crossings(world, rule, edited_at, events)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// In any order of the regions, after any crash, and with a former owner that goes on.
    #[test]
    fn each_crossing_of_a_rule_over_one_region_fires_under_one_id(
        script in script(), events in events(), edited in 0i64..200,
    ) {
        let world = world(&script);
        let (rules, edited_at) = (rules(), at(edited * 1_000));
        let mut store = store_with(&rules, edited_at);
        play(&world, &mut store, &events, |_| {});
        for (n, rule) in rules.iter().enumerate() {
            let expected = expected(&world, rule, edited_at);
            prop_assert_eq!(fired(&store, id(n), 1), expected, "{}", rule.to_json());
        }
    }

    /// What the former revision did before stays; the new one counts from its edit.
    #[test]
    fn a_rule_edited_between_a_crash_and_the_second_run_counts_from_its_edit(
        script in script(), before in events(), after in events(), edited in 0usize..50,
    ) {
        let world = world(&script);
        let edited_at = world.steps[edited.min(world.steps.len() - 1)].at;
        let old = rules();
        let mut new = old.clone();
        new.rotate_left(1);
        let mut store = store_with(&old, at(0));
        let is_switch = |event: &&Event| !matches!(event, Event::Switch);
        let before: Vec<Event> = before.iter().filter(is_switch).copied().collect();
        let mut owner = Owner::start(&world, &store);
        for event in &before {
            if let Event::Read { region, steps } = *event {
                for _ in 0..steps {
                    // The rules are edited before later steps are there.
                    let next = world.of(REGIONS[region]).into_iter().filter(|step| step.at <= edited_at).count();
                    let position = owner.matcher.decided().get(REGIONS[region]).map_or(0, |it| it.seq as usize);
                    if position < next && owner.has_more(REGIONS[region]) {
                        owner.work(REGIONS[region], at(0), &mut store);
                    }
                }
            }
            owner.save(&mut store);
        }
        new.iter().enumerate().for_each(|(n, rule)| store.edit(id(n), rule.clone(), edited_at));
        play(&world, &mut store, &after, |_| {});
        for (n, (old, new)) in old.iter().zip(&new).enumerate() {
            prop_assert_eq!(fired(&store, id(n), 2), expected(&world, new, edited_at), "{}", new.to_json());
            let former = expected(&world, old, at(0));
            let kept = fired(&store, id(n), 1);
            prop_assert!(former.starts_with(&kept), "{}: {kept:?} of {former:?}", old.to_json());
        }
    }

    /// The store's condition and the ids see to it; the prices are those of the steps that the firing names.
    #[test]
    fn a_rule_over_several_regions_fires_once_for_each_episode_and_only_for_live_prices(
        script in script(), events in events(),
    ) {
        let world = world(&script);
        let json = r#"{"kind":"price","event":"event-0","market":"h2h","outcome":"A","at_least":2.1,
            "cooldown_minutes":1}"#;
        let rule = Rule::from_json(&serde_json::from_str(json).unwrap()).unwrap();
        let mut store = store_with(&[rule], at(0));
        play(&world, &mut store, &events, |_| {});
        let firings = store.firings_of(id(0));
        for (n, firing) in firings.iter().enumerate() {
            prop_assert_eq!(firing.id.episode as usize, n + 1);
            let region: Region = firing.facts.region.unwrap();
            let seq = firing.steps.get(region).unwrap().seq;
            let step = world.of(region)[seq as usize - 1];
            prop_assert_eq!(step.quality, Quality::Live);
            // Prices are live for two minutes.
            prop_assert!(firing.at.millis_since(step.at) <= 120_000);
            let price = firing.facts.price.unwrap();
            prop_assert!(price.to_f64() >= 2.1);
            let offered = step.offers.iter().filter(|((event, _), _)| *event == 0);
            prop_assert!(offered.into_iter().any(|(_, offer)| odds::Decimal::new(offer.a, 2) == price));
        }
        for pair in firings.windows(2) {
            prop_assert!(pair[1].steps.are_after(&pair[0].steps));
            prop_assert!(pair[1].at.millis_since(pair[0].at) >= 60_000, "within its cool-down");
        }
    }
}
