//! An alerter without I/O: a matcher, and a store that keeps what DESIGN asks for.

use std::collections::{BTreeMap, BTreeSet};

use alerts::{Arming, Boards, Decision, End, Firing, FiringId, Installed, Matcher, Rule, RuleId, Step, Steps};
use odds::{Region, Timestamp};

use crate::world::{World, WorldStep, boards};

#[derive(Clone)]
pub struct StoredRule {
    pub rule: Rule,
    pub revision: u32,
    pub edited_at: Timestamp,
    pub ended: Option<End>,
}

/// Rules, where their episodes stand, firings and progress.
#[derive(Clone, Default)]
pub struct Store {
    pub rules: BTreeMap<RuleId, StoredRule>,
    pub armings: BTreeMap<(RuleId, u64), Arming>,
    pub inbox: BTreeMap<FiringId, Firing>,
    pub progress: Steps,
    /// How many decisions were not accepted.
    pub refused: usize,
}

impl Store {
    pub fn edit(&mut self, id: RuleId, rule: Rule, at: Timestamp) {
        let revision = self.rules.get(&id).map_or(1, |stored| stored.revision + 1);
        self.rules.insert(id, StoredRule { rule, revision, edited_at: at, ended: None });
        self.armings.retain(|(rule, _), _| *rule != id);
    }

    /// Returns whether it was accepted.
    pub fn record(&mut self, decision: &Decision) -> bool {
        let (rule, revision) = (decision.rule(), decision.revision());
        let stored = self.rules.get_mut(&rule).filter(|it| it.revision == revision && it.ended.is_none());
        let accepted = stored.is_some_and(|stored| match decision {
            Decision::Fire(firing) => {
                let recorded = self.armings.get(&(rule, firing.id.subject));
                if !Arming::permits_firing(recorded, firing, &stored.rule) {
                    return false;
                }
                let id = firing.id;
                let arming = Arming::after_firing(recorded, firing);
                self.armings.insert((rule, id.subject), arming);
                stored.ended = firing.is_last.then_some(End::Fired);
                assert!(self.inbox.insert(id, (**firing).clone()).is_none(), "{id} fired twice");
                true
            }
            Decision::Arm { id, arming } => {
                let recorded = self.armings.get(&(rule, id.subject)).copied();
                let permitted = Arming::permits_arming(recorded.as_ref(), arming);
                if permitted {
                    self.armings.insert((rule, id.subject), Arming::after_arming(recorded.as_ref(), arming));
                }
                permitted
            }
            Decision::End { end, .. } => {
                stored.ended = Some(*end);
                true
            }
        });
        self.refused += usize::from(!accepted);
        accepted
    }

    pub fn firings_of(&self, id: RuleId) -> Vec<&Firing> {
        self.inbox.values().filter(|firing| firing.id.rule == id).collect()
    }
}

/// A process that owns the rules, and what it has read of each region.
pub struct Owner<'a> {
    pub matcher: Matcher,
    world: &'a World,
    read: BTreeMap<Region, usize>,
    current: BTreeMap<Region, &'a WorldStep>,
}

impl<'a> Owner<'a> {
    /// Starts with what the store has, and reads the regions from their beginnings.
    pub fn start(world: &'a World, store: &Store) -> Self {
        let mut owner =
            Self { matcher: Matcher::new(store.progress), world, read: BTreeMap::new(), current: BTreeMap::new() };
        store.rules.keys().for_each(|id| owner.install(*id, store));
        owner
    }

    /// Reads the rule again from the store.
    pub fn install(&mut self, id: RuleId, store: &Store) {
        self.matcher.remove(id);
        let stored = &store.rules[&id];
        if stored.ended.is_none() {
            let armings: Vec<(u64, Arming)> = store
                .armings
                .range((id, 0)..=(id, u64::MAX))
                .map(|((_, subject), arming)| (*subject, *arming))
                .collect();
            let StoredRule { rule, revision, edited_at, .. } = stored;
            let (revision, edited_at, after) = (*revision, *edited_at, Steps::default());
            self.matcher.install(&Installed { id, revision, rule, edited_at, after, armings: &armings });
            self.matcher.prime(&self.boards());
        }
    }

    pub fn boards(&self) -> Boards<'a> {
        boards(self.current.values().copied())
    }

    /// Whether there is a step of the region that it has not read.
    pub fn has_more(&self, region: Region) -> bool {
        self.read.get(&region).copied().unwrap_or(0) < self.world.of(region).len()
    }

    /// Reads the next step of a region. Returns what that decides.
    pub fn read(&mut self, region: Region, now: Timestamp) -> Vec<Decision> {
        let at = self.read.entry(region).or_default();
        let step = self.world.of(region)[*at];
        let is_whole = *at == 0;
        *at += 1;
        let is_newest = *at == self.world.of(region).len();
        self.current.insert(region, step);
        let boards = self.boards();
        self.matcher.step(&Step { region, changes: &step.changes, is_whole, is_newest, boards }, now)
    }

    /// Reads a step, records what it decides, and reads the rules again whose decisions were refused.
    pub fn work(&mut self, region: Region, now: Timestamp, store: &mut Store) {
        let decisions = self.read(region, now);
        self.record(&decisions, store);
    }

    pub fn record(&mut self, decisions: &[Decision], store: &mut Store) {
        let refused: BTreeSet<RuleId> =
            decisions.iter().filter(|decision| !store.record(decision)).map(Decision::rule).collect();
        refused.into_iter().for_each(|id| self.install(id, store));
    }

    /// Notes how far everything is recorded.
    pub fn save(&self, store: &mut Store) {
        for (region, step) in self.matcher.decided().iter() {
            let newest = store.progress.get(region).map_or(step, |it| it.max(step));
            store.progress.set(region, newest);
        }
    }
}
