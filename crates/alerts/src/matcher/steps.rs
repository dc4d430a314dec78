//! What a verified step decides.

use std::collections::{BTreeMap, BTreeSet};

use odds::{Change, EventId, MarketKey, Region, SportKey, Timestamp};

use super::{Concern, GroupSlot, Held, Matcher, Members, evaluation::Occasion};
use crate::{
    Boards, Decision, RegionView, Regions,
    market_now::MarketNow,
    measure::{Measure, Place, Reading},
    sight::Sight,
    thresholds::{Slot, Thresholds},
};

/// A verified step of one region.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub region: Region,
    /// What changed since the step that was given before it.
    pub changes: &'a [Change],
    /// Whether the changes are the whole board, because no step before it is known.
    pub is_whole: bool,
    /// Whether no later step is there to be read.
    pub is_newest: bool,
    /// The boards with this step, and the newest step of the other regions.
    pub boards: Boards<'a>,
}

impl Matcher {
    /// Evaluates what the step changed. A step at or before one that is already decided decides nothing.
    pub fn step(&mut self, step: &Step<'_>, now: Timestamp) -> Vec<Decision> {
        self.now = self.now.max(now);
        let mut decisions = Vec::new();
        let region = step.region;
        let Some(view) = step.boards.get(region) else { return decisions };
        // Steps of earlier versions can't be put in order.
        let Some(position) = view.marker.position else { return decisions };
        self.note_events(step.changes);
        self.memory.note(region, view, step.changes, step.is_whole, &self.groups);
        let mut concerns: BTreeSet<Concern> = changed(step.changes).collect();
        if self.decided.get(region).is_some_and(|decided| position <= decided) {
            concerns.extend(self.settled(region, view));
            for concern in concerns {
                self.learn_levels(region, concern, view, &step.boards);
            }
            return decisions;
        }
        self.decided.set(region, position);
        let boards = self.current(&step.boards);
        self.release(region, &boards, view.marker.at);
        concerns.extend(self.settled(region, view));
        let mut by_market: BTreeMap<(EventId, MarketKey), Option<Vec<GroupSlot>>> = BTreeMap::new();
        for (event, market, only) in concerns {
            let groups = by_market.entry((event, market)).or_insert_with(|| Some(Vec::new()));
            match (groups.as_mut(), only) {
                (Some(groups), Some(only)) => groups.push(only),
                _ => *groups = None,
            }
        }
        for (market, only) in by_market {
            self.evaluate_market(step, view, &boards, market, only.as_deref(), &mut decisions);
        }
        decisions
    }

