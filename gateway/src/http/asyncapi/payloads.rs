//! Schemas of what is sent over Socket.IO. Most of it is written by serializers in `odds` and `accounts`, which don't use
//! these types; tests compare the two.

#![expect(dead_code, reason = "used by the derived schemas only")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::schema::{Object, ObjectBuilder, Type},
};

use crate::http::{
    schemas::{Event, Quote},
    subscriptions::RegionKey,
};

/// What a client sends when it connects. Each field but the token may also be its JSON as text, for libraries that send
/// only strings.
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
    /// How many seconds pass in one, at least 0.01; with 0, as fast as the client takes it.
    #[schema(nullable = false, minimum = 0, maximum = 10000)]
    speed: Option<f64>,
    #[schema(nullable = false, format = DateTime)]
    until: Option<String>,
}

/// What a client wants to get. An absent list lets everything through, an empty one nothing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[schema(nullable = false, max_items = 100)]
    sports: Option<Vec<String>>,
    /// Ids of events.
    #[schema(nullable = false, max_items = 100)]
    events: Option<Vec<String>>,
    #[schema(nullable = false, max_items = 100)]
    bookmakers: Option<Vec<String>>,
    #[schema(nullable = false, max_items = 100)]
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
    events: Vec<Event>,
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

/// A change of one event.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Change {
    /// All of an event that is new or whose details changed.
    Event(Event),
    Quotes(ChangedQuotes),
    Removed(RemovedEvent),
}

/// What changed of an event's quotes.
#[derive(Serialize, ToSchema)]
struct ChangedQuotes {
    id: String,
    /// Each replaces the quote that was there before. Without outcomes, it is withdrawn.
    quotes: Vec<Quote>,
}

#[derive(Serialize, ToSchema)]
struct RemovedEvent {
    id: String,
    #[schema(schema_with = only_true)]
    removed: bool,
}

fn only_true() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build()
}

/// A refusal to connect.
#[derive(ToSchema)]
pub(super) struct ConnectError {
    /// The code, a colon, and what is wrong.
    #[schema(pattern = "^[a-z_]+: ")]
    message: String,
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
