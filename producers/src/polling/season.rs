//! The sports in season and the starts of their events. Lists and answers may lack some of them for a moment.

use std::collections::{BTreeMap, BTreeSet};

use odds::{SportKey, Timestamp};
use tracing::warn;

use super::{
    Nearness, SportState,
    pace::Pace,
    request::{Listed, ListedSport},
};
use crate::{settings::PollSettings, source::Answer};

/// How often the sports and the starts of their events are listed, in milliseconds.
const LIST_INTERVAL: i64 = 60 * 60 * 1000;
/// A sport counts as gone when two lists in a row lack it. The second list is requested after this time.
const LIST_RETRY: i64 = 60 * 1000;
/// An event missing from answers still counts towards its sport's starts for this time, because bookmakers take down
/// prices now and then.
const VANISHED_FOR: i64 = 15 * 60 * 1000;

/// The known sports and starts.
#[derive(Debug, Default)]
pub(super) struct Season {
    sports: Vec<SportState>,
    /// The known starts of each sport's events, with the time of the last list or answer that had them.
    starts: BTreeMap<SportKey, BTreeMap<Timestamp, Timestamp>>,
    listed_at: Option<Timestamp>,
    /// Whether the last list lacked something that may be missing only for a moment.
    list_again: bool,
    /// Sports that the last list lacked.
    missing: BTreeSet<SportKey>,
}

impl Season {
    pub(super) fn sports(&self) -> &[SportState] {
        &self.sports
    }

    /// Returns all sports, including those missing from the last list only. None before the first list.
    pub(super) fn known(&self) -> Option<BTreeSet<SportKey>> {
        let known = || self.sports.iter().map(|sport| &sport.key).chain(&self.missing).cloned().collect();
        self.listed_at.map(|_| known())
    }

    pub(super) fn next_list(&self, pace: Pace, now: Timestamp) -> Timestamp {
        let interval = pace.wait(if self.list_again { LIST_RETRY } else { LIST_INTERVAL });
        self.listed_at.map_or(now, |at| at.plus_millis(interval))
    }

    /// Notes what the next poll of a sport costs at most.
    pub(super) fn set_cost(&mut self, sport: &SportKey, cost: impl FnOnce(bool) -> f64) {
        if let Some(sport) = self.sports.iter_mut().find(|known| known.key == *sport) {
            sport.cost = cost(sport.outrights);
        }
    }

    pub(super) fn is_in_play(&self, sport: &SportKey, now: Timestamp) -> bool {
        self.sports.iter().any(|it| it.key == *sport && it.nearness(now) == Nearness::InPlay)
    }

    /// Takes over when a former leader last polled each sport.
    pub(super) fn take_over(&mut self, polled_at: impl Fn(&SportKey) -> Option<Timestamp>) {
        for sport in &mut self.sports {
            sport.last_polled = sport.last_polled.max(polled_at(&sport.key));
        }
    }

    /// Takes a list. `polled_at` is when each sport was last polled, by this leader or a former one.
    pub(super) fn listed(
        &mut self,
        listed: &Listed,
        settings: &PollSettings,
        polled_at: &BTreeMap<SportKey, Timestamp>,
        now: Timestamp,
    ) {
        self.listed_at = Some(now);
        self.list_again = listed.sports.iter().any(|listed| listed.starts.is_none());
        let before = std::mem::take(&mut self.sports);
        let missing_before = std::mem::take(&mut self.missing);
        for ListedSport { sport, starts, cost } in &listed.sports {
            let last_polled = before
                .iter()
                .find(|known| known.key == sport.key)
                .and_then(|known| known.last_polled)
                .or_else(|| polled_at.get(&sport.key).copied());
            let known = self.starts.entry(sport.key.clone()).or_default();
            match starts.as_deref() {
                // Recently seen events may be missing from this list only.
                None | Some([]) => known.retain(|_, seen| now.millis_since(*seen) <= VANISHED_FOR),
                Some(starts) => *known = starts.iter().map(|start| (*start, now)).collect(),
            }
            self.sports.push(SportState {
                key: sport.key.clone(),
                outrights: sport.outrights,
                starts: known.keys().copied().collect(),
                last_polled,
                cost: *cost,
            });
        }
        for sport in before {
            if self.sports.iter().all(|known| known.key != sport.key) && !missing_before.contains(&sport.key) {
                warn!(sport = %sport.key, "the odds API's list lacks a sport: keeping it until the next list");
                self.missing.insert(sport.key.clone());
                self.list_again = true;
                self.sports.push(sport);
            }
        }
        // The same for sports that a former leader polled.
        let is_gone = |sport: &&SportKey| {
            let is_listed = self.sports.iter().any(|known| known.key == **sport);
            !is_listed && settings.wants(sport) && !missing_before.contains(*sport)
        };
        let of_former: Vec<SportKey> = polled_at.keys().filter(is_gone).cloned().collect();
        for sport in of_former {
            warn!(%sport, "the odds API's first list lacks a sport: keeping its odds until the next list");
            self.missing.insert(sport);
            self.list_again = true;
        }
        for wanted in &settings.sports {
            if self.sports.iter().all(|known| known.key != *wanted) {
                warn!(sport = %wanted, "the odds API lists no such sport in season: check --sports");
            }
        }
        // An empty list may be a fault: keep what is known.
        if self.sports.is_empty() {
            self.list_again = true;
        } else if let Some(known) = self.known() {
            self.starts.retain(|sport, _| known.contains(sport));
        }
    }

    /// Takes an answer with a sport's odds. Returns the sport's index in [`Self::sports`], or None if it is unknown.
    pub(super) fn answered(&mut self, sport: &SportKey, answer: &Answer, now: Timestamp) -> Option<usize> {
        let at = self.sports.iter().position(|known| known.key == *sport)?;
        self.sports[at].last_polled = Some(now);
        let mut answered: Vec<Timestamp> = answer.events.iter().map(|(_, image)| image.details.commence_time).collect();
        answered.extend(answer.incomplete.iter().filter_map(|it| Some(it.details.as_ref()?.commence_time)));
        // An empty answer doesn't mean that there are no events: bookmakers may have taken down all prices.
        if !answered.is_empty() {
            let starts = self.starts.entry(sport.clone()).or_default();
            starts.retain(|_, seen| now.millis_since(*seen) <= VANISHED_FOR);
            starts.extend(answered.into_iter().map(|start| (start, now)));
            self.sports[at].starts = starts.keys().copied().collect();
        }
        Some(at)
    }
}
