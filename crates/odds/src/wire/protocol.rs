//! What gateway and clients say to each other, as types. The board writes snapshots and odds
//! itself; here they are as a client reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    BookmakerKey, Cursor, Details, EventId, FeedState, MarketKey, Outcomes, Region, SportFreshness, SportKey, Timestamp,
};

pub const PROTOCOL_VERSION: u32 = 1;

/// Which regions a client is sent: right after it connects, and whenever that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriptions {
    pub v: u32,
    /// Of the user's account: what is of a lower one is older. Absent: the connection has regions of
    /// its own.
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
    /// Which part of `parts`, from 1. Absent: the whole.
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

/// What changed of one event.
#[derive(Clone, Debug)]
pub enum Change {
    Removed { id: EventId },
    Changed { id: EventId, details: Option<Details>, quotes: Vec<QuoteChange> },
}

/// A quote, replaced whole. Without outcomes: withdrawn.
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
    /// The server's clock.
    pub at: Timestamp,
    pub state: FeedState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub source: String,
    pub sports: BTreeMap<SportKey, SportFreshness>,
    pub bookmakers: BTreeMap<BookmakerKey, Timestamp>,
    /// What upstream calls its bookmakers; the key stands for one that is missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bookmaker_names: BTreeMap<BookmakerKey, String>,
    /// Where the client's board is once it has taken all frames sent before this.
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