    fn note_events(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Changed { id, details: Some(details), .. } = change
                && self.groups.watch(id, &details.sport_key)
            {
                self.timers.note_event(id, details);
            }
        }
    }

    fn evaluate_market(
        &mut self,
        step: &Step<'_>,
        view: RegionView<'_>,
        boards: &Boards<'_>,
        (event, market): (EventId, MarketKey),
        only: Option<&[GroupSlot]>,
        decisions: &mut Vec<Decision>,
    ) {
        let Some(sport) = view.board.details(&event).map(|details| details.sport_key.clone()) else { return };
        let mut groups = self.groups.of_market(&event, &sport, Some(&market));
        groups.retain(|slot| self.groups.get(*slot).is_some_and(|group| group.key.regions.contains(step.region)));
        groups.retain(|slot| only.is_none_or(|only| only.contains(slot)));
        if groups.is_empty() {
            return;
        }
        let at = view.marker.at;
        if !view.is_sport_live(&sport, at) {
            let unsettled = &mut self.unsettled[step.region];
            match only {
                None => unsettled.extend([(event, market, None)]),
                Some(only) => unsettled.extend(only.iter().map(|slot| (event.clone(), market.clone(), Some(*slot)))),
            }
            return;
        }
        let Some(now) = MarketNow::read(boards, &event, &market, at) else { return };
        self.memory.set_live_since(&event, &market, &sport);
        let is_late = !step.is_newest || !view.is_sport_live(&sport, self.now);
        let occasion = Occasion { at, steps: boards.steps(), is_late, is_change: only.is_none(), start: None };
        let mut sight = Sight::new(&now, self.memory.past(&event, &market), at);
        let read = |slot: GroupSlot| Some((slot, self.groups.get(slot)?.key.readings(&mut sight)));
        let readings: Vec<(GroupSlot, Vec<Reading>)> = groups.into_iter().filter_map(read).collect();
        for (slot, readings) in readings {
            for reading in readings {
                self.evaluate(slot, &reading, &occasion, decisions);
            }
        }
    }

    /// Notes the levels at a step that is decided already.
    fn learn_levels(&mut self, region: Region, concern: Concern, view: RegionView<'_>, boards: &Boards<'_>) {
        let (event, market, _) = &concern;
        let Some(details) = view.board.details(event) else { return };
        let (sport, at) = (details.sport_key.clone(), view.marker.at);
        let mut groups = self.groups.of_market(event, &sport, Some(market));
        groups.retain(|slot| self.groups.get(*slot).is_some_and(|group| group.key.regions.contains(region)));
        if groups.is_empty() {
            return;
        }
        if !view.is_sport_live(&sport, at) {
            self.unsettled[region].insert(concern);
            return;
        }
        self.memory.set_live_since(event, market, &sport);
        for slot in groups {
            self.measure_only_at(slot, event, market, boards, at);
        }
    }

    /// Notes the levels of a group at the boards' newest steps.
    pub(super) fn measure_only(&mut self, slot: u32, event: &EventId, market: &MarketKey, boards: &Boards<'_>) {
        let newest = Region::ALL.into_iter().filter_map(|region| boards.get(region)).map(|view| view.marker.at).max();
        if let Some(at) = newest {
            self.measure_only_at(slot, event, market, boards, at);
        }
    }

    fn measure_only_at(&mut self, slot: u32, event: &EventId, market: &MarketKey, boards: &Boards<'_>, at: Timestamp) {
        let Some(group) = self.groups.get(slot) else { return };
        let key = group.key.clone();
        if matches!(group.members, Members::One(_)) {
            return;
        }
        let Some(now) = MarketNow::read(boards, event, market, at) else { return };
        for reading in key.readings(&mut Sight::new(&now, self.memory.past(event, market), at)) {
            if let Some(Members::Many(levels)) = self.groups.get_mut(slot).map(|group| &mut group.members) {
                let hash = reading.subject.hash();
                levels.note_event(event, hash);
                let known = levels.subject(hash);
                known.level = reading.next_level(known.level);
            }
        }
    }

    /// The markets that changed while their prices were not live, and are now.
    fn settled(&mut self, region: Region, view: RegionView<'_>) -> Vec<Concern> {
        let at = view.marker.at;
        let is_live = |sport: &SportKey| view.is_sport_live(sport, at);
        let settled = |(event, ..): &Concern| view.board.details(event).is_none_or(|it| is_live(&it.sport_key));
        self.unsettled[region].extract_if(settled).collect()
    }

    /// Begins to evaluate rules for which a step of this region counts from now on.
    fn release(&mut self, region: Region, boards: &Boards<'_>, at: Timestamp) {
        let steps = boards.steps();
        let counts = |this: &Self, held: &Held| {
            let is_later = held.after.as_ref().is_none_or(|after| {
                let is_later = after.get(region).is_none_or(|after| steps.get(region).is_some_and(|it| it > after));
                is_later && steps.are_not_before(after)
            });
            is_later && at > this.entry(held.rule).edited_at
        };
        self.release_if(|regions| regions.contains(region), counts);
    }

    /// Begins to evaluate rules that depend on the time and not on steps.
    pub(super) fn release_timed(&mut self) {
        let is_timed = |this: &Self, held: &Held| {
            let entry = this.entry(held.rule);
            let measure = this.groups.get(entry.group).expect("a rule has a group").key.measure;
            matches!(measure, Measure::Start | Measure::Feed) && this.now > entry.edited_at
        };
        self.release_if(|_| true, is_timed);
    }

    fn release_if(&mut self, may_count: impl Fn(Regions) -> bool, counts: impl Fn(&Self, &Held) -> bool) {
        for set in Regions::all_sets().filter(|set| may_count(*set)) {
            if self.held[set.index()].is_empty() {
                continue;
            }
            let mut held = std::mem::take(&mut self.held[set.index()]);
            held.retain(|held| self.is_valid(held));
            let (released, held): (Vec<Held>, Vec<Held>) = held.into_iter().partition(|held| counts(self, held));
            self.held[set.index()] = held;
            released.into_iter().for_each(|held| self.enlist(held.rule));
        }
    }

    /// Makes a rule a member of its group.
    fn enlist(&mut self, slot: Slot) {
        let entry = *self.entry(slot);
        let states: Vec<_> = self.armings.range((slot, 0)..=(slot, u64::MAX)).map(|(key, it)| (key.1, *it)).collect();
        let group = self.groups.get_mut(entry.group).expect("a rule has a group");
        let key = group.key.clone();
        let armed = entry.threshold;
        let restore = |thresholds: &mut Thresholds, state: &super::State| match state.fired {
            true => thresholds.add_fired(armed.armed_at, slot),
            // It is woken when its market is evaluated.
            false => thresholds.add_cooling(entry.cool_at(state.fired_at), slot),
        };
        match &mut group.members {
            Members::One(thresholds) => match states.first() {
                Some((_, state)) => restore(thresholds, state),
                None => thresholds.add_armed(armed.fires_at, slot),
            },
            Members::Many(levels) => {
                levels.add(armed.fires_at, slot);
                for (hash, state) in &states {
                    let known = levels.subject(*hash);
                    match key.measure {
                        Measure::MainPoint => known.is_cooling = true,
                        _ => restore(&mut known.experienced, state),
                    }
                }
            }
        }
        match (&key.place, &key.market) {
            (Place::Event(event), Some(market)) if states.is_empty() && key.measure.is_price() => {
                // A price that is there already counts.
                for region in key.regions.iter() {
                    self.unsettled[region].insert((event.clone(), market.clone(), Some(entry.group)));
                }
            }
            (place, None) => self.timers.check_starts(place),
            _ => {}
        }
    }
}

/// The markets of which a quote changed.
fn changed(changes: &[Change]) -> impl Iterator<Item = Concern> {
    changes
        .iter()
        .flat_map(|change| change.quotes().iter().map(|quote| (change.id().clone(), quote.market.clone(), None)))
}
