//! The protocol's payloads as types. The board writes snapshots and odds itself; their types here are for clients,
//! which read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    BookmakerKey, Cursor, Details, EventId, FeedState, MarketKey, Outcomes, Region, SportFreshness, SportKey, Timestamp,
};

pub const PROTOCOL_VERSION: u32 = 1;

/// The regions that a client gets, sent right after it connects and whenever they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriptions {
    pub v: u32,
    /// The revision of the user's account, by which older payloads are recognised. Absent if the connection has its own
    /// regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    pub regions: Vec<Region>,
}

impl Subscriptions {
    pub fn new<'a>(revision: Option<u64>, regions: impl IntoIterator<Item = &'a Region>) -> Self {
        Self { v: PROTOCOL_VERSION, revision, regions: regions.into_iter().copied().collect() }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub struct SnapshotPayload {
    pub region: Region,
    pub cursor: Cursor,
    pub events: Vec<Change>,
    /// The number of this part, from 1. Absent if there is only one.
    #[serde(default)]
    pub part: Option<u32>,
    #[serde(default)]
    pub parts: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct OddsPayload {
    pub region: Region,
    pub prev: Cursor,
    pub cursor: Cursor,
    pub events: Vec<Change>,
}

/// A change of one event.
#[derive(Clone, Debug)]
pub enum Change {
    Removed { id: EventId },
    Changed { id: EventId, details: Option<Details>, quotes: Vec<QuoteChange> },
}

/// A quote that replaces the one before as a whole. Without outcomes, it is withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct QuoteChange {
    pub bookmaker: BookmakerKey,
    pub market: MarketKey,
    pub last_update: Timestamp,
    pub outcomes: Outcomes,
}

/// How fresh a region is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    pub region: Region,
    /// The gateway's clock.
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

impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Flat {
            id: EventId,
            #[serde(default)]
            removed: bool,
            #[serde(default)]
            sport_key: Option<SportKey>,
            #[serde(default)]
            sport_title: String,
            #[serde(default)]
            commence_time: Timestamp,
            #[serde(default)]
            home_team: Option<String>,
            #[serde(default)]
            away_team: Option<String>,
            #[serde(default)]
            quotes: Vec<QuoteChange>,
        }
        let Flat { id, removed, sport_key, sport_title, commence_time, home_team, away_team, quotes } =
            Flat::deserialize(deserializer)?;
        if removed {
            return Ok(Self::Removed { id });
        }
        let details =
            sport_key.map(|sport_key| Details { sport_key, sport_title, commence_time, home_team, away_team });
        Ok(Self::Changed { id, details, quotes })
    }
}
