//! How boards and feeds are described in /api/openapi.json. What prints them knows nothing of that; the check of the
//! REST interface compares both.

#![expect(dead_code, reason = "nobody makes these: they are read by the derived code only")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::subscriptions::RegionKey;

/// How fresh a region is.
#[derive(ToSchema)]
pub(super) struct Feed {
    region: RegionKey,
    /// The gateway's clock.
    #[schema(format = DateTime)]
    at: String,
    state: FeedState,
    /// Why it is not live, or what is missing.
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Where the odds come from; `simulator` if they are made up.
    source: String,
    /// By sport, until when its prices are good.
    sports: BTreeMap<String, SportFreshness>,
    /// By bookmaker, when upstream last looked at it.
    bookmakers: BTreeMap<String, String>,
    /// By bookmaker, what it is called.
    #[schema(nullable = false)]
    bookmaker_names: Option<BTreeMap<String, String>>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum FeedState {
    Live,
    Stale,
    Down,
}

#[derive(ToSchema)]
struct SportFreshness {
    #[schema(format = DateTime)]
    polled_at: String,
    #[schema(format = DateTime)]
    stale_after: String,
}

/// A region's board, or what a filter leaves of it.
#[derive(ToSchema)]
pub(super) struct Snapshot {
    region: RegionKey,
    /// Where Socket.IO goes on.
    cursor: String,
    events: Vec<Event>,
}

#[derive(ToSchema)]
struct Event {
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
#[derive(ToSchema)]
struct Quote {
    bookmaker: String,
    market: String,
    /// Since when these prices stand.
    #[schema(format = DateTime)]
    last_update: String,
    outcomes: Vec<Outcome>,
}

#[derive(ToSchema)]
struct Outcome {
    name: String,
    /// Decimal odds.
    price: f64,
    #[schema(nullable = false)]
    point: Option<f64>,
    #[schema(nullable = false)]
    description: Option<String>,
}
