//! One rule at a time.

use alerts::{Decision, End, Installed, Kind, Limit, Matcher, Rule, RuleId, Step, Steps};
use odds::{Decimal, Region, Timestamp};

use crate::{
    owner::{Owner, Store},
    world::{MINUTE, Offer, Quality, World, at, boards, start},
};

fn rule(json: &str) -> Rule {
    Rule::from_json(&serde_json::from_str(json).unwrap()).unwrap()
}

const PRICE: &str = r#"{"kind":"price","event":"event-0","market":"h2h","outcome":"A","at_least":2.1,
    "cooldown_minutes":1}"#;

fn offer(a: i64) -> Option<Offer> {
    Some(Offer { a, b: 200, half_points: 5 })
}

const ID: RuleId = RuleId::new(7);

/// The episodes that fire while the price goes this way, a step every two minutes less a second. `None` withdraws it.
fn episodes(prices: &[Option<i64>]) -> Vec<(u32, usize)> {
    let mut world = World::default();
    let interval = 2 * MINUTE - 1_000;
    for (n, price) in prices.iter().enumerate() {
        let change = (0, 0, price.and_then(offer));
        world.step(Region::Uk, interval * (n as i64 + 1), Quality::Live, &[change]);
    }
    let mut store = Store::default();
    store.edit(ID, rule(PRICE), at(0));
    let mut owner = Owner::start(&world, &store);
    while owner.has_more(Region::Uk) {
        owner.work(Region::Uk, at(0), &mut store);
    }
    let place = |at: Timestamp| world.steps.iter().position(|step| step.at == at).unwrap();
    store.inbox.values().map(|firing| (firing.id.episode, place(firing.at))).collect()
}

#[test]
fn a_price_that_is_there_already_fires_at_the_first_step() {
    assert_eq!(episodes(&[Some(215)]), [(1, 0)]);
}

#[test]
fn it_fires_again_only_after_the_price_was_away_by_the_margin() {
    // 1 % below 2.10 is 2.079.
    assert_eq!(episodes(&[Some(200), Some(210), Some(208), Some(211), Some(207), Some(210)]), [(1, 1), (2, 5)]);
}

/// One rule waits for its time while its price is there. Another one of its group has never fired, so a new owner looks
/// whether its price is there.
#[test]
fn a_rule_that_cools_fires_at_a_change_of_its_market_whoever_evaluates_it() {
    let mut world = World::default();
    for (second, hundredths) in [(10, 200), (20, 220), (30, 200), (40, 220)] {
        world.step(Region::Uk, second * 1_000, Quality::Live, &[(0, 0, offer(hundredths))]);
    }
    // It may fire again at 80 s.
    world.step(Region::Uk, 90_000, Quality::Live, &[(1, 0, offer(300))]);
    world.step(Region::Uk, 100_000, Quality::Live, &[(0, 0, offer(221))]);
    for restarts_after in [usize::MAX, 4, 5] {
        let mut store = Store::default();
        store.edit(ID, rule(PRICE), at(0));
        store.edit(RuleId::new(8), rule(&PRICE.replace("2.1", "2.5")), at(0));
        let mut owner = Owner::start(&world, &store);
        for read in 0..world.steps.len() {
            if read == restarts_after {
                owner.save(&mut store);
                owner = Owner::start(&world, &store);
                (0..read).for_each(|_| owner.work(Region::Uk, at(0), &mut store));
            }
            owner.work(Region::Uk, at(0), &mut store);
        }
        let fired: Vec<_> = store.firings_of(ID).iter().map(|it| (it.id.episode, it.at)).collect();
        assert_eq!(fired, [(1, at(20_000)), (2, at(100_000))], "a restart after {restarts_after} steps");
    }
}

#[test]
fn a_price_that_is_withdrawn_neither_fires_nor_arms() {
    assert_eq!(episodes(&[Some(211), None, Some(212), None, Some(213)]), [(1, 0)]);
    assert_eq!(episodes(&[Some(200), None, Some(212)]), [(1, 2)], "it comes back on the other side");
}

