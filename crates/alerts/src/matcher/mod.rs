//! The matcher: evaluates the rules that a step concerns.
//!
//! Rules with the same [`GroupKey`] form a group, so that what they look at is measured once. A group about one outcome
//! or event sorts its rules by what they wait for; a group about a sport also knows the last level of each outcome.
//! Steps at or before the ones that were recorded are only read for what they change, never decided on again.

mod evaluation;
mod groups;
mod memory;
mod steps;
mod timers;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
};

use odds::{EventId, LogPosition, MarketKey, Timestamp};

pub use self::steps::Step;
use self::{
    groups::{GroupSlot, Groups, Members},
    memory::Memory,
    timers::Timers,
};
use crate::{
    Arming, Boards, Decision, End, Facts, Regions, Rule, RuleId, Steps,
    market_now::MarketNow,
    measure::{GroupKey, Measure, Threshold},
    regions::ByRegion,
    sight::Sight,
    thresholds::Slot,
};

/// A rule as it is stored.
#[derive(Clone, Debug)]
pub struct Installed<'a> {
    pub id: RuleId,
    pub revision: u32,
    pub rule: &'a Rule,
    /// Only later steps count.
    pub edited_at: Timestamp,
    /// Only steps after these count.
    pub after: Steps,
    /// Where its episodes stand, by the hash of their subject.
    pub armings: &'a [(u64, Arming)],
}

/// A market to be evaluated, for all groups or only for one.
type Concern = (EventId, MarketKey, Option<GroupSlot>);

/// Evaluates rules.
#[derive(Debug, Default)]
pub struct Matcher {
    rules: Vec<Option<Entry>>,
    free: Vec<Slot>,
    by_id: HashMap<RuleId, Slot>,
    groups: Groups,
    /// Where the episodes of rules stand that have fired or were armed.
    armings: BTreeMap<(Slot, u64), State>,
    /// Rules that wait for a step that counts, by their regions.
    held: [Vec<Held>; Regions::SETS],
    /// When rules end.
    ends: BinaryHeap<Reverse<(Timestamp, RuleId, u32)>>,
    memory: Memory,
    timers: Timers,
    /// The steps up to which everything is decided.
    decided: Steps,
    /// What must be evaluated at the next step of each region at which the prices are live.
    unsettled: ByRegion<HashSet<Concern>>,
    now: Timestamp,
    evaluations: u64,
    installations: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: RuleId,
    revision: u32,
    group: GroupSlot,
    threshold: Threshold,
    edited_at: Timestamp,
    /// 0: it fires once.
    cooldown_minutes: u32,
    /// Differs each time that a rule is installed.
    installation: u32,
}

/// Where an episode stands, without its steps.
#[derive(Clone, Copy, Debug)]
struct State {
    episode: u32,
    fired: bool,
    fired_at: Timestamp,
    level: f64,
}

/// Void if the rule was removed meanwhile.
#[derive(Debug)]
struct Held {
    rule: Slot,
    installation: u32,
    /// None, if any step counts that is later than the edit.
    after: Option<Box<Steps>>,
}

impl Matcher {
    /// A matcher whose rules were evaluated up to these steps.
    pub fn new(decided: Steps) -> Self {
        Self { decided, ..Self::default() }
    }

