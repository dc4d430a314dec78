//! A fake odds API with known prices, which misbehaves in one way at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{Response, StatusCode},
    routing::get,
};
use clap::ValueEnum;
use odds::{Decimal, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Credits for a request for odds: one region, two markets.
pub const COST: f64 = 2.0;
const CREDITS: f64 = 1e8;

/// The sport whose games are in play. Most faults affect only the responses for this sport.
pub const IN_PLAY: &str = "soccer_epl";
const SOON: &str = "basketball_nba";
/// The sport of each event.
const EVENTS: [&str; 5] = [IN_PLAY, IN_PLAY, IN_PLAY, SOON, SOON];
/// Keys and names. Names are not unique, and can't be derived from keys.
pub const BOOKMAKERS: [(&str, &str); 5] = [
    ("betmgm", "BetMGM"),
    ("williamhill_us", "Caesars"),
    ("betfair_ex_uk", "Betfair"),
    ("betfair_ex_eu", "Betfair"),
    ("sport888", "888sport"),
];
const MARKETS: [&str; 2] = ["h2h", "totals"];
const SIDES: [[&str; 2]; 2] = [["Leeds", "Arsenal"], ["Over", "Under"]];
/// The index of the bookmaker whose items are faulty.
const ODD: usize = 1;

/// One outcome at one bookmaker, whose true price is known at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    event: usize,
    bookmaker: usize,
    market: usize,
    side: usize,
}

impl Item {
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |event| {
            (0..BOOKMAKERS.len()).flat_map(move |bookmaker| {
                [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(market, side)| Self { event, bookmaker, market, side })
            })
        };
        (0..EVENTS.len()).flat_map(of)
    }

    pub fn named(event: &str, bookmaker: &str, market: &str, side: &str) -> Option<Self> {
        let event = event.strip_prefix("event-")?.parse().ok().filter(|event| *event < EVENTS.len())?;
        let bookmaker = BOOKMAKERS.iter().position(|(key, _)| *key == bookmaker)?;
        let market = MARKETS.iter().position(|key| *key == market)?;
        let side = SIDES[market].iter().position(|name| *name == side)?;
        Some(Self { event, bookmaker, market, side })
    }

    pub fn sport(self) -> &'static str {
        EVENTS[self.event]
    }

    pub fn bookmaker(self) -> &'static str {
        BOOKMAKERS[self.bookmaker].0
    }

    /// Returns the milliseconds between changes of its price.
    fn period(self) -> i64 {
        1_500 + 400 * ((self.event + 2 * self.bookmaker + 3 * self.market + self.side) % 6) as i64
    }

    fn price_in(self, slot: i64) -> Decimal {
        let place = ((self.event * 8 + self.bookmaker) * 2 + self.market) * 2 + self.side;
        let mut hash =
            (slot as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (place as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Decimal::new(102 + ((hash >> 33) % 3_800) as i64, 2)
    }

    pub fn price(self, at: Timestamp) -> Decimal {
        self.price_in(at.as_millis() / self.period())
    }

    /// Returns whether this was its price at any time between two moments.
    pub fn was(self, price: Decimal, from: Timestamp, to: Timestamp) -> bool {
        let slots = from.as_millis() / self.period()..=to.as_millis() / self.period();
        slots.rev().any(|slot| self.price_in(slot) == price)
    }
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { event, market, side, .. } = *self;
        write!(f, "event-{event} {} {} {}", self.bookmaker(), MARKETS[market], SIDES[market][side])
    }
}

/// How the upstream misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Way {
    EmptyNowAndThen,
    NullPrice,
    NoPrice,
    TextPrice,
    ImpossiblePrices,
    AmericanBookmaker,
    UnreadableMarket,
    UnreadableBookmaker,
    EventWithoutId,
    UnreadableStart,
    UnreadableNames,
    AllAmerican,
    AllZero,
    UnknownSport,
    InvalidMarket,
    Html,
    HtmlError,
    CutOff,
    SlowAnswers,
    NegativeCredits,
    OddCredits,
    RetryAfterADate,
    RetryAfterAges,
    UnavailableForAges,
    EventTooLarge,
    UnreadableLists,
    SportMissingFromList,
}

