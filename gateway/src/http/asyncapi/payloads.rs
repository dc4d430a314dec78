//! Schemas of what is sent over Socket.IO. Most of it is written by serializers in `odds` and `accounts`, which don't use
//! these types; tests compare the two.

#![expect(dead_code, reason = "used by the derived schemas only")]

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{schemas::Quote, subscriptions::RegionKey};

/// What a client sends when it connects. Every field may be JSON text.
#[derive(ToSchema)]
pub(super) struct Auth {
    /// The protocol's version.
    #[schema(nullable = false, minimum = 1, maximum = 1)]
    v: Option<u32>,
    /// Without one, the session cookie counts.
    #[schema(nullable = false, pattern = "^tb_")]
    token: Option<String>,
    /// The regions of this connection. Without them, those of the account.
    #[schema(nullable = false)]
    regions: Option<Vec<RegionKey>>,
    /// By region, the cursor to continue from.
    #[schema(nullable = false)]
    resume: Option<BTreeMap<String, String>>,
    #[schema(nullable = false)]
    filter: Option<Filter>,
    /// The most frames a second in each region.
    #[schema(nullable = false, minimum = 0.01, maximum = 1000)]
    max_rate: Option<f64>,
    #[schema(nullable = false)]
    replay: Option<Replay>,
    /// The id of the last alert that the client has.
    #[schema(nullable = false)]
    alerts: Option<String>,
    /// Whether every complete frame must have the digest of the client's board.
    #[schema(nullable = false)]
    digest: Option<bool>,
}

/// The past instead of the present.
#[derive(ToSchema)]
struct Replay {
    #[schema(format = DateTime)]
    at: String,
    /// How many seconds pass in one; with 0, as fast as the client takes it.
    #[schema(nullable = false, minimum = 0, maximum = 10000)]
    speed: Option<f64>,
    #[schema(nullable = false, format = DateTime)]
    until: Option<String>,
}

/// What a client wants to get. An absent list lets everything through, an empty one nothing.
#[derive(ToSchema)]
pub(super) struct Filter {
    #[schema(nullable = false)]
    sports: Option<Vec<String>>,
    /// Ids of events.
    #[schema(nullable = false)]
    events: Option<Vec<String>>,
    #[schema(nullable = false)]
    bookmakers: Option<Vec<String>>,
    #[schema(nullable = false)]
    markets: Option<Vec<String>>,
}

#[derive(ToSchema)]
pub(super) struct SubscribeRequest {
    regions: Vec<RegionKey>,
}

#[derive(ToSchema)]
pub(super) struct ResyncRequest {
    region: RegionKey,
    /// The client's cursor. Without it, the answer is a snapshot.
    #[schema(nullable = false)]
    cursor: Option<String>,
}

/// The acknowledgement of a request.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Acknowledgement {
    Done(Done),
    Failed(Failed),
}

#[derive(Serialize, ToSchema)]
pub(super) struct Done {
    ok: bool,
    /// The answer to `subscribe`: the regions from now on.
    #[schema(nullable = false, value_type = Option<Vec<RegionKey>>)]
    regions: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Failed {
    error: Failure,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Failure {
    code: String,
    message: String,
}

/// The regions that the client gets.
#[derive(ToSchema)]
pub(super) struct SubscriptionsPayload {
    v: u32,
    /// The revision of the account. Absent if the connection has its own regions.
    #[schema(nullable = false)]
    revision: Option<u64>,
    regions: Vec<RegionKey>,
}

/// A board, or a part of one.
#[derive(ToSchema)]
pub(super) struct SnapshotPayload {
    region: RegionKey,
    cursor: String,
    events: Vec<Change>,
    /// The number of this part, from 1. Absent if there is only one.
    #[schema(nullable = false, minimum = 1)]
    part: Option<u32>,
    #[schema(nullable = false, minimum = 2)]
    parts: Option<u32>,
    /// Of the board that has taken all parts.
    #[schema(nullable = false, value_type = Option<u64>, maximum = 4294967295u64)]
    digest: Option<u32>,
}

/// What changed from `prev` to `cursor`.
#[derive(ToSchema)]
pub(super) struct OddsPayload {
    region: RegionKey,
    prev: String,
    cursor: String,
    events: Vec<Change>,
    /// Of the board that has taken this.
    #[schema(nullable = false, value_type = Option<u64>, maximum = 4294967295u64)]
    digest: Option<u32>,
}

/// A change of one event: all of an event that is new or whose details changed, or an `id` with the `quotes` that
/// changed, or an `id` that was `removed`.
#[derive(ToSchema)]
struct Change {
    id: String,
    #[schema(nullable = false)]
    removed: Option<bool>,
    #[schema(nullable = false)]
    sport_key: Option<String>,
    #[schema(nullable = false)]
    sport_title: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    commence_time: Option<String>,
    home_team: Option<String>,
    away_team: Option<String>,
    /// Each replaces the quote that was there before. Without outcomes, it is withdrawn.
    #[schema(nullable = false)]
    quotes: Option<Vec<Quote>>,
}

/// The last event of a connection.
#[derive(ToSchema)]
pub(super) struct ByePayload {
    code: String,
    message: String,
    /// How long to wait before connecting again. Absent: don't.
    #[schema(nullable = false)]
    retry_after_ms: Option<u64>,
}
