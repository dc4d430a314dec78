//! The boards of the chosen regions, and which of their prices are live: tracks the requests to the gateway, its
//! answers, and the freshness of each board.

use std::collections::{BTreeMap, BTreeSet};

use client::{BoardMirrors, ChangedEvents, MirrorUpdate};
use odds::{
    BookmakerKey, Cursor, Decimal, Details, Event, EventId, Feed, FeedState, Market, MarketKey, Outcomes, Region,
    Timestamp,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::view::{EventView, Freshness, Key, gathered, merge};

/// The state of all boards on the page.
pub(crate) struct Boards {
    mirrors: BoardMirrors,
    /// The filter for what the page shows.
    filter: Box<RawValue>,
    /// The filter last requested from the gateway, unless it was refused.
    asked: Option<Box<RawValue>>,
    /// Number of requests that the gateway has not answered yet.
    unanswered: u32,
    /// Regions whose boards are in sync with the gateway, with the current filter. Other boards are shown as they were,
    /// and a live feed doesn't make them live.
    in_step: BTreeSet<Region>,
    /// The feeds that apply to the boards as shown.
    feeds: BTreeMap<Region, Feed>,
    freshness: Freshness,
    /// By how many milliseconds the server's clock is ahead of this machine's.
    ahead: i64,
}

/// What a protocol event changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BoardsUpdate {
    Nothing,
    /// A board has changed. With `in_step_again` it is also back in sync, so that its prices may be live again.
    Board {
        in_step_again: bool,
    },
    Regions,
    Feed(Region),
    /// A resync of this region is needed, from the cursor if there is one.
    Resync(Region, Option<Cursor>),
}

/// The `auth` data of a connection, besides the session.
#[derive(Serialize)]
pub(crate) struct Hello<'a> {
    v: u8,
    resume: BTreeMap<Region, Cursor>,
    filter: &'a RawValue,
    /// The id of the last alert that has arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    alerts: Option<Key>,
}

/// The payload of a snapshot.
#[derive(Serialize)]
struct SnapshotOut<'a> {
    region: Region,
    cursor: Cursor,
    events: Vec<EventOut<'a>>,
}

#[derive(Serialize)]
struct EventOut<'a> {
    id: &'a EventId,
    #[serde(flatten)]
    details: &'a Details,
    quotes: Vec<QuoteOut<'a>>,
}

#[derive(Serialize)]
struct QuoteOut<'a> {
    bookmaker: &'a BookmakerKey,
    market: &'a MarketKey,
    last_update: Timestamp,
    outcomes: &'a Outcomes,
}

impl Boards {
    pub(crate) fn new(filter: Box<RawValue>) -> Self {
        Self {
            mirrors: BoardMirrors::default(),
            filter,
            asked: None,
            unanswered: 0,
            in_step: BTreeSet::new(),
            feeds: BTreeMap::new(),
            freshness: Freshness::default(),
            ahead: 0,
        }
    }