impl Way {
    /// Returns whether this item can't be published: it is unreadable, or its event is too large.
    pub fn loses(self, item: Item) -> bool {
        let Item { event, bookmaker, market, side } = item;
        let odd = event == 0 && bookmaker == ODD;
        match self {
            Self::NullPrice | Self::NoPrice | Self::TextPrice => odd && market == 0 && side == 0,
            Self::ImpossiblePrices => event == 0 && bookmaker < 4 && market == 0 && side == 1,
            Self::AmericanBookmaker | Self::UnreadableBookmaker => odd,
            Self::UnreadableMarket => odd && market == 1,
            Self::EventWithoutId => event == 1,
            Self::EventTooLarge => event == 0,
            _ => false,
        }
    }

    /// Returns whether this sport's odds can be read, and soon enough to be live.
    pub fn answers(self, sport: &str) -> bool {
        match self {
            Self::AllAmerican | Self::AllZero | Self::UnknownSport | Self::InvalidMarket => sport != IN_PLAY,
            Self::Html
            | Self::HtmlError
            | Self::CutOff
            | Self::RetryAfterADate
            | Self::RetryAfterAges
            | Self::UnavailableForAges => false,
            // The responses come too late to be live for long.
            Self::SlowAnswers => false,
            _ => true,
        }
    }

    /// Returns whether the feed must give a reason.
    pub fn is_reported(self) -> bool {
        !matches!(self, Self::SlowAnswers | Self::CutOff) && !self.answers(IN_PLAY)
    }

    /// Returns the `level` label under which the producer must count unreadable items.
    pub fn level(self) -> Option<&'static str> {
        match self {
            Self::NullPrice | Self::NoPrice | Self::TextPrice | Self::ImpossiblePrices => Some("outcome"),
            Self::AmericanBookmaker | Self::UnreadableMarket => Some("market"),
            Self::UnreadableBookmaker => Some("bookmaker"),
            Self::EventWithoutId => Some("event"),
            Self::UnreadableStart => Some("details"),
            Self::UnreadableLists => Some("sport"),
            _ => None,
        }
    }

    /// Returns whether the fault affects only requests for lists, which a new leader sends immediately.
    pub fn is_of_lists(self) -> bool {
        matches!(self, Self::UnreadableLists | Self::SportMissingFromList)
    }
}

/// The fake odds API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstream(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: fn() -> Timestamp,
    began: Timestamp,
    state: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    way: Option<Way>,
    /// Every request fails, and so nothing is charged.
    is_quiet: bool,
    /// Requests for odds since `way` was set, by sport.
    asked: BTreeMap<String, u64>,
    lists: u64,
    /// Credits by day, in days since 1970.
    charged: BTreeMap<i64, f64>,
}

impl Upstream {
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self(Arc::new(Inner { clock, began: clock(), state: Mutex::default() }))
    }

    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let router = Router::new()
            .route("/v4/sports", get(sports))
            .route("/v4/sports/{sport}/events", get(events))
            .route("/v4/sports/{sport}/odds", get(odds));
        Ok(axum::serve(listener, router.with_state(self)).with_graceful_shutdown(stop).await?)
    }

    fn state(&self) -> MutexGuard<'_, Now> {
        self.0.state.lock().expect("no panic while the lock is held")
    }

    pub fn misbehave(&self, way: Option<Way>) {
        let mut state = self.state();
        state.way = way;
        state.asked.clear();
        state.lists = 0;
    }

    pub fn set_quiet(&self, is_quiet: bool) {
        self.state().is_quiet = is_quiet;
    }

    /// Returns the number of requests for a sport's odds since the fault was set.
    pub fn asked(&self, sport: &str) -> u64 {
        self.state().asked.get(sport).copied().unwrap_or_default()
    }

    pub fn lists(&self) -> u64 {
        self.state().lists
    }

    /// Returns the credits charged on the day that ends at this time.
    pub fn charged(&self, day_ends: Timestamp) -> f64 {
        self.state().charged.get(&(day_ends.as_millis() / DAY - 1)).copied().unwrap_or_default()
    }

    pub fn charged_in_all(&self) -> f64 {
        self.state().charged.values().sum()
    }

    fn start(&self, event: usize) -> Timestamp {
        self.0.began.plus_millis(if EVENTS[event] == IN_PLAY { -10 * MINUTE } else { 45 * MINUTE })
    }

    /// Returns a complete and correct response as of now.
    fn truth(&self, sport: &str) -> Vec<Value> {
        let now = (self.0.clock)();
        let outcome = |event, bookmaker, market, side| {
            let price = Item { event, bookmaker, market, side }.price(now);
            let name = SIDES[market][side];
            if market == 1 {
                json!({ "name": name, "price": price, "point": 2.5 })
            } else {
                json!({ "name": name, "price": price })
            }
        };
        let market = |event, bookmaker, market: usize| {
            let outcomes = [0, 1].map(|side| outcome(event, bookmaker, market, side));
            json!({ "key": MARKETS[market], "last_update": now, "outcomes": outcomes })
        };
        let bookmaker = |event, at: usize| {
            let (key, title) = BOOKMAKERS[at];
            let markets = [0, 1].map(|it| market(event, at, it));
            json!({ "key": key, "title": title, "last_update": now, "markets": markets })
        };
        let event = |event: usize| {
            json!({
                "id": format!("event-{event}"),
                "sport_key": sport,
                "sport_title": "Sport",
                "commence_time": self.start(event),
                "home_team": "Leeds",
                "away_team": "Arsenal",
                "bookmakers": (0..BOOKMAKERS.len()).map(|at| bookmaker(event, at)).collect::<Vec<_>>(),
            })
        };
        (0..EVENTS.len()).filter(|at| EVENTS[*at] == sport).map(event).collect()
    }

    fn charge(&self, cost: f64) -> f64 {
        let day = (self.0.clock)().as_millis() / DAY;
        let mut state = self.state();
        *state.charged.entry(day).or_default() += cost;
        CREDITS - state.charged.values().sum::<f64>()
    }
}

