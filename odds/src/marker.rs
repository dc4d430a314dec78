//! The step marker: closes a step in a partition, and says how fresh everything is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BookmakerKey, Digest, SportKey, Timestamp};

/// Whether a region's prices can be taken for today's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    Live,
    Stale,
    Down,
}

impl FeedState {
    pub fn key(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Down => "down",
        }
    }
}

/// When a sport was last polled, and until when that poll counts as fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SportFreshness {
    pub polled_at: Timestamp,
    pub stale_after: Timestamp,
}

/// What is left of and was used of the upstream's credits, as upstream last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Credits {
    pub remaining: Option<f64>,
    pub used: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// Of the board after the step.
    pub digest: Digest,
    pub at: Timestamp,
    /// The next marker comes by then, or the producer is gone.
    pub next_by: Timestamp,
    pub state: FeedState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which odds API, so that nobody takes a simulator's prices for real ones.
    pub source: String,
    #[serde(default)]
    pub credits: Credits,
    #[serde(default)]
    pub sports: BTreeMap<SportKey, SportFreshness>,
    /// The newest `last_update` that upstream gave for each bookmaker.
    #[serde(default)]
    pub bookmakers: BTreeMap<BookmakerKey, Timestamp>,
}
