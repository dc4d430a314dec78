//! Which prices are live, by the server's clock.

use std::collections::BTreeMap;

use odds::{BookmakerKey, Feed, FeedState, Region, SportKey, Timestamp};

/// The feeds of all regions at a given time, which determine which prices are live.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Freshness {
    now: Timestamp,
    feeds: BTreeMap<Region, Feed>,
    #[cfg(test)]
    all_live: bool,
}

impl Freshness {
    pub(crate) fn new(feeds: &BTreeMap<Region, Feed>, now: Timestamp) -> Self {
        Self {
            now,
            feeds: feeds.clone(),
            #[cfg(test)]
            all_live: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn all_live() -> Self {
        Self { all_live: true, ..Self::default() }
    }

    /// Returns since when a bookmaker's prices for a sport are stale, or `None` if they are live.
    pub(crate) fn stale_since(&self, region: Region, sport: &SportKey, bookmaker: &BookmakerKey) -> Option<Timestamp> {
        #[cfg(test)]
        if self.all_live {
            return None;
        }
        let Some(feed) = self.feeds.get(&region) else { return Some(self.now) };
        let Some(sport) = feed.sports.get(sport) else { return Some(feed.at) };
        let seen = feed.bookmakers.get(bookmaker).copied();
        let left_behind = seen.is_some_and(|seen| sport.leaves_behind(seen));
        if feed.state != FeedState::Live || sport.stale_after < self.now || left_behind {
            return Some(if left_behind { seen.unwrap_or(sport.polled_at) } else { sport.polled_at });
        }
        None
    }

    /// Returns what is stale, without the times that change all the time. While this is the same, the same prices are
    /// live.
    pub(crate) fn old(&self) -> Vec<(Region, Old)> {
        let old = |(region, feed): (&Region, &Feed)| {
            let mut old = Old { state: feed.state, sports: Vec::new(), bookmakers: Vec::new() };
            for (key, sport) in &feed.sports {
                if sport.stale_after < self.now {
                    old.sports.push(key.clone());
                }
                let behind = feed.bookmakers.iter().filter(|(_, seen)| sport.leaves_behind(**seen));
                old.bookmakers.extend(behind.map(|(bookmaker, _)| (key.clone(), bookmaker.clone())));
            }
            (*region, old)
        };
        self.feeds.iter().map(old).collect()
    }
}

/// What is stale in a region.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Old {
    state: FeedState,
    sports: Vec<SportKey>,
    /// Stale bookmakers, by sport.
    bookmakers: Vec<(SportKey, BookmakerKey)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn feed(state: &str) -> BTreeMap<Region, Feed> {
        let text = format!(
            r#"{{"region":"uk","at":"{}","state":"{state}","source":"test",
                "sports":{{"soccer_epl":{{"polled_at":"{}","stale_after":"{}"}}}},
                "bookmakers":{{"quick":"{}","asleep":"{}"}}}}"#,
            at(1_010),
            at(1_000),
            at(1_100),
            at(995),
            at(500)
        );
        [(Region::Uk, serde_json::from_str(&text).unwrap())].into()
    }

    #[test]
    fn a_price_is_live_only_while_everything_says_so() {
        let since = |state: &str, now, sport: &str, bookmaker: &str| {
            let fresh = Freshness::new(&feed(state), at(now));
            fresh.stale_since(Region::Uk, &sport.parse().unwrap(), &bookmaker.parse().unwrap())
        };
        assert_eq!(since("live", 1_050, "soccer_epl", "quick"), None);
        assert_eq!(since("live", 1_101, "soccer_epl", "quick"), Some(at(1_000)), "its time is over");
        assert_eq!(since("stale", 1_050, "soccer_epl", "quick"), Some(at(1_000)));
        assert_eq!(since("down", 1_050, "soccer_epl", "quick"), Some(at(1_000)));
        assert_eq!(since("live", 1_050, "soccer_epl", "asleep"), Some(at(500)), "upstream doesn't hear of it any more");
        assert!(since("live", 1_050, "tennis", "quick").is_some(), "nobody polls it");
    }
}