/// Makes items of a response unreadable, in this way.
fn spoil(way: Way, events: &mut [Value]) {
    fn outcomes(event: &mut Value, bookmaker: usize, market: usize) -> &mut Value {
        &mut event["bookmakers"][bookmaker]["markets"][market]["outcomes"]
    }
    match way {
        Way::NullPrice => outcomes(&mut events[0], ODD, 0)[0]["price"] = Value::Null,
        Way::NoPrice => drop(outcomes(&mut events[0], ODD, 0)[0].as_object_mut().expect("an outcome").remove("price")),
        Way::TextPrice => outcomes(&mut events[0], ODD, 0)[0]["price"] = json!("evens"),
        Way::ImpossiblePrices => {
            for (bookmaker, price) in [json!(0), json!(1), json!(-3.5), json!(1e15)].into_iter().enumerate() {
                outcomes(&mut events[0], bookmaker, 0)[1]["price"] = price;
            }
        }
        Way::AmericanBookmaker => american(&mut events[0]["bookmakers"][ODD]),
        Way::UnreadableMarket => *outcomes(&mut events[0], ODD, 1) = json!(7),
        Way::UnreadableBookmaker => events[0]["bookmakers"][ODD]["key"] = json!([]),
        Way::EventWithoutId => events[1]["id"] = Value::Null,
        Way::UnreadableStart => events[2]["commence_time"] = json!("soon"),
        Way::UnreadableNames => {
            for (bookmaker, title) in
                [json!(null), json!(7), json!(""), json!("x".repeat(5_000)), json!("a\u{0}b")].into_iter().enumerate()
            {
                events[0]["bookmakers"][bookmaker]["title"] = title;
            }
        }
        Way::AllAmerican => {
            for bookmaker in events.iter_mut().flat_map(|event| event["bookmakers"].as_array_mut().expect("a list")) {
                american(bookmaker);
            }
        }
        Way::AllZero => {
            for event in events {
                for (bookmaker, market, side) in
                    (0..BOOKMAKERS.len()).flat_map(|it| [(it, 0, 0), (it, 0, 1), (it, 1, 0), (it, 1, 1)])
                {
                    outcomes(event, bookmaker, market)[side]["price"] = json!(0);
                }
            }
        }
        Way::EventTooLarge => {
            let many = |n| json!({ "name": format!("{n:0>280}"), "price": 2.5 });
            *outcomes(&mut events[0], 0, 1) = (0..4_000).map(many).collect();
        }
        _ => {}
    }
}

fn american(bookmaker: &mut Value) {
    for market in 0..MARKETS.len() {
        for (side, price) in [-150, 130].into_iter().enumerate() {
            bookmaker["markets"][market]["outcomes"][side]["price"] = json!(price);
        }
    }
}

fn answer(status: u16, headers: &[(&str, String)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body.into()).expect("plain headers")
}