    /// The steps up to which everything is decided.
    pub fn decided(&self) -> Steps {
        self.decided
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many measurements it has compared with rules.
    pub fn evaluations(&self) -> u64 {
        self.evaluations
    }

    pub fn revision_of(&self, id: RuleId) -> Option<u32> {
        self.by_id.get(&id).map(|slot| self.entry(*slot).revision)
    }

    fn is_valid(&self, held: &Held) -> bool {
        self.rules[held.rule as usize].as_ref().is_some_and(|entry| entry.installation == held.installation)
    }

    fn entry(&self, slot: Slot) -> &Entry {
        self.rules[slot as usize].as_ref().expect("a rule in use")
    }

    /// Adds a rule, or replaces it. [`Self::prime`] must follow before the next step.
    pub fn install(&mut self, new: &Installed<'_>) {
        self.remove(new.id);
        let (group, is_new_group) = self.groups.add_rule(GroupKey::of(new.rule));
        if is_new_group {
            self.memory.unprimed.push(group);
        }
        self.installations = self.installations.wrapping_add(1);
        let entry = Entry {
            id: new.id,
            revision: new.revision,
            group,
            threshold: Threshold::of(&new.rule.kind),
            edited_at: new.edited_at,
            cooldown_minutes: new.rule.cooldown_minutes.unwrap_or(0),
            installation: self.installations,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.rules[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.rules.push(Some(entry));
                Slot::try_from(self.rules.len() - 1).expect("fewer than four billion rules")
            }
        };
        self.by_id.insert(new.id, slot);
        if let Some(until) = new.rule.until {
            self.ends.push(Reverse((until, new.id, new.revision)));
        }
        let mut after = new.after.of(new.rule.scope.regions);
        for (subject, arming) in new.armings {
            let Arming { episode, fired, fired_at, level, steps } = *arming;
            self.armings.insert((slot, *subject), State { episode, fired, fired_at, level });
            if *subject != 0 {
                // Each subject has steps of its own, which the store compares.
                continue;
            }
            for (region, step) in steps.of(new.rule.scope.regions).iter() {
                after.set(region, after.get(region).map_or(step, |it| it.max(step)));
            }
        }
        let after = after.iter().next().is_some().then(|| Box::new(after));
        self.held[new.rule.scope.regions.index()].push(Held { rule: slot, installation: self.installations, after });
    }

    /// Notes what the boards have for groups that are new, so that the next step can be compared with it.
    pub fn prime(&mut self, boards: &Boards<'_>) {
        for slot in std::mem::take(&mut self.memory.unprimed) {
            let Some(key) = self.groups.get(slot).map(|group| group.key.clone()) else { continue };
            if matches!(key.measure, Measure::Feed) {
                continue;
            }
            for (event, details) in memory::events_of(&key.place, boards) {
                self.timers.note_event(&event, &details);
                if let Some(market) = &key.market {
                    self.memory.prime(&key, &event, market, boards);
                    self.measure_only(slot, &event, market, boards);
                }
            }
        }
    }

    pub fn remove(&mut self, id: RuleId) -> bool {
        let Some(slot) = self.by_id.remove(&id) else { return false };
        let Entry { group, .. } = self.rules[slot as usize].take().expect("a rule that is found");
        match &mut self.groups.get_mut(group).expect("a rule has a group").members {
            Members::One(thresholds) => thresholds.remove(slot),
            Members::Many(levels) => levels.remove(slot),
        }
        self.let_go(slot, group);
        true
    }

    /// Frees the slot of a rule that its group no longer has.
    fn let_go(&mut self, slot: Slot, group: GroupSlot) {
        let states: Vec<u64> = self.armings.range((slot, 0)..=(slot, u64::MAX)).map(|((_, it), _)| *it).collect();
        for subject in states {
            self.armings.remove(&(slot, subject));
        }
        self.groups.remove_rules(group, 1);
        self.free.push(slot);
    }

    /// Without the regions that are being read again, whose boards are older than what was decided.
    fn current<'a>(&self, boards: &Boards<'a>) -> Boards<'a> {
        let mut current = *boards;
        for (region, step) in self.decided.iter() {
            let is_older = |at: LogPosition| at < step;
            if boards.get(region).is_some_and(|view| view.marker.position.is_none_or(is_older)) {
                current.set(region, None);
            }
        }
        current
    }

    /// Time goes on. Returns what that decides: starts, feeds and ends.
    pub fn tick(&mut self, boards: &Boards<'_>, now: Timestamp) -> Vec<Decision> {
        self.now = self.now.max(now);
        let boards = self.current(boards);
        let mut decisions = Vec::new();
        self.evaluate_starts(&boards, &mut decisions);
        self.evaluate_feeds(&boards, &mut decisions);
        self.end_what_is_over(&boards, &mut decisions);
        decisions
    }

    /// Whether what a rule was told about still holds now, by prices that are live. It need not be installed.
    pub fn holds(&self, rule: &Rule, facts: &Facts, boards: &Boards<'_>) -> bool {
        let (key, threshold) = (GroupKey::of(rule), Threshold::of(&rule.kind));
        let boards = self.current(boards);
        let reaches = |level: f64| level >= threshold.fires_at;
        match (key.measure, &facts.event, &key.market) {
            (Measure::Feed, ..) => facts.region.is_some_and(|it| reaches(self.timers.feed_level(it, self.now))),
            (Measure::Start, Some(event), _) => {
                let start = boards.details_of(event, key.regions).map(|details| details.commence_time);
                start.is_some_and(|start| start > self.now && reaches(timers::start_level(start, self.now)))
            }
            (measure, Some(event), Some(market)) => {
                let Some(now) = MarketNow::read(&boards, event, market, self.now) else { return false };
                let past = self.memory.past(event, market);
                let mut readings = key.readings(&mut Sight::new(&now, past, self.now));
                readings.retain(|it| it.may_fire && it.facts.is_about_same(facts));
                readings.iter().any(|it| match measure {
                    Measure::MainPoint => facts.from.is_some_and(|from| reaches((it.level - from).abs())),
                    _ => reaches(it.level),
                })
            }
            _ => false,
        }
    }

    fn end(&mut self, id: RuleId, end: End, decisions: &mut Vec<Decision>) {
        if let Some(revision) = self.revision_of(id) {
            self.remove(id);
            decisions.push(Decision::End { rule: id, revision, end });
        }
    }

    fn end_what_is_over(&mut self, boards: &Boards<'_>, decisions: &mut Vec<Decision>) {
        while let Some(Reverse((until, ..))) = self.ends.peek()
            && *until <= self.now
        {
            let Reverse((_, id, revision)) = self.ends.pop().expect("it was just seen");
            if self.revision_of(id) == Some(revision) {
                self.end(id, End::Expired, decisions);
            }
        }
        for event in self.timers.events_that_are_over(boards, self.now) {
            for rule in self.rules_of_event(&event) {
                self.end(rule, End::EventOver, decisions);
            }
            self.forget(&event);
        }
    }

    fn rules_of_event(&self, event: &EventId) -> Vec<RuleId> {
        let groups = self.groups.of_event(event);
        let members = groups.iter().filter_map(|slot| self.groups.get(*slot)).flat_map(|group| match &group.members {
            Members::One(thresholds) => thresholds.all(),
            Members::Many(levels) => levels.all(),
        });
        let held = self.held.iter().flatten().filter(|held| self.is_valid(held)).map(|held| held.rule);
        let held = held.filter(|rule| groups.contains(&self.entry(*rule).group));
        members.chain(held).map(|rule| self.entry(rule).id).collect()
    }

    fn forget(&mut self, event: &EventId) {
        if let Some(sport) = self.timers.forget_event(event) {
            for slot in self.groups.of_sport(&sport) {
                if let Some(group) = self.groups.get_mut(slot)
                    && let Members::Many(levels) = &mut group.members
                {
                    levels.forget(event);
                }
            }
        }
        self.memory.forget(event);
    }
}
