//! The payload of `feed`: how fresh a region is.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{BookmakerKey, Cursor, FeedState, Marker, Region, SportFreshness, SportKey, Timestamp};

/// A client gets a `feed` at least this often.
const INTERVAL: Duration = Duration::from_secs(10);
/// The interval is never shorter than this, however short-lived the prices are.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// How the source of a replay begins. The source of what is replayed follows.
pub const REPLAYED: &str = "replay:";
/// The source of made-up prices. If their events take less time than real ones, `:` and how many times less follow.
pub const SIMULATOR: &str = "simulator";

/// How fresh a region is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    pub region: Region,
    /// The gateway's clock, or that of a replay.
    pub at: Timestamp,
    pub state: FeedState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub source: String,
    pub sports: BTreeMap<SportKey, SportFreshness>,
    pub bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    /// Upstream's names of bookmakers, for people. A bookmaker without one is shown by its key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bookmaker_names: BTreeMap<BookmakerKey, String>,
    /// The cursor of the client's board once it has applied all frames sent before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Feed {
    /// The feed of a region whose newest step has this marker.
    pub fn of(region: Region, marker: &Marker, at: Timestamp) -> Self {
        let (state, reason) = marker.state_at(at);
        Self {
            region,
            at,
            state,
            reason: reason.map(str::to_owned),
            source: marker.source.clone(),
            sports: marker.sports.clone(),
            bookmakers: marker.bookmakers.clone(),
            bookmaker_names: marker.bookmaker_names.clone(),
            cursor: None,
        }
    }

    /// The feed of a region without a board.
    pub fn down(region: Region, at: Timestamp, reason: &str) -> Self {
        Self {
            region,
            at,
            state: FeedState::Down,
            reason: Some(reason.to_owned()),
            source: String::new(),
            sports: BTreeMap::new(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
            cursor: None,
        }
    }

    /// Whether the prices are of the past.
    pub fn is_replayed(&self) -> bool {
        self.source.starts_with(REPLAYED)
    }

    /// Whether the prices are, or were, made up.
    pub fn is_simulated(&self) -> bool {
        self.simulated().is_some()
    }

    /// If these are prices of a simulation that isn't as fast as reality: how many times as fast it is.
    pub fn simulated_speed(&self) -> Option<&str> {
        self.simulated()?.strip_prefix(':')
    }

    /// What comes after the simulator's name.
    fn simulated(&self) -> Option<&str> {
        let rest = self.source.trim_start_matches(REPLAYED).strip_prefix(SIMULATOR)?;
        (rest.is_empty() || rest.starts_with(':')).then_some(rest)
    }

    /// Whether a sport's prices are good at `at` that are stale or unknown in this feed.
    pub fn is_staler_than(&self, sports: &BTreeMap<SportKey, SportFreshness>, at: Timestamp) -> bool {
        let was_good = |key| self.sports.get(key).is_some_and(|it| it.stale_after >= self.at);
        sports.iter().any(|(key, it)| it.stale_after >= at && !was_good(key))
    }

    /// How long clients may go without a new feed. It is half of the shortest time that prices are good for, so that
    /// prices that are polled again don't look stale to a client.
    pub fn reminder_interval(&self) -> Duration {
        let good = self.sports.values().filter(|it| it.stale_after >= self.at);
        let shortest = good.map(|it| it.stale_after.millis_since(it.polled_at)).min();
        let half = shortest.map_or(INTERVAL, |millis| Duration::from_millis(millis.max(0) as u64) / 2);
        half.clamp(SHORTEST_INTERVAL, INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_of_made_up_prices_is_both() {
        let feed = |source: &str| Feed { source: source.into(), ..Feed::down(Region::Uk, Timestamp::default(), "") };
        let kinds = ["simulator", "replay:simulator", "replay:replay:simulator", "replay:the-odds-api", "the-odds-api"]
            .map(|source| (feed(source).is_replayed(), feed(source).is_simulated()));
        assert_eq!(kinds, [(false, true), (true, true), (true, true), (true, false), (false, false)]);
    }

    #[test]
    fn the_source_of_a_simulation_tells_its_speed() {
        let feed = |source: &str| Feed { source: source.into(), ..Feed::down(Region::Uk, Timestamp::default(), "") };
        let speed = |source: &str| feed(source).simulated_speed().map(str::to_owned);
        assert_eq!(speed("simulator"), None);
        assert_eq!(speed("simulator:20").as_deref(), Some("20"));
        assert_eq!(speed("replay:simulator:0.5").as_deref(), Some("0.5"));
        assert_eq!(speed("simulators:2"), None);
        assert_eq!(speed("the-odds-api"), None);
    }
}
