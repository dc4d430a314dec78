//! Schemas of the records on Kafka. Their serializers in `odds`, `accounts`, `messages` and `kafka` don't use these types;
//! tests compare the two.

#![expect(dead_code, reason = "used by the derived schemas only")]

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{
    alerts::ListedAlert,
    schemas::{LoggedTrouble, Outcome, SportFreshness, feed_state},
    subscriptions::RegionKey,
};

/// The headers of a record of a region's topic, as text.
#[derive(ToSchema)]
pub(super) struct RegionHeaders {
    /// The version of the format. Skip records of later versions.
    v: String,
    /// The term of the leader that wrote it: two numbers, of which the first counts more.
    #[schema(pattern = "^[0-9]+\\.[0-9]+$")]
    term: String,
    /// The number of the step in its term. Step 0 is the term's fence.
    #[schema(pattern = "^[0-9]+$")]
    step: String,
}

/// All of an event, as a poll returned it.
#[derive(ToSchema)]
pub(super) struct EventRecord {
    #[schema(format = DateTime)]
    polled_at: String,
    event: PolledEvent,
}

#[derive(ToSchema)]
struct PolledEvent {
    id: String,
    sport_key: String,
    sport_title: String,
    #[schema(format = DateTime)]
    commence_time: String,
    #[schema(required)]
    home_team: Option<String>,
    #[schema(required)]
    away_team: Option<String>,
    bookmakers: Vec<PolledBookmaker>,
}

#[derive(ToSchema)]
struct PolledBookmaker {
    key: String,
    markets: Vec<PolledMarket>,
}

#[derive(ToSchema)]
struct PolledMarket {
    key: String,
    /// The time since which these prices have been valid.
    #[schema(format = DateTime)]
    last_update: String,
    outcomes: Vec<Outcome>,
}

/// Ends a step in its partition.
#[derive(ToSchema)]
pub(super) struct Marker {
    /// Of the board after the step.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    digest: String,
    /// The time of the step.
    #[schema(format = DateTime)]
    at: String,
    /// The name of the log that the step belongs to. Absent in markers of early versions.
    #[schema(nullable = false)]
    log: Option<String>,
    /// The number of the step in its log.
    #[schema(nullable = false)]
    seq: Option<u64>,
    /// If no other marker comes by then, the producer is gone.
    #[schema(format = DateTime)]
    next_by: String,
    #[schema(schema_with = feed_state)]
    state: String,
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Where the odds come from.
    source: String,
    credits: Credits,
    /// By sport, when it was polled and until when its prices are live.
    sports: BTreeMap<String, SportFreshness>,
    /// By bookmaker, when upstream last checked it.
    bookmakers: BTreeMap<String, String>,
    /// By bookmaker, what upstream calls it. Absent in markers of early versions.
    #[schema(nullable = false)]
    bookmaker_names: Option<BTreeMap<String, String>>,
    #[schema(nullable = false)]
    spent_today: Option<DaySpending>,
}

/// What the odds API's last answer said about its budget.
#[derive(ToSchema)]
struct Credits {
    #[schema(required)]
    remaining: Option<f64>,
    #[schema(required)]
    used: Option<f64>,
}

/// The credits that the region's producers spent on a day.
#[derive(ToSchema)]
struct DaySpending {
    #[schema(format = DateTime)]
    day_ends: String,
    /// By source.
    credits: BTreeMap<String, f64>,
}

/// Begins a term in its partition.
#[derive(ToSchema)]
pub(super) struct Fence {
    fence: bool,
    #[schema(format = DateTime)]
    at: String,
}

/// An alert of a user.
#[derive(ToSchema)]
pub(super) struct AlertRecord {
    /// The user's id.
    user: String,
    alert: ListedAlert,
}

/// A transaction of another system, about which people are notified.
#[derive(ToSchema)]
pub(super) struct TransactionRecord {
    transaction_id: String,
    message_body: String,
    #[schema(nullable = false)]
    email: Option<String>,
    #[schema(nullable = false)]
    phone: Option<String>,
    #[schema(nullable = false)]
    customer_id: Option<String>,
}

/// The headers of a transaction that was produced over HTTP.
#[derive(ToSchema)]
pub(super) struct TransactionHeaders {
    /// The message's id: records with the same id are one message.
    #[schema(nullable = false)]
    message_id: Option<String>,
    /// The id of the user whose message it is.
    #[schema(nullable = false)]
    user: Option<String>,
}

/// The headers of a record that could not be handled, beside those that it had.
#[derive(ToSchema)]
pub(super) struct DeadLetterHeaders {
    dead_reason: String,
    /// Where it was: topic, partition and offset, with slashes between them.
    #[schema(pattern = "^.+/[0-9]+/[0-9]+$")]
    dead_origin: String,
    dead_at: String,
}

/// A message among Toteboard's programs. Skip kinds that you don't know.
#[derive(Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum ControlMessage {
    /// A reader's board of this region doesn't match its digest.
    Anew {
        #[schema(value_type = RegionKey)]
        region: String,
    },
    /// A user's account changed.
    User { user: String, revision: u64 },
    /// A user's rules changed.
    Rules { user: String },
    /// The client with this socket is to be disconnected.
    Disconnect { socket: String },
}

/// What a program says of itself.
#[derive(Serialize, ToSchema)]
pub(super) struct Report {
    /// The version of this form.
    v: u32,
    /// The program's name.
    role: String,
    instance: String,
    /// Absent if it was reported not long before.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// When it started.
    #[schema(format = DateTime)]
    since: String,
    #[schema(format = DateTime)]
    at: String,
    /// Its most important metrics.
    values: BTreeMap<String, ReportedValue>,
    /// The sports that it polls, by region: how often, and how long ago the last time was, in seconds. Absent if they
    /// were reported not long before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[expect(clippy::type_complexity, reason = "its schema is inlined")]
    sports: Option<BTreeMap<String, BTreeMap<String, Vec<Option<f64>>>>>,
    /// Its clients, if it is a gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<Clients>,
    /// How much memory it uses, in bytes. Absent if it was reported not long before.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    /// What it has logged as a warning or an error in the last ten minutes, the oldest first. Absent if it was reported
    /// not long before.
    #[serde(skip_serializing_if = "Option::is_none")]
    troubles: Option<Vec<LoggedTrouble>>,
    /// It was asked to end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    ends: bool,
    /// It ends because something went wrong.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    failed: bool,
}

/// A metric: its value, or its values by region, channel or outcome.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum ReportedValue {
    One(f64),
    Of(BTreeMap<String, f64>),
}

/// The clients of a gateway.
#[derive(Serialize, ToSchema)]
struct Clients {
    /// How many users are connected.
    users: u64,
    /// How many connections some users have, by their ids: those with the most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    most: BTreeMap<String, u64>,
    /// Those that have not taken what they were sent for the longest time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    slow: Vec<SlowClient>,
}

#[derive(Serialize, ToSchema)]
struct SlowClient {
    /// Its socket.
    id: String,
    /// Its user's id.
    user: String,
    #[schema(format = DateTime)]
    since: String,
}