#[test]
fn a_step_is_decided_once_even_if_the_topic_is_read_again() {
    let mut world = World::default();
    world.step(Region::Uk, 1_000, Quality::Live, &[(0, 0, offer(200))]);
    world.step(Region::Uk, 2_000, Quality::Live, &[(0, 0, offer(220))]);
    let mut matcher = Matcher::default();
    let rule = rule(PRICE);
    let installed =
        Installed { id: ID, revision: 1, rule: &rule, edited_at: at(0), after: Steps::default(), armings: &[] };
    matcher.install(&installed);
    let mut fired = 0;
    for _ in 0..3 {
        for (n, step) in world.steps.iter().enumerate() {
            let (region, boards) = (step.region, boards([step]));
            let step = Step { region, changes: &step.changes, is_whole: n == 0, is_newest: true, boards };
            fired += matcher.step(&step, at(2_000)).len();
        }
    }
    assert_eq!(fired, 1);
}

#[test]
fn a_step_whose_time_has_passed_fires_late() {
    let mut world = World::default();
    world.step(Region::Uk, 1_000, Quality::Live, &[(0, 0, offer(220))]);
    let late = |now: i64| {
        let mut store = Store::default();
        store.edit(ID, rule(PRICE), at(0));
        let mut owner = Owner::start(&world, &store);
        owner.work(Region::Uk, at(now), &mut store);
        store.inbox.values().next().unwrap().is_late
    };
    assert!(!late(2 * MINUTE));
    assert!(late(2 * MINUTE + 2_000), "the prices are not live any more");
}

#[test]
fn a_bookmaker_in_two_regions_counts_by_its_newest_poll() {
    let mut world = World::default();
    world.step(Region::Eu, 1_000, Quality::Live, &[(0, 0, offer(220))]);
    world.step(Region::Uk, 2_000, Quality::Live, &[(0, 0, offer(200))]);
    world.step(Region::Uk, 3_000, Quality::Live, &[(0, 1, offer(201))]);
    let mut store = Store::default();
    store.edit(ID, rule(PRICE), at(1_500));
    let mut owner = Owner::start(&world, &store);
    for region in [Region::Eu, Region::Uk, Region::Uk] {
        owner.work(region, at(0), &mut store);
    }
    assert!(store.inbox.is_empty(), "the price of the earlier poll is not valid any more");
}

