//! The step marker: ends a step in a partition, and records how fresh each sport is.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer, Serialize};

use super::LogPosition;
use crate::{BookmakerKey, Digest, SportKey, Timestamp};

/// Whether a region's prices are current. A state added by a later version is read as `Stale`, because it is not
/// `Live`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    Live,
    Stale,
    Down,
}

impl FeedState {
    pub const ALL: [Self; 3] = [Self::Live, Self::Stale, Self::Down];

    pub fn key(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Down => "down",
        }
    }
}

impl<'de> Deserialize<'de> for FeedState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = Cow::<str>::deserialize(deserializer)?;
        Ok(Self::ALL.into_iter().find(|state| state.key() == key).unwrap_or(Self::Stale))
    }
}

/// When a sport was last polled, and until when that poll counts as fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SportFreshness {
    pub polled_at: Timestamp,
    pub stale_after: Timestamp,
}

impl SportFreshness {
    /// Whether a bookmaker that was last seen then has been missing from the upstream's answers for longer than a poll
    /// stays fresh.
    pub fn leaves_behind(&self, seen: Timestamp) -> bool {
        self.polled_at.millis_since(seen) > self.stale_after.millis_since(self.polled_at).max(0)
    }
}

/// How many credits of the odds API remain and were used, by its last answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Credits {
    pub remaining: Option<f64>,
    pub used: Option<f64>,
}

/// How many credits of the odds API the producers of a region spent on one day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaySpending {
    pub day_ends: Timestamp,
    /// By source. With a daily cap, this includes the cost of the next poll: no credit is spent before it is on the
    /// topic.
    pub credits: BTreeMap<String, f64>,
}

/// The value of a marker record: the board's digest after the step, and the state of the feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// The board's digest after the step.
    pub digest: Digest,
    /// The leader's clock, but later than the step before in the same log.
    pub at: Timestamp,
    /// Absent in markers of earlier versions: their steps can't be put in order without guessing.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub position: Option<LogPosition>,
    /// If no other marker comes by then, the producer is gone.
    pub next_by: Timestamp,
    pub state: FeedState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The name of the odds API, so that a simulator's prices are not mistaken for real ones.
    pub source: String,
    #[serde(default)]
    pub credits: Credits,
    #[serde(default)]
    pub sports: BTreeMap<SportKey, SportFreshness>,
    /// The newest `last_update` that upstream gave for each bookmaker.
    #[serde(default)]
    pub bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    /// Upstream's names of bookmakers, for people. Absent in markers of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bookmaker_names: BTreeMap<BookmakerKey, String>,
    /// Absent while it is unknown, and in markers of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent_today: Option<DaySpending>,
}

impl Marker {
    /// The region's state at a time at which no newer marker has come, and the reason for it.
    pub fn state_at(&self, at: Timestamp) -> (FeedState, Option<&str>) {
        match self.next_by < at {
            true => (FeedState::Stale, Some("the producer is silent")),
            false => (self.state, self.reason.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A marker of the version before `bookmaker_names` and `spent_today`.
    const OLD: &str = r#"{"digest":"00000000000000000000000000000001","at":"2026-11-21T12:00:00Z",
        "next_by":"2026-11-21T12:00:25Z","state":"live","source":"test","credits":{"remaining":9.0,"used":1.0},
        "sports":{"soccer_epl":{"polled_at":"2026-11-21T12:00:00Z","stale_after":"2026-11-21T12:02:00Z"}},
        "bookmakers":{"betmgm":"2026-11-21T11:59:00Z"}}"#;

    /// Some of the fields that that version reads.
    #[derive(Deserialize)]
    struct OldMarker {
        digest: Digest,
        bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    }

    #[test]
    fn markers_of_earlier_versions_are_read() {
        let marker: Marker = serde_json::from_str(OLD).unwrap();
        assert!(marker.bookmaker_names.is_empty());
        assert_eq!((marker.spent_today.as_ref(), marker.position), (None, None));
        let again = serde_json::to_value(&marker).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(OLD).unwrap(), "and written as they were");
    }

    #[test]
    fn a_state_of_a_later_version_is_stale_and_keeps_its_reason() {
        let later = OLD.replace(r#""state":"live""#, r#""state":"paused","reason":"the operator paused it""#);
        let marker: Marker = serde_json::from_str(&later).unwrap();
        assert_eq!((marker.state, marker.reason.as_deref()), (FeedState::Stale, Some("the operator paused it")));
        for state in FeedState::ALL {
            let again: FeedState = serde_json::from_value(serde_json::to_value(state).unwrap()).unwrap();
            assert_eq!(again, state);
        }
        assert!(serde_json::from_str::<FeedState>("7").is_err());
    }

    #[test]
    fn a_position_that_makes_no_sense_is_none() {
        for wrong in [r#""seq":7"#, r#""log":"5.1/1""#, r#""log":"5.1","seq":7"#, r#""log":"5.1/1","seq":-7"#] {
            let marker = OLD.replace(r#""state":"live""#, &format!(r#""state":"live",{wrong}"#));
            assert_eq!(serde_json::from_str::<Marker>(&marker).unwrap().position, None, "{wrong}");
        }
    }

    #[test]
    fn earlier_versions_read_todays_markers() {
        let mut marker: Marker = serde_json::from_str(OLD).unwrap();
        marker.bookmaker_names = [("betmgm".parse().unwrap(), "BetMGM".to_owned())].into();
        marker.position = Some(LogPosition { log: "1790000000000.7/3".parse().unwrap(), seq: 12 });
        marker.spent_today = Some(DaySpending {
            day_ends: "2026-11-22T00:00:00Z".parse().unwrap(),
            credits: [("test".to_owned(), 4.5)].into(),
        });
        let json = serde_json::to_string(&marker).unwrap();
        let old: OldMarker = serde_json::from_str(&json).unwrap();
        assert_eq!((old.digest, old.bookmakers.len()), (marker.digest, 1));
        assert_eq!(serde_json::from_str::<Marker>(&json).unwrap(), marker);
    }
}
