//! Groups of rules that measure the same, and how they are found: by event, or by sport and market.

use std::{collections::HashMap, sync::Arc};

use odds::{EventId, MarketKey, SportKey};

use crate::{
    levels::Levels,
    measure::{GroupKey, Measure, Place},
    thresholds::Thresholds,
};

pub(super) type GroupSlot = u32;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) key: Arc<GroupKey>,
    /// How many rules it has, those included that are not evaluated yet.
    pub(super) rules: u32,
    pub(super) members: Members,
}

#[derive(Debug)]
pub(super) enum Members {
    One(Thresholds),
    Many(Levels),
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    slots: Vec<Option<Group>>,
    free: Vec<GroupSlot>,
    by_key: HashMap<Arc<GroupKey>, GroupSlot>,
    by_event: HashMap<EventId, Vec<GroupSlot>>,
    by_sport: HashMap<(SportKey, Option<MarketKey>), Vec<GroupSlot>>,
    of_regions: Vec<GroupSlot>,
    /// How many groups each sport has.
    sports: HashMap<SportKey, u32>,
}

impl Groups {
    pub(super) fn get(&self, slot: GroupSlot) -> Option<&Group> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: GroupSlot) -> Option<&mut Group> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Adds a rule to its group. Returns the group, and whether it is new.
    pub(super) fn add_rule(&mut self, key: GroupKey) -> (GroupSlot, bool) {
        if let Some(slot) = self.by_key.get(&key).copied() {
            self.get_mut(slot).expect("a group that is found exists").rules += 1;
            return (slot, false);
        }
        let key = Arc::new(key);
        // A main point is compared with the one before, which belongs to the subject.
        let members = match key.has_one_subject() && key.measure != Measure::MainPoint {
            true => Members::One(Thresholds::default()),
            false => Members::Many(Levels::default()),
        };
        let group = Some(Group { key: key.clone(), rules: 1, members });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = group;
                slot
            }
            None => {
                self.slots.push(group);
                u32::try_from(self.slots.len() - 1).expect("fewer groups than rules")
            }
        };
        self.listed_with(&key).push(slot);
        if let Place::Sport(sport) = &key.place {
            *self.sports.entry(sport.clone()).or_default() += 1;
        }
        self.by_key.insert(key, slot);
        (slot, true)
    }

    /// Removes rules from their group, and the group if it has no others.
    pub(super) fn remove_rules(&mut self, slot: GroupSlot, count: u32) {
        let group = self.get_mut(slot).expect("a rule has a group");
        group.rules -= count;
        if group.rules > 0 {
            return;
        }
        let key = group.key.clone();
        self.slots[slot as usize] = None;
        self.free.push(slot);
        self.by_key.remove(&key);
        self.listed_with(&key).retain(|it| *it != slot);
        match &key.place {
            Place::Event(event) if self.by_event.get(event).is_some_and(Vec::is_empty) => {
                self.by_event.remove(event);
            }
            Place::Sport(sport) => {
                let market = (sport.clone(), key.market.clone());
                if self.by_sport.get(&market).is_some_and(Vec::is_empty) {
                    self.by_sport.remove(&market);
                }
                if let Some(count) = self.sports.get_mut(sport) {
                    *count -= 1;
                }
                self.sports.retain(|_, count| *count > 0);
            }
            _ => {}
        }
    }

    fn listed_with(&mut self, key: &GroupKey) -> &mut Vec<GroupSlot> {
        match &key.place {
            Place::Event(event) => self.by_event.entry(event.clone()).or_default(),
            Place::Sport(sport) => self.by_sport.entry((sport.clone(), key.market.clone())).or_default(),
            Place::Regions => &mut self.of_regions,
        }
    }

    /// The groups that look at this market of an event, or at its start if there is no market.
    pub(super) fn of_market(&self, event: &EventId, sport: &SportKey, market: Option<&MarketKey>) -> Vec<GroupSlot> {
        let of_event = self.by_event.get(event).into_iter().flatten().copied();
        let of_event = of_event.filter(|slot| self.get(*slot).is_some_and(|it| it.key.market.as_ref() == market));
        let of_sport = match self.sports.is_empty() {
            true => None,
            false => self.by_sport.get(&(sport.clone(), market.cloned())),
        };
        of_event.chain(of_sport.into_iter().flatten().copied()).collect()
    }

    pub(super) fn of_event(&self, event: &EventId) -> &[GroupSlot] {
        self.by_event.get(event).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn of_regions(&self) -> &[GroupSlot] {
        &self.of_regions
    }

    pub(super) fn of_sport(&self, sport: &SportKey) -> Vec<GroupSlot> {
        let groups = self.by_sport.iter().filter(|((it, _), _)| it == sport);
        groups.flat_map(|(_, slots)| slots.iter().copied()).collect()
    }

    /// Whether any rule is about this event.
    pub(super) fn watch(&self, event: &EventId, sport: &SportKey) -> bool {
        self.by_event.contains_key(event) || self.sports.contains_key(sport)
    }
}
