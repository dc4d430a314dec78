//! Compares what was measured with the rules of a group.

use odds::Timestamp;

use super::{Entry, GroupSlot, Matcher, Members, State};
use crate::{
    Arming, Decision, Facts, Firing, FiringId, Steps,
    levels::Levels,
    measure::{Measure, Reading},
    rule::cool_at,
    thresholds::{Slot, Thresholds},
};

/// When something was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    pub(super) at: Timestamp,
    pub(super) steps: Steps,
    pub(super) is_late: bool,
    /// Whether it may have changed since it was measured last. Otherwise, only rules that are new are looked at.
    pub(super) is_change: bool,
    /// The start of the event, if that is what is measured.
    pub(super) start: Option<Timestamp>,
}

/// What rules are compared with.
struct Comparison<'a> {
    group: GroupSlot,
    measure: Measure,
    reading: &'a Reading,
    /// The hash of the subject; 0 if the group has only one.
    subject: u64,
    occasion: &'a Occasion,
}

impl Entry {
    /// When it may fire again.
    pub(super) fn cool_at(&self, fired_at: Timestamp) -> Timestamp {
        cool_at(fired_at, self.cooldown_minutes)
    }

    fn is_once(&self) -> bool {
        self.cooldown_minutes == 0
    }
}

impl Reading {
    /// The level to compare the next one with, given the last one. A level of which only a bound is known counts only
    /// where the bound suffices.
    pub(crate) fn next_level(&self, last: Option<f64>) -> Option<f64> {
        let counts = match last {
            None => self.may_fire && self.may_arm,
            Some(last) if self.level > last => self.may_fire,
            Some(_) => self.may_arm,
        };
        if counts { Some(self.level) } else { last }
    }
}

impl Measure {
    pub(crate) fn is_price(self) -> bool {
        matches!(self, Self::BestPrice | Self::FallingPrice)
    }

    fn key(self) -> &'static str {
        match self {
            Self::BestPrice | Self::FallingPrice => "price",
            Self::Move { .. } => "move",
            Self::MainPoint => "line",
            Self::Arbitrage => "arbitrage",
            Self::Start => "starts",
            Self::Feed => "feed",
        }
    }
}

impl Matcher {
    pub(super) fn evaluate(
        &mut self,
        group: GroupSlot,
        reading: &Reading,
        occasion: &Occasion,
        decisions: &mut Vec<Decision>,
    ) {
        self.evaluations += 1;
        let Some(found) = self.groups.get_mut(group) else { return };
        let measure = found.key.measure;
        // Taken out, because rules that fire once leave the matcher meanwhile.
        let mut members = std::mem::replace(&mut found.members, Members::One(Thresholds::default()));
        let mut comparison = Comparison { group, measure, reading, subject: 0, occasion };
        match &mut members {
            Members::One(thresholds) => self.compare(&comparison, thresholds, decisions),
            Members::Many(levels) => {
                comparison.subject = reading.subject.hash();
                if let Some(event) = &reading.subject.event {
                    levels.note_event(event, comparison.subject);
                }
                match measure {
                    Measure::MainPoint => self.compare_points(&comparison, levels, decisions),
                    _ => self.compare_levels(&comparison, levels, decisions),
                }
            }
        }
        if let Some(found) = self.groups.get_mut(group) {
            found.members = members;
        }
    }

    /// Rules of which each is armed, has fired, or must wait.
    fn compare(&mut self, comparison: &Comparison<'_>, thresholds: &mut Thresholds, decisions: &mut Vec<Decision>) {
        let Comparison { reading, occasion, subject, .. } = comparison;
        while occasion.is_change
            && let Some(rule) = thresholds.next_to_wake(occasion.at)
        {
            thresholds.add_armed(self.entry(rule).threshold.fires_at, rule);
        }
        while reading.may_arm
            && let Some(rule) = thresholds.next_to_arm(reading.level)
        {
            let entry = *self.entry(rule);
            let fired_at = self.armings.get(&(rule, *subject)).map_or(Timestamp::default(), |it| it.fired_at);
            self.arm(comparison, rule, reading.level, decisions);
            match entry.cool_at(fired_at) > occasion.at {
                true => thresholds.add_cooling(entry.cool_at(fired_at), rule),
                false => thresholds.add_armed(entry.threshold.fires_at, rule),
            }
        }
        while reading.may_fire
            && let Some(rule) = thresholds.next_to_fire(reading.level)
        {
            let armed_at = self.entry(rule).threshold.armed_at;
            if !self.fire(comparison, rule, None, decisions) {
                thresholds.add_fired(armed_at, rule);
            }
        }
    }