    /// Returns the data to connect with. It includes the current filter, which then counts as requested, and the id of
    /// the last alert if there was one.
    pub(crate) fn hello(&mut self, alerts: Option<Key>) -> Hello<'_> {
        self.asked = Some(self.filter.clone());
        Hello { v: 1, resume: self.mirrors.cursors(), filter: &self.filter, alerts }
    }

    /// Takes a board that was loaded by HTTP. The stream continues from its cursor.
    pub(crate) fn preload(&mut self, snapshot: &str) {
        self.mirrors.take("snapshot", snapshot);
    }

    /// Takes a board and its feed as they were kept. None of its prices are live.
    pub(crate) fn recall(&mut self, snapshot: &str, feed: Feed) {
        self.preload(snapshot);
        self.feeds.insert(feed.region, Feed { state: FeedState::Down, ..feed });
    }

    /// Returns a region's feed and its board, as the payload of a snapshot, if both have arrived.
    pub(crate) fn to_keep(&self, region: Region) -> Option<(Feed, String)> {
        let (feed, board) = (self.feeds.get(&region)?, self.mirrors.boards.get(&region)?);
        let events = board.events().iter().map(|(id, Event { details, quotes })| {
            let quotes = quotes.iter().map(|((bookmaker, market), quote)| {
                let Market { last_update, outcomes } = quote;
                QuoteOut { bookmaker, market, last_update: *last_update, outcomes }
            });
            EventOut { id, details, quotes: quotes.collect() }
        });
        let snapshot = SnapshotOut { region, cursor: board.cursor()?, events: events.collect() };
        Some((feed.clone(), serde_json::to_string(&snapshot).ok()?))
    }

    /// Takes an event that arrived at `clock`, by this machine's clock.
    pub(crate) fn take(&mut self, name: &str, payload: &str, clock: Timestamp) -> BoardsUpdate {
        match self.mirrors.take(name, payload) {
            MirrorUpdate::Nothing => BoardsUpdate::Nothing,
            MirrorUpdate::Board(region) => BoardsUpdate::Board { in_step_again: self.board_came(region) },
            MirrorUpdate::Regions => {
                let regions = &self.mirrors.regions;
                self.in_step.retain(|region| regions.contains(region));
                BoardsUpdate::Regions
            }
            MirrorUpdate::Feed(region) => {
                let feed = &self.mirrors.feeds[&region];
                self.ahead = feed.at.millis_since(clock);
                if feed.state != FeedState::Live || self.in_step.contains(&region) {
                    self.feeds.insert(region, feed.clone());
                }
                BoardsUpdate::Feed(region)
            }
            MirrorUpdate::Resync(region, cursor) => {
                self.in_step.remove(&region);
                BoardsUpdate::Resync(region, cursor)
            }
        }
    }

    /// Notes a new board of a region, which is in sync unless a request is unanswered. Returns whether the region has
    /// just come back in sync.
    fn board_came(&mut self, region: Region) -> bool {
        let in_step_again = self.unanswered == 0 && self.in_step.insert(region);
        if in_step_again && let Some(feed) = self.mirrors.feeds.get(&region) {
            self.feeds.insert(region, feed.clone());
        }
        in_step_again
    }

    /// Notes that a request was sent. Boards that arrive before its answer may be older than the request.
    pub(crate) fn was_asked(&mut self) {
        self.unanswered += 1;
    }

    pub(crate) fn was_answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// Notes that the connection has ended. Requests stay unanswered, and the boards stay as they are until the next
    /// frames.
    pub(crate) fn disconnected(&mut self) {
        self.mirrors.disconnected();
        self.unanswered = 0;
        self.in_step.clear();
    }

    pub(crate) fn set_filter(&mut self, filter: Box<RawValue>) {
        self.filter = filter;
    }

    /// Returns the filter if it still has to be requested from the gateway.
    pub(crate) fn filter_to_ask(&self) -> Option<&RawValue> {
        let is_known = self.asked.as_ref().is_some_and(|asked| asked.get() == self.filter.get());
        (!is_known).then_some(&*self.filter)
    }

    /// Notes that the filter was requested. Boards that arrive before the answer have the previous filter.
    pub(crate) fn filter_was_asked(&mut self) {
        self.asked = Some(self.filter.clone());
        self.in_step.clear();
        self.was_asked();
    }

    /// Notes that the gateway refused the filter, so that it is requested again later.
    pub(crate) fn filter_was_refused(&mut self) {
        self.asked = None;
    }

    /// Updates which prices are stale at `clock`, by this machine's clock. Returns whether any has changed.
    pub(crate) fn look_at(&mut self, clock: Timestamp) -> bool {
        let fresh = Freshness::new(&self.feeds, self.server_time(clock));
        let changed = fresh.old() != self.freshness.old();
        self.freshness = fresh;
        changed
    }

    pub(crate) fn server_time(&self, clock: Timestamp) -> Timestamp {
        clock.plus_millis(self.ahead)
    }

    pub(crate) fn regions(&self) -> &[Region] {
        &self.mirrors.regions
    }

    /// Returns the newest feed of each region, even if its board hasn't arrived yet.
    pub(crate) fn feeds(&self) -> &BTreeMap<Region, Feed> {
        &self.mirrors.feeds
    }

    /// Returns whether the boards of all chosen regions are in sync. One that is down may have none.
    pub(crate) fn is_loaded(&self) -> bool {
        let is_down = |region| self.mirrors.feeds.get(region).is_some_and(|feed| feed.state == FeedState::Down);
        self.mirrors.regions.iter().all(|region| self.in_step.contains(region) || is_down(region))
    }

    /// Returns the events that changed since the last call.
    pub(crate) fn take_changed(&mut self) -> ChangedEvents {
        self.mirrors.take_changed()
    }

    pub(crate) fn event_ids(&self) -> BTreeSet<EventId> {
        gathered(self.mirrors.boards.values().flat_map(|board| board.events().keys().cloned()))
    }

    /// Returns the prices of an outcome in each region.
    pub(crate) fn prices_of(
        &self,
        id: &EventId,
        market: &MarketKey,
        outcome: (&str, Option<Decimal>, Option<&str>),
    ) -> Vec<(Region, BookmakerKey, Decimal)> {
        let boards = self.mirrors.boards.iter().filter_map(|(region, board)| Some((region, board.events().get(id)?)));
        let quotes = boards.flat_map(|(region, event)| event.quotes.iter().map(move |quote| (*region, quote)));
        let quotes = quotes.filter(|(_, ((_, of), _))| of == market);
        let prices = quotes.filter_map(|(region, ((bookmaker, _), quote))| {
            let found = quote.outcomes.to_vec().into_iter().find(|it| it.identity() == outcome)?;
            Some((region, bookmaker.clone(), found.price))
        });
        prices.collect()
    }

    /// Returns an event, merged from the boards of all chosen regions, or `None` if it is on no board.
    pub(crate) fn event(&self, id: &EventId) -> Option<EventView> {
        merge(&self.mirrors, &self.mirrors.regions, id, &self.freshness)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;

    const FIRST: &str = "1.2-3-99aa06d3014798d86001c324468d497f";
    const SECOND: &str = "1.2-4-99aa06d3014798d86001c324468d497e";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn filter(market: &str) -> Box<RawValue> {
        to_raw_value(&serde_json::json!({ "markets": [market] })).unwrap()
    }

    fn snapshot(cursor: &str) -> String {
        let details = r#""sport_key":"soccer_epl","sport_title":"EPL","home_team":"Ham","away_team":"Egg""#;
        let quote = r#"{"bookmaker":"quick","market":"h2h","last_update":"1970-01-01T00:16:40Z","outcomes":[{"name":"Ham","price":2.1}]}"#;
        let event = format!(r#"{{"id":"match",{details},"commence_time":"1970-01-02T00:00:00Z","quotes":[{quote}]}}"#);
        format!(r#"{{"region":"uk","cursor":"{cursor}","events":[{event}]}}"#)
    }

    fn odds(prev: &str, cursor: &str) -> String {
        format!(r#"{{"region":"uk","prev":"{prev}","cursor":"{cursor}","events":[]}}"#)
    }

    /// Returns a feed whose sport was polled 30 s ago and becomes stale in 30 s.
    fn feed(state: &str, now: i64) -> String {
        format!(
            r#"{{"region":"uk","at":"{}","state":"{state}","source":"test","bookmakers":{{"quick":"{}"}},
                "sports":{{"soccer_epl":{{"polled_at":"{}","stale_after":"{}"}}}}}}"#,
            at(now),
            at(now - 30),
            at(now - 30),
            at(now + 30),
        )
    }

    /// Returns connected boards with the UK's board and feed as of second 1,000.
    fn loaded() -> Boards {
        let mut boards = Boards::new(filter("h2h"));
        boards.hello(None);
        boards.take("subscriptions", r#"{"v":1,"regions":["uk"]}"#, at(1_000));
        boards.take("feed", &feed("live", 1_000), at(1_000));
        assert_eq!(boards.take("snapshot", &snapshot(FIRST), at(1_000)), BoardsUpdate::Board { in_step_again: true });
        assert!(boards.look_at(at(1_000)));
        assert!(boards.is_loaded());
        assert_eq!(stale_since(&boards), None);
        boards
    }

    /// Returns since when the only price on the boards is stale.
    fn stale_since(boards: &Boards) -> Option<Timestamp> {
        let event = boards.event(&"match".parse().unwrap()).expect("the event is on the board");
        event.lines[0].outcomes[0].offers.values().next().expect("a price").stale_since
    }

    #[test]
    fn a_board_that_came_by_http_is_not_live_before_the_stream_says_so() {
        let mut boards = Boards::new(filter("h2h"));
        boards.take("subscriptions", r#"{"v":1,"regions":["uk"]}"#, at(1_000));
        boards.preload(&snapshot(FIRST));
        boards.take("feed", &feed("live", 1_000), at(1_000));
        boards.look_at(at(1_000));
        assert!(!boards.is_loaded());
        assert!(stale_since(&boards).is_some());
        assert_eq!(boards.take("odds", &odds(FIRST, SECOND), at(1_001)), BoardsUpdate::Board { in_step_again: true });
        boards.look_at(at(1_001));
        assert_eq!(stale_since(&boards), None);
    }

    #[test]
    fn a_board_that_was_kept_is_shown_and_not_live_until_the_stream_says_so() {
        let (feed_kept, board) = loaded().to_keep(Region::Uk).unwrap();
        let mut boards = Boards::new(filter("h2h"));
        boards.take("subscriptions", r#"{"v":1,"regions":["uk"]}"#, at(1_001));
        boards.recall(&board, feed_kept);
        boards.look_at(at(1_001));
        assert!(!boards.is_loaded());
        assert_eq!(stale_since(&boards), Some(at(970)), "it was polled then");
        assert_eq!(serde_json::to_value(boards.hello(None)).unwrap()["resume"]["uk"], FIRST);
        boards.take("feed", &feed("live", 1_002), at(1_002));
        assert_eq!(boards.take("odds", &odds(FIRST, SECOND), at(1_002)), BoardsUpdate::Board { in_step_again: true });
        boards.look_at(at(1_002));
        assert_eq!(stale_since(&boards), None);
    }

    #[test]
    fn an_outcomes_prices_are_those_of_its_market_and_name() {
        let boards = loaded();
        let prices = |market: &str, name, point: Option<&str>| {
            let point = point.map(|point| point.parse().unwrap());
            boards.prices_of(&"match".parse().unwrap(), &market.parse().unwrap(), (name, point, None))
        };
        let price = (Region::Uk, "quick".parse().unwrap(), "2.1".parse().unwrap());
        assert_eq!(prices("h2h", "Ham", None), [price]);
        for (market, name, point) in [("totals", "Ham", None), ("h2h", "Egg", None), ("h2h", "Ham", Some("1.5"))] {
            assert_eq!(prices(market, name, point), [], "{market} {name}");
        }
    }

    #[test]
    fn prices_grow_old_by_the_servers_clock() {
        let mut boards = loaded();
        // This machine's clock is an hour ahead of the server's.
        boards.take("feed", &feed("live", 1_010), at(4_610));
        assert_eq!(boards.server_time(at(4_620)), at(1_020));
        assert!(!boards.look_at(at(4_620)));
        assert!(boards.look_at(at(4_641)));
        assert_eq!(stale_since(&boards), Some(at(980)));
    }

    #[test]
    fn a_lost_connection_keeps_the_board_and_what_was_known_of_it() {
        let mut boards = loaded();
        boards.disconnected();
        assert!(!boards.is_loaded());
        // The next connection's feed arrives before its board, and must not make the old board live.
        boards.take("feed", &feed("live", 1_300), at(1_300));
        boards.look_at(at(1_300));
        assert_eq!(stale_since(&boards), Some(at(970)));
        boards.take("odds", &odds(FIRST, SECOND), at(1_301));
        boards.look_at(at(1_301));
        assert_eq!(stale_since(&boards), None);
    }

    #[test]
    fn a_region_that_is_down_makes_prices_old_whatever_else_is_awaited() {
        let mut boards = loaded();
        boards.was_asked();
        boards.disconnected();
        boards.take("feed", &feed("down", 1_010), at(1_010));
        assert!(boards.look_at(at(1_010)));
        assert_eq!(stale_since(&boards), Some(at(980)));
    }

    #[test]
    fn a_filter_is_asked_for_once_and_its_answer_is_awaited() {
        let mut boards = loaded();
        assert!(boards.filter_to_ask().is_none());
        boards.set_filter(filter("totals"));
        assert_eq!(boards.filter_to_ask().unwrap().get(), filter("totals").get());
        boards.filter_was_asked();
        assert!(boards.filter_to_ask().is_none());
        assert!(!boards.is_loaded());
        // This frame still has the previous filter.
        assert_eq!(boards.take("odds", &odds(FIRST, SECOND), at(1_001)), BoardsUpdate::Board { in_step_again: false });
        assert!(!boards.is_loaded());
        boards.was_answered();
        boards.take("snapshot", &snapshot(SECOND), at(1_001));
        assert!(boards.is_loaded());
    }

    #[test]
    fn a_filter_that_was_refused_is_asked_for_again() {
        let mut boards = loaded();
        boards.set_filter(filter("totals"));
        boards.filter_was_asked();
        boards.was_answered();
        boards.filter_was_refused();
        assert!(boards.filter_to_ask().is_some());
    }

    #[test]
    fn the_next_connection_has_the_filter_and_goes_on_from_the_board() {
        let mut boards = loaded();
        boards.set_filter(filter("totals"));
        let hello = serde_json::to_value(boards.hello(Some("r1-1-1".into()))).unwrap();
        assert_eq!(
            hello,
            serde_json::json!({
                "v": 1, "resume": { "uk": FIRST }, "filter": { "markets": ["totals"] }, "alerts": "r1-1-1"
            })
        );
        assert!(boards.filter_to_ask().is_none());
    }

    #[test]
    fn a_frame_that_does_not_fit_is_asked_for_and_the_region_is_not_live_until_then() {
        let mut boards = loaded();
        let update = boards.take("odds", &odds(SECOND, FIRST), at(1_001));
        assert_eq!(update, BoardsUpdate::Resync(Region::Uk, Some(FIRST.parse().unwrap())));
        assert!(!boards.is_loaded());
        boards.was_asked();
        boards.was_answered();
        assert_eq!(boards.take("snapshot", &snapshot(SECOND), at(1_002)), BoardsUpdate::Board { in_step_again: true });
        assert!(boards.is_loaded());
    }

    #[test]
    fn only_chosen_regions_are_waited_for() {
        let mut boards = loaded();
        assert_eq!(boards.take("subscriptions", r#"{"v":1,"regions":["uk","us"]}"#, at(1_001)), BoardsUpdate::Regions);
        assert!(!boards.is_loaded());
        // Nothing was ever published there.
        boards.take("feed", &feed("down", 1_001).replace(r#""uk""#, r#""us""#), at(1_001));
        assert!(boards.is_loaded());
        boards.take("subscriptions", r#"{"v":1,"regions":["uk"]}"#, at(1_001));
        assert!(boards.is_loaded());
        boards.take("subscriptions", r#"{"v":1,"regions":[]}"#, at(1_001));
        assert!(boards.event_ids().is_empty());
        assert_eq!(boards.event(&"match".parse().unwrap()), None);
    }
}
