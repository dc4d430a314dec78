//! The recent past of a market's quotes, for rules about movements.

use std::collections::{HashMap, VecDeque};

use odds::{BookmakerKey, Outcome, Outcomes, Region, Timestamp};

use crate::{definition::MAX_MOVE_MINUTES, regions::ByRegion};

const KEPT_MS: i64 = MAX_MOVE_MINUTES as i64 * 60_000;

/// The quotes of a market now, and what they replaced within the longest time that rules look back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    now: HashMap<(Region, BookmakerKey), Outcomes>,
    /// The oldest first.
    replaced: ByRegion<VecDeque<Replaced>>,
    /// Since when the sport's prices have been live without a break.
    live_since: ByRegion<Option<Timestamp>>,
}

/// A quote until a time.
#[derive(Clone, Debug)]
struct Replaced {
    until: Timestamp,
    bookmaker: BookmakerKey,
    /// `None`: there was none.
    outcomes: Option<Outcomes>,
}

impl Past {
    /// Notes the quote that is valid from this time on. Without outcomes, it is withdrawn.
    pub(crate) fn note(&mut self, at: Timestamp, region: Region, bookmaker: &BookmakerKey, outcomes: &Outcomes) {
        let key = (region, bookmaker.clone());
        let before = match outcomes.is_empty() {
            true => self.now.remove(&key),
            false => self.now.insert(key, outcomes.clone()),
        };
        if before.as_ref() == Some(outcomes) {
            return;
        }
        let replaced = &mut self.replaced[region];
        replaced.push_back(Replaced { until: at, bookmaker: bookmaker.clone(), outcomes: before });
        while replaced.front().is_some_and(|it| at.millis_since(it.until) > KEPT_MS) {
            replaced.pop_front();
        }
    }

    /// The event left a region's board.
    pub(crate) fn note_removal(&mut self, at: Timestamp, region: Region) {
        self.retain(at, region, |_| false);
    }

    /// Withdraws the quotes of a region that are not there any more.
    pub(crate) fn retain(&mut self, at: Timestamp, region: Region, is_there: impl Fn(&BookmakerKey) -> bool) {
        let of_region = self.now.keys().filter(|(of, bookmaker)| *of == region && !is_there(bookmaker));
        let gone: Vec<BookmakerKey> = of_region.map(|(_, bookmaker)| bookmaker.clone()).collect();
        gone.iter().for_each(|bookmaker| self.note(at, region, bookmaker, &Outcomes::none()));
    }

    /// Nothing is known of a region before this time, or its prices were not live.
    pub(crate) fn set_live_since(&mut self, region: Region, since: Option<Timestamp>) {
        self.live_since[region] = since;
    }

    /// The time to compare with: `minutes` ago, or since when all these regions are live, if that is later. `None` if
    /// there is no time in between.
    pub(crate) fn window_start(
        &self,
        regions: impl Iterator<Item = Region>,
        at: Timestamp,
        minutes: u32,
    ) -> Option<Timestamp> {
        let mut from = at.plus_millis(-i64::from(minutes) * 60_000);
        for region in regions {
            from = from.max(self.live_since[region]?);
        }
        (from < at).then_some(from)
    }

    /// The bookmaker's outcomes at a time, given what they are now. `None` if there were none.
    pub(crate) fn outcomes_at(
        &self,
        time: Timestamp,
        region: Region,
        bookmaker: &BookmakerKey,
        now: &[Outcome],
    ) -> Option<Vec<Outcome>> {
        let replaced = &self.replaced[region];
        let first_later = replaced.partition_point(|it| it.until <= time);
        match replaced.range(first_later..).find(|it| it.bookmaker == *bookmaker) {
            Some(replaced) => replaced.outcomes.as_ref().map(Outcomes::to_vec),
            None => Some(now.to_vec()),
        }
    }
}