fn quiet() -> Response<Body> {
    answer(503, &[], "")
}

async fn sports(State(upstream): State<Upstream>) -> Response<Body> {
    let left = upstream.charge(0.0);
    let mut state = upstream.state();
    if state.is_quiet {
        return quiet();
    }
    state.lists += 1;
    let sport = |key: &str| json!({ "key": key, "active": true, "title": "Sport", "has_outrights": false });
    let list = match state.way {
        Some(Way::SportMissingFromList) if state.lists % 2 == 1 => json!([sport(SOON)]),
        Some(Way::UnreadableLists) => json!([7, { "key": 7 }, sport(IN_PLAY), {}, sport(SOON)]),
        _ => json!([sport(IN_PLAY), sport(SOON)]),
    };
    answer(200, &[("x-requests-remaining", left.to_string())], list.to_string())
}

async fn events(State(upstream): State<Upstream>, Path(sport): Path<String>) -> Response<Body> {
    let state = upstream.state();
    if state.is_quiet {
        return quiet();
    }
    let start = |at: usize| json!({ "id": format!("event-{at}"), "commence_time": upstream.start(at) });
    let mut list: Vec<Value> = (0..EVENTS.len()).filter(|at| EVENTS[*at] == sport).map(start).collect();
    if state.way == Some(Way::UnreadableLists) {
        list.extend([json!({ "id": "x", "commence_time": "soon" }), json!(7)]);
    }
    answer(200, &[], Value::Array(list).to_string())
}

async fn odds(State(upstream): State<Upstream>, Path(sport): Path<String>) -> Response<Body> {
    let (way, asked) = {
        let mut state = upstream.state();
        if state.is_quiet {
            return quiet();
        }
        let asked = state.asked.entry(sport.clone()).or_default();
        *asked += 1;
        let asked = *asked;
        (state.way, asked)
    };
    let is_odd = sport == IN_PLAY;
    let mut list = upstream.truth(&sport);
    let error = |status, code: &str| {
        let body = json!({ "message": "<b>no</b> <script>alert(1)</script>", "error_code": code });
        answer(status, &[], body.to_string())
    };
    let ages = || "99999999999999999999".to_owned();
    match way {
        Some(Way::UnknownSport) if is_odd => return error(404, "UNKNOWN_SPORT"),
        Some(Way::InvalidMarket) if is_odd => return error(422, "INVALID_MARKET"),
        Some(Way::RetryAfterADate) => {
            return answer(429, &[("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT".to_owned())], "");
        }
        Some(Way::RetryAfterAges) => return answer(429, &[("retry-after", ages())], ""),
        Some(Way::UnavailableForAges) => return answer(503, &[("retry-after", ages())], ""),
        Some(Way::HtmlError) => {
            let html = [("content-type", "text/html; charset=utf-8".to_owned())];
            return answer(502, &html, "<html><script>alert(1)</script>bad gateway</html>");
        }
        Some(Way::EmptyNowAndThen) if is_odd && asked % 2 == 1 => list.clear(),
        Some(way) if is_odd => spoil(way, &mut list),
        _ => {}
    }
    let cost = if list.is_empty() { 0.0 } else { COST };
    let left = upstream.charge(cost);
    let credits = match way {
        Some(Way::NegativeCredits) if is_odd && asked % 3 == 0 => ["-3".to_owned(), cost.to_string()],
        Some(Way::OddCredits) => ["NaN".to_owned(), "1e300".to_owned()],
        // The cost of an empty response is known only from this header.
        _ => [left.to_string(), format!("{cost:.1}")],
    };
    let headers: Vec<(&str, String)> = ["x-requests-remaining", "x-requests-last"].into_iter().zip(credits).collect();
    let text = Value::Array(list).to_string();
    match way {
        Some(Way::Html) => answer(200, &headers, "<html>We'll be right back</html>"),
        Some(Way::CutOff) => {
            let half = Bytes::copy_from_slice(&text.as_bytes()[..text.len() / 2]);
            let broken = std::io::Error::other("cut off");
            answer(200, &headers, Body::from_stream(futures::stream::iter([Ok(half), Err(broken)])))
        }
        Some(Way::SlowAnswers) => {
            tokio::time::sleep(Duration::from_secs(3)).await;
            answer(200, &headers, text)
        }
        _ => answer(200, &headers, text),
    }
}
