//! What the matcher remembers of earlier steps: the past of markets that rules about movements look at, and since when
//! sports have been live.

use std::collections::HashMap;

use odds::{Change, Details, EventId, LogPosition, MarketKey, Region, SportKey, Timestamp};

use super::groups::{GroupSlot, Groups};
use crate::{
    Boards, RegionView,
    measure::{GroupKey, Measure, Place},
    past::Past,
    regions::ByRegion,
};

#[derive(Debug, Default)]
pub(super) struct Memory {
    pasts: HashMap<EventId, Vec<(MarketKey, Past)>>,
    /// Since when each sport's prices have been live, and until when they are by the newest marker.
    live: ByRegion<HashMap<SportKey, (Timestamp, Timestamp)>>,
    /// The newest step that was noted.
    noted: ByRegion<Option<LogPosition>>,
    /// New groups, whose events are not known yet.
    pub(super) unprimed: Vec<GroupSlot>,
}

impl Memory {
    pub(super) fn past(&self, event: &EventId, market: &MarketKey) -> Option<&Past> {
        self.pasts.get(event)?.iter().find(|(key, _)| key == market).map(|(_, past)| past)
    }

    fn past_mut(&mut self, event: &EventId, market: &MarketKey) -> &mut Past {
        let pasts = self.pasts.entry(event.clone()).or_default();
        let place = pasts.iter().position(|(key, _)| key == market).unwrap_or_else(|| {
            pasts.push((market.clone(), Past::default()));
            pasts.len() - 1
        });
        &mut pasts[place].1
    }

    pub(super) fn forget(&mut self, event: &EventId) {
        self.pasts.remove(event);
    }

    /// Starts the past of a market that a new group looks at.
    pub(super) fn prime(&mut self, key: &GroupKey, event: &EventId, market: &MarketKey, boards: &Boards<'_>) {
        if !matches!(key.measure, Measure::Move { .. }) || self.past(event, market).is_some() {
            return;
        }
        let past = self.past_mut(event, market);
        for (region, view) in Region::ALL.into_iter().filter_map(|region| Some((region, boards.get(region)?))) {
            let quotes = view.board.quotes_of(event).filter(|(_, key, _)| *key == market);
            quotes.for_each(|(bookmaker, _, outcomes)| past.note(view.marker.at, region, bookmaker, outcomes));
        }
    }

    /// Notes what a step changed, unless it was noted before: a topic can be read again from its beginning.
    pub(super) fn note(
        &mut self,
        region: Region,
        view: RegionView<'_>,
        changes: &[Change],
        is_whole: bool,
        groups: &Groups,
    ) {
        let Some(position) = view.marker.position.filter(|it| self.noted[region].is_none_or(|noted| *it > noted))
        else {
            return;
        };
        self.noted[region] = Some(position);
        self.note_live(region, view);
        let at = view.marker.at;
        if is_whole {
            self.withdraw_what_is_gone(region, view);
        }
        for change in changes {
            match change {
                Change::Removed { id } => {
                    let pasts = self.pasts.get_mut(id).into_iter().flatten();
                    pasts.for_each(|(_, past)| past.note_removal(at, region));
                }
                Change::Changed { id, quotes, .. } => {
                    let Some(details) = view.board.details(id) else { continue };
                    for quote in quotes {
                        if self.wants_past(id, &details.sport_key, &quote.market, groups) {
                            self.past_mut(id, &quote.market).note(at, region, &quote.bookmaker, &quote.outcomes);
                        }
                    }
                }
            }
        }
    }

    fn wants_past(&self, event: &EventId, sport: &SportKey, market: &MarketKey, groups: &Groups) -> bool {
        let is_move =
            |slot: GroupSlot| groups.get(slot).is_some_and(|it| matches!(it.key.measure, Measure::Move { .. }));
        self.past(event, market).is_some() || groups.of_market(event, sport, Some(market)).into_iter().any(is_move)
    }

    /// The changes are the whole board, so what it doesn't have was withdrawn.
    fn withdraw_what_is_gone(&mut self, region: Region, view: RegionView<'_>) {
        for (event, pasts) in &mut self.pasts {
            for (market, past) in pasts {
                let has = |bookmaker: &_| view.board.quotes_of(event).any(|(b, m, _)| b == bookmaker && m == market);
                past.retain(view.marker.at, region, has);
            }
        }
    }

    fn note_live(&mut self, region: Region, view: RegionView<'_>) {
        let at = view.marker.at;
        let before = std::mem::take(&mut self.live[region]);
        if !view.is_live(at) {
            return;
        }
        for (sport, freshness) in &view.marker.sports {
            let until = freshness.stale_after.min(view.marker.next_by);
            if until >= at {
                let since = before.get(sport).filter(|(_, until)| *until >= at).map_or(at, |(since, _)| *since);
                self.live[region].insert(sport.clone(), (since, until));
            }
        }
    }

    /// Tells the past of a market since when its prices have been live.
    pub(super) fn set_live_since(&mut self, event: &EventId, market: &MarketKey, sport: &SportKey) {
        let since = Region::ALL.map(|region| (region, self.live[region].get(sport).map(|(since, _)| *since)));
        let pasts = self.pasts.get_mut(event).into_iter().flatten();
        for (_, past) in pasts.filter(|(key, _)| key == market) {
            since.iter().for_each(|(region, since)| past.set_live_since(*region, *since));
        }
    }
}

/// The events on the boards that a group may look at.
pub(super) fn events_of(place: &Place, boards: &Boards<'_>) -> Vec<(EventId, Details)> {
    let mut found: HashMap<EventId, Details> = HashMap::new();
    for view in Region::ALL.into_iter().filter_map(|region| boards.get(region)) {
        let board = view.board;
        match place {
            Place::Event(event) => found.extend(board.details(event).map(|it| (event.clone(), it.clone()))),
            Place::Sport(sport) => {
                let all = board.event_ids().filter_map(|id| Some((id, board.details(id)?)));
                let of_sport = all.filter(|(_, details)| details.sport_key == *sport);
                found.extend(of_sport.map(|(id, details)| (id.clone(), details.clone())));
            }
            Place::Regions => {}
        }
    }
    found.into_iter().collect()
}
