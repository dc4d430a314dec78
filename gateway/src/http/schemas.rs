//! Schemas of boards and feeds for /api/openapi.json. Their serializers in `odds` don't use these schemas; the check of
//! the REST API compares the two.

#![expect(dead_code, reason = "used by the derived schemas only")]

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::schema::{Object, ObjectBuilder, Type},
};

use super::subscriptions::RegionKey;

/// How fresh a region's prices are.
#[derive(ToSchema)]
pub(super) struct Feed {
    region: RegionKey,
    /// The time by the gateway's clock, or by that of a replay.
    #[schema(format = DateTime)]
    at: String,
    #[schema(schema_with = feed_state)]
    state: String,
    /// Why the region is not live, or what is missing.
    #[schema(nullable = false)]
    reason: Option<String>,
    /// The source of the odds. It begins with `simulator` if they are made up, and with `replay:` if they are of the past.
    source: String,
    /// For each sport, when it was polled and until when its prices are good.
    sports: BTreeMap<String, SportFreshness>,
    /// For each bookmaker, when upstream last checked it.
    bookmakers: BTreeMap<String, String>,
    /// For each bookmaker, its display name.
    #[schema(nullable = false)]
    bookmaker_names: Option<BTreeMap<String, String>>,
    /// On a socket, the client's cursor after all frames sent before this.
    #[schema(nullable = false)]
    cursor: Option<String>,
}

pub(super) fn feed_state() -> Object {
    let states = odds::FeedState::ALL.map(odds::FeedState::key);
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(states)).build()
}

#[derive(ToSchema)]
pub(super) struct SportFreshness {
    #[schema(format = DateTime)]
    polled_at: String,
    #[schema(format = DateTime)]
    stale_after: String,
}

/// A warning or an error that a program has logged.
#[derive(Serialize, ToSchema)]
pub(super) struct LoggedTrouble {
    #[schema(format = DateTime)]
    at: String,
    /// `warning` or `error`.
    level: String,
    text: String,
    /// How often, if more than once.
    #[schema(nullable = false)]
    count: Option<u64>,
}

/// A region's board, or the part that matches a filter.
#[derive(ToSchema)]
pub(super) struct Snapshot {
    region: RegionKey,
    /// The board's state: pass it as `resume` to go on over Socket.IO.
    cursor: String,
    events: Vec<Event>,
}

/// A region's board as it was.
#[derive(ToSchema)]
pub(super) struct RecordedBoard {
    /// The time of the step after which the board was like this.
    #[schema(format = DateTime)]
    at: String,
    /// The time of the next step; null if the next step is not recorded.
    #[schema(required, format = DateTime)]
    until: Option<String>,
    /// The board has the digest that it had then.
    verified: bool,
    region: RegionKey,
    cursor: String,
    events: Vec<Event>,
}

/// A line of what was recorded.
#[derive(ToSchema)]
pub(super) struct RecordedLine {
    /// `snapshot`, `odds`, `feed`, `gap`, `end` or `error`
    event: String,
    /// The time of the step.
    #[schema(format = DateTime)]
    at: String,
    /// `snapshot` and `odds`: as on a socket. `feed`: region, state, source, and the reason if there is one. `gap`: the
    /// region, and of which time nothing is recorded, `from` and `until`. `end`: the last cursor. `error`: code and
    /// message.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Event {
    id: String,
    sport_key: String,
    sport_title: String,
    #[schema(format = DateTime)]
    commence_time: String,
    #[schema(required)]
    home_team: Option<String>,
    #[schema(required)]
    away_team: Option<String>,
    quotes: Vec<Quote>,
}

/// A bookmaker's prices for one market.
#[derive(Serialize, ToSchema)]
pub(super) struct Quote {
    bookmaker: String,
    market: String,
    /// The time since which these prices have been valid.
    #[schema(format = DateTime)]
    last_update: String,
    outcomes: Vec<Outcome>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Outcome {
    name: String,
    /// Decimal odds.
    price: f64,
    #[schema(nullable = false)]
    point: Option<f64>,
    #[schema(nullable = false)]
    description: Option<String>,
}