#[test]
fn a_rule_for_one_firing_ends_with_it() {
    let mut world = World::default();
    for n in 0..6 {
        world.step(Region::Uk, MINUTE * (n + 1), Quality::Live, &[(0, 0, offer(if n % 2 == 0 { 220 } else { 190 }))]);
    }
    let mut store = Store::default();
    store.edit(ID, rule(&PRICE.replace(r#""cooldown_minutes":1"#, r#""once":true"#)), at(0));
    let mut owner = Owner::start(&world, &store);
    while owner.has_more(Region::Uk) {
        owner.work(Region::Uk, at(0), &mut store);
    }
    assert_eq!((store.inbox.len(), store.rules[&ID].ended), (1, Some(End::Fired)));
    assert!(owner.matcher.is_empty());
}

/// One matcher that sees a step every minute, and the time in between.
struct Watch {
    world: World,
    store: Store,
}

impl Watch {
    fn new(json: &str) -> Self {
        let mut store = Store::default();
        store.edit(ID, rule(json), at(0));
        Self { world: World::default(), store }
    }

    fn step(&mut self, minutes: i64, quality: Quality, change: Option<Offer>) {
        self.world.step(Region::Uk, minutes * MINUTE, quality, &[(0, 0, change)]);
    }

    /// The minutes at which it decides something, when there is a tick each minute until this one.
    fn decisions(&mut self, until: i64) -> Vec<(i64, Decision)> {
        let mut owner = Owner::start(&self.world, &self.store);
        let mut all = Vec::new();
        for minute in 1..=until {
            let now = at(minute * MINUTE);
            let mut decisions = Vec::new();
            while owner.has_more(Region::Uk) && self.next_at(&owner) <= now {
                decisions.extend(owner.read(Region::Uk, now));
            }
            let boards = owner.boards();
            decisions.extend(owner.matcher.tick(&boards, now));
            owner.record(&decisions, &mut self.store);
            all.extend(decisions.into_iter().map(|decision| (minute, decision)));
        }
        all
    }

    fn next_at(&self, owner: &Owner<'_>) -> Timestamp {
        let read = owner.matcher.decided().get(Region::Uk).map_or(0, |it| it.seq as usize);
        self.world.steps[read].at
    }
}

fn fired_at(decisions: &[(i64, Decision)]) -> Vec<(i64, bool)> {
    let fired = decisions.iter().filter_map(|(minute, it)| match it {
        Decision::Fire(firing) => Some((*minute, firing.is_late)),
        _ => None,
    });
    fired.collect()
}

#[test]
fn a_start_is_announced_once_and_in_time() {
    assert_eq!(start(), at(40 * MINUTE));
    for scope in [r#""event":"event-0""#, r#""sport":"soccer""#, r#""sport":"soccer","team":"b""#] {
        let mut watch = Watch::new(&format!(r#"{{"kind":"starts",{scope},"minutes":15,"cooldown_minutes":1}}"#));
        watch.step(1, Quality::Live, offer(200));
        assert_eq!(fired_at(&watch.decisions(60)), [(25, false)], "{scope}");
        assert_eq!(fired_at(&watch.decisions(60)), [], "{scope}: a new owner");
    }
    let mut watch = Watch::new(r#"{"kind":"starts","sport":"soccer","team":"x","minutes":15}"#);
    watch.step(1, Quality::Live, offer(200));
    assert_eq!(fired_at(&watch.decisions(60)), []);
}

#[test]
fn a_start_that_nobody_watched_is_late() {
    let mut watch = Watch::new(r#"{"kind":"starts","event":"event-0","minutes":15}"#);
    watch.step(41, Quality::Live, offer(200));
    assert_eq!(fired_at(&watch.decisions(60)), [(41, true)]);
}

#[test]
fn a_feed_that_is_not_live_is_reported_after_its_minutes_and_again_after_it_was_well() {
    let mut watch = Watch::new(r#"{"kind":"feed","regions":["uk"],"minutes":5,"cooldown_minutes":1}"#);
    for minute in [1, 2, 3] {
        watch.step(minute, Quality::Live, offer(200));
    }
    for minute in 4..12 {
        watch.step(minute, Quality::Stale, offer(200));
    }
    for minute in 12..15 {
        watch.step(minute, Quality::Live, offer(200));
    }
    // Then silence: after three minutes, nobody leads the region.
    assert_eq!(fired_at(&watch.decisions(40)), [(9, false), (22, false)]);
}

#[test]
fn a_rule_ends_with_its_time_and_with_its_event() {
    let until = at(5 * MINUTE);
    let mut watch = Watch::new(&PRICE.replace('}', &format!(r#","until":"{until}"}}"#)));
    watch.step(1, Quality::Live, offer(200));
    let ended = |minute, end| (minute, Decision::End { rule: ID, revision: 1, end });
    assert_eq!(watch.decisions(60), [ended(5, End::Expired)]);

    let mut watch = Watch::new(PRICE);
    watch.step(1, Quality::Live, offer(200));
    watch.step(100, Quality::Live, None);
    // Three hours after the start.
    assert_eq!(watch.decisions(400), [ended(220, End::EventOver)]);
}

#[test]
fn ten_thousand_rules_on_one_outcome_fire_at_one_step_and_only_those_that_it_concerns() {
    let mut world = World::default();
    world.step(Region::Uk, 1_000, Quality::Live, &[(0, 0, offer(190))]);
    world.step(Region::Uk, 2_000, Quality::Live, &[(0, 0, offer(250))]);
    world.step(Region::Uk, 3_000, Quality::Live, &[(0, 0, offer(251))]);
    let mut store = Store::default();
    for n in 0..20_000 {
        let kind = Kind::Price(Limit::AtLeast(Decimal::new(20_000 + n, 4)));
        let rule = Rule { kind, cooldown_minutes: Some(1), ..rule(PRICE) };
        store.edit(RuleId::new(n as u64 + 1), rule, at(0));
    }
    let mut owner = Owner::start(&world, &store);
    let fired = [0, 1, 2].map(|_| owner.read(Region::Uk, at(3_000)).len());
    // From 2.0000 to 2.5000, and then to 2.5100.
    assert_eq!(fired, [0, 5_001, 100]);
}