    /// Rules that fire when a level crosses their threshold.
    fn compare_levels(&mut self, comparison: &Comparison<'_>, levels: &mut Levels, decisions: &mut Vec<Decision>) {
        let Comparison { reading, subject, measure, .. } = *comparison;
        let known = levels.subject(subject);
        let mut experienced = std::mem::take(&mut known.experienced);
        self.compare(comparison, &mut experienced, decisions);
        let last = match measure {
            // Time passes thresholds whether or not it is watched.
            Measure::Start | Measure::Feed => Some(f64::NEG_INFINITY),
            _ => known.level,
        };
        known.level = reading.next_level(known.level);
        let crossed = last.filter(|_| reading.may_fire).map(|last| levels.between(last, reading.level));
        for rule in crossed.unwrap_or_default() {
            let Some(entry) = self.rules[rule as usize] else { continue };
            if self.armings.contains_key(&(rule, subject)) {
                continue;
            }
            match self.fire(comparison, rule, None, decisions) {
                true => levels.remove(rule),
                false => experienced.add_fired(entry.threshold.armed_at, rule),
            }
        }
        // A rule that ended is in no other list.
        levels.subject(subject).experienced = experienced;
    }

    /// Rules that fire when a point has moved away from where it was.
    fn compare_points(&mut self, comparison: &Comparison<'_>, levels: &mut Levels, decisions: &mut Vec<Decision>) {
        let Comparison { reading, subject, occasion, .. } = *comparison;
        if !reading.may_fire {
            return;
        }
        let known = levels.subject(subject);
        let Some(last) = known.level.replace(reading.level) else { return };
        if last == reading.level && !known.is_cooling {
            return;
        }
        let mut is_cooling = false;
        for rule in levels.all() {
            let Some(entry) = self.rules[rule as usize] else { continue };
            let state = self.armings.get(&(rule, subject)).copied();
            let from = state.map_or(last, |state| state.level);
            let has_moved = (reading.level - from).abs() >= entry.threshold.fires_at;
            let is_cool = state.is_none_or(|state| entry.cool_at(state.fired_at) <= occasion.at);
            match state {
                _ if has_moved && is_cool => {
                    // What it fired at is where the next episode began.
                    if self.fire(comparison, rule, Some(from), decisions) {
                        levels.remove(rule);
                    }
                }
                // Where it is compared with must outlast this process.
                None => self.arm(comparison, rule, from, decisions),
                Some(_) => is_cooling |= has_moved,
            }
        }
        levels.subject(subject).is_cooling = is_cooling;
    }

    /// The next episode of a rule begins.
    fn arm(&mut self, comparison: &Comparison<'_>, rule: Slot, level: f64, decisions: &mut Vec<Decision>) {
        let Comparison { subject, .. } = *comparison;
        let before = self.armings.get(&(rule, subject));
        let episode = before.map_or(1, |state| state.episode.saturating_add(1));
        let fired_at = before.map_or(Timestamp::default(), |state| state.fired_at);
        self.armings.insert((rule, subject), State { episode, fired: false, fired_at, level });
        let arming = Arming { episode, fired: false, fired_at, level, steps: self.steps_of(comparison) };
        decisions.push(Decision::Arm { id: self.firing_id(rule, subject, episode), arming });
    }

    /// Returns whether the rule has ended.
    fn fire(
        &mut self,
        comparison: &Comparison<'_>,
        rule: Slot,
        from: Option<f64>,
        decisions: &mut Vec<Decision>,
    ) -> bool {
        let Comparison { reading, subject, occasion, measure, .. } = *comparison;
        let entry = *self.entry(rule);
        let was_too_late = |start: Timestamp| {
            let due = start.plus_millis((entry.threshold.fires_at * 60_000.0) as i64);
            start <= occasion.at && entry.edited_at > due
        };
        if occasion.start.is_some_and(was_too_late) {
            return false;
        }
        let before = self.armings.get(&(rule, subject));
        let begins = before.is_some_and(|state| state.fired);
        let episode = before.map_or(1, |state| state.episode.saturating_add(begins.into()));
        let state = State { episode, fired: true, fired_at: occasion.at, level: reading.level };
        self.armings.insert((rule, subject), state);
        let facts = Facts { kind: measure.key().to_owned(), ..reading.facts.clone() };
        decisions.push(Decision::Fire(Box::new(Firing {
            id: self.firing_id(rule, subject, episode),
            at: occasion.at,
            is_late: occasion.is_late,
            is_last: entry.is_once(),
            begins,
            level: reading.level,
            steps: self.steps_of(comparison),
            subject: reading.subject.clone(),
            facts: Facts { from: from.or(facts.from), ..facts },
        })));
        if entry.is_once() {
            self.by_id.remove(&entry.id);
            self.rules[rule as usize] = None;
            self.let_go(rule, comparison.group);
        }
        entry.is_once()
    }

    fn firing_id(&self, rule: Slot, subject: u64, episode: u32) -> FiringId {
        let Entry { id, revision, .. } = *self.entry(rule);
        FiringId { rule: id, revision, subject, episode }
    }

    fn steps_of(&self, comparison: &Comparison<'_>) -> Steps {
        match self.groups.get(comparison.group) {
            Some(group) => comparison.occasion.steps.of(group.key.regions),
            None => comparison.occasion.steps,
        }
    }
}
