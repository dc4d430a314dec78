//! The protocol's payloads as types. The board writes snapshots and odds itself; their types here are for clients,
//! which read them.

use serde::{Deserialize, Serialize};

use crate::{Change, Cursor, Region};

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
    /// Of the board that has taken all parts.
    #[serde(default)]
    pub digest: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct OddsPayload {
    pub region: Region,
    pub prev: Cursor,
    pub cursor: Cursor,
    pub events: Vec<Change>,
    /// Of the board that has taken this.
    #[serde(default)]
    pub digest: Option<u32>,
}
