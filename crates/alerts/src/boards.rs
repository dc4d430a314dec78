//! The boards that rules are evaluated on.

use odds::{Board, Details, EventId, FeedState, Marker, REPLAYED, Region, SportKey, Timestamp};

use crate::{Regions, decision::Steps, regions::ByRegion};

/// A verified board, and the marker of its step.
#[derive(Clone, Copy, Debug)]
pub struct RegionView<'a> {
    pub board: &'a Board,
    pub marker: &'a Marker,
}

/// The verified boards of all regions; none for a region that is not loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Boards<'a>(ByRegion<Option<RegionView<'a>>>);

impl<'a> Boards<'a> {
    pub fn set(&mut self, region: Region, view: Option<RegionView<'a>>) {
        self.0[region] = view;
    }

    pub fn get(&self, region: Region) -> Option<RegionView<'a>> {
        self.0[region]
    }

    /// Their newest steps.
    pub fn steps(&self) -> Steps {
        let step = |region| Some((region, self.get(region)?.marker.position?));
        Region::ALL.into_iter().filter_map(step).collect()
    }

    pub(crate) fn has_event(&self, event: &EventId) -> bool {
        Region::ALL.into_iter().filter_map(|region| self.get(region)).any(|view| view.board.details(event).is_some())
    }

    /// The event, as the first of these regions has it.
    pub(crate) fn details_of(&self, event: &EventId, regions: Regions) -> Option<&'a Details> {
        let mut views = regions.iter().filter_map(|region| self.get(region));
        views.find_map(|view| view.board.details(event))
    }
}

impl RegionView<'_> {
    /// Whether the feed is live at this time, and not a replay.
    pub fn is_live(&self, at: Timestamp) -> bool {
        self.marker.state_at(at).0 == FeedState::Live && !self.marker.source.starts_with(REPLAYED)
    }

    /// Whether a sport's prices are live at this time.
    pub fn is_sport_live(&self, sport: &SportKey, at: Timestamp) -> bool {
        self.is_live(at) && self.marker.sports.get(sport).is_some_and(|it| it.stale_after >= at)
    }
}
