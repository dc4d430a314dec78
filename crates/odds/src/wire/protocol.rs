//! The protocol's payloads as types. The board writes snapshots and odds itself; their types here are for clients,
//! which read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BookmakerKey, Change, Cursor, FeedState, Region, SportFreshness, SportKey, Timestamp};

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
