//! The boards as they stream in, as signals: each event on its own, so that what changes is all that
//! is drawn again.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use leptos::{leptos_dom::helpers::IntervalHandle, prelude::*, task::spawn_local};
use odds::{Cursor, EventId, Feed, Live, News, Region, Timestamp, Touched};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    api, browser,
    shared::Key,
    socket::{Client, Happening},
    view::{EventView, Freshness, Query, gathered, merge, sorted},
};

/// The connection to the gateway, as the page shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Connection {
    Connecting,
    Live,
    Reconnecting,
    Offline,
    /// Over, and why.
    Ended(String),
}

/// Everything that the board shows. Copies are handles of the same.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    inner: StoredValue<Rc<RefCell<Inner>>, LocalStorage>,
    pub(crate) connection: RwSignal<Connection>,
    pub(crate) regions: RwSignal<Vec<Region>>,
    pub(crate) feeds: RwSignal<BTreeMap<Region, Feed>>,
    pub(crate) query: RwSignal<Query>,
    pub(crate) opened: RwSignal<BTreeSet<Key>>,
    /// By the server's clock.
    pub(crate) now: RwSignal<Timestamp>,
    /// What is shown, in this order.
    pub(crate) order: RwSignal<Vec<Key>>,
    /// Bookmakers.
    pub(crate) columns: RwSignal<Vec<Key>>,
    pub(crate) markets: RwSignal<BTreeSet<Key>>,
    /// Sports and what they are called.
    pub(crate) sports: RwSignal<BTreeMap<String, String>>,
    /// Every region that is chosen has been read.
    pub(crate) loaded: RwSignal<bool>,
    /// Somebody was signed out meanwhile.
    pub(crate) signed_out: RwSignal<bool>,
}

struct Inner {
    live: Live,
    client: Option<Client>,
    events: HashMap<EventId, ArcRwSignal<Arc<EventView>>>,
    /// Milliseconds that the server's clock is ahead.
    ahead: i64,
    fresh: Freshness,
    /// The filter that the gateway was asked for.
    filter: Box<RawValue>,
    /// Rows are not moved while the pointer is among them.
    held: bool,
    order_is_due: bool,
    flush_is_due: bool,
    ticking: Option<IntervalHandle>,
}

/// What the gateway is to know of who connects.
#[derive(Serialize)]
struct Hello<'a> {
    v: u8,
    resume: BTreeMap<Region, Cursor>,
    filter: &'a RawValue,
}

#[derive(Serialize)]
struct Resync {
    region: Region,
    cursor: Option<Cursor>,
}

#[derive(Deserialize)]
struct Bye {
    code: String,
}

impl Stream {
    pub(crate) fn start() -> Self {
        let query = browser::read_query();
        let filter = to_raw_value(&query.filter(false)).expect("plain values");
        let inner = Inner {
            live: Live::default(),
            client: None,
            events: HashMap::new(),
            ahead: 0,
            fresh: Freshness::default(),
            filter,
            held: false,
            order_is_due: false,
            flush_is_due: false,
            ticking: None,
        };
        let this = Self {
            inner: StoredValue::new_local(Rc::new(RefCell::new(inner))),
            connection: RwSignal::new(Connection::Connecting),
            regions: RwSignal::new(Vec::new()),
            feeds: RwSignal::new(BTreeMap::new()),
            query: RwSignal::new(query),
            opened: RwSignal::new(BTreeSet::new()),
            now: RwSignal::new(browser::now()),
            order: RwSignal::new(Vec::new()),
            columns: RwSignal::new(Vec::new()),
            markets: RwSignal::new(BTreeSet::new()),
            sports: RwSignal::new(BTreeMap::new()),
            loaded: RwSignal::new(false),
            signed_out: RwSignal::new(false),
        };
        this.follow_query();
        let ticking = set_interval_with_handle(move || this.tick(), Duration::from_secs(1)).ok();
        this.inner().borrow_mut().ticking = ticking;
        for event in ["online", "offline"] {
            let handle = window_event_listener_untyped(event, move |_| this.network_changed());
            on_cleanup(move || handle.remove());
        }
        let inner = this.inner();
        let inner = send_wrapper::SendWrapper::new(inner);
        on_cleanup(move || {
            let (client, ticking) = {
                let mut inner = inner.borrow_mut();
                (inner.client.take(), inner.ticking.take())
            };
            if let Some(ticking) = ticking {
                ticking.clear();
            }
            if let Some(client) = client {
                client.stop();
            }
        });
        spawn_local(async move {
            this.first_boards().await;
            this.connect();
        });
        this
    }

    fn inner(&self) -> Rc<RefCell<Inner>> {
        self.inner.get_value()
    }

    /// Somebody signed out; what was still on its way comes to nothing.
    pub(crate) fn is_over(self) -> bool {
        self.inner.is_disposed()
    }

    /// Boards by HTTP come compressed; the stream goes on from their cursors.
    async fn first_boards(self) {
        let Ok(subscriptions) = api::subscriptions().await else { return };
        if self.is_over() {
            return;
        }
        self.heard("subscriptions", &subscriptions);
        let regions = self.regions.get_untracked();
        let query = self.query.with_untracked(http_query);
        let boards = regions.iter().map(|region| api::board(*region, &query));
        let boards = futures::future::join_all(boards).await;
        if self.is_over() {
            return;
        }
        for board in boards.into_iter().flatten() {
            self.inner().borrow_mut().live.take("snapshot", &board);
        }
        self.flush_soon();
    }

    fn connect(self) {
        if self.is_over() {
            return;
        }
        let location = window().location();
        let scheme = if location.protocol().is_ok_and(|it| it == "https:") { "wss" } else { "ws" };
        let host = location.host().unwrap_or_default();
        let url = format!("{scheme}://{host}/socket.io/?EIO=4&transport=websocket");
        let inner = self.inner();
        let auth = move || {
            let inner = inner.borrow();
            api::json(&Hello { v: 1, resume: inner.live.cursors(), filter: &inner.filter })
        };
        let client = Client::connect(url, auth, move |happening| self.happened(happening));
        self.inner().borrow_mut().client = Some(client);
    }

    /// With the session as it now is.
    pub(crate) fn connect_again(self) {
        if self.is_over() {
            return;
        }
        if let Some(client) = self.inner().borrow_mut().client.take() {
            client.stop();
        }
        self.connection.set(Connection::Reconnecting);
        self.signed_out.set(false);
        self.connect();
    }

    fn happened(self, happening: Happening) {
        if self.is_over() {
            return;
        }
        match happening {
            Happening::Connected => self.connection.set(Connection::Live),
            Happening::Disconnected => {
                self.inner().borrow_mut().live.disconnected();
                self.connection.set(Connection::Reconnecting);
                self.network_changed();
            }
            Happening::Refused(text) => match text.split_once(": ") {
                Some(("unauthenticated", _)) => self.signed_out.set(true),
                Some((_, reason)) => self.connection.set(Connection::Ended(reason.to_owned())),
                None => self.connection.set(Connection::Ended(text)),
            },
            Happening::Event { name, payload } if name == "bye" => {
                if serde_json::from_str(&payload).is_ok_and(|bye: Bye| bye.code == "signed_out") {
                    self.signed_out.set(true);
                }
            }
            Happening::Event { name, payload } => self.heard(&name, &payload),
        }
    }

    /// An event, or an answer by HTTP that says the same.
    pub(crate) fn heard(self, name: &str, payload: &str) {
        let inner = self.inner();
        let news = inner.borrow_mut().live.take(name, payload);
        match news {
            News::Nothing => {}
            News::Board(_) => self.flush_soon(),
            News::Regions => {
                self.regions.set(inner.borrow().live.regions.clone());
                self.feeds.set(inner.borrow().live.feeds.clone());
                self.flush_soon();
            }
            News::Feed(region) => {
                {
                    let mut inner = inner.borrow_mut();
                    let at = inner.live.feeds[&region].at;
                    inner.ahead = at.millis_since(browser::now());
                }
                self.feeds.set(inner.borrow().live.feeds.clone());
                self.look_at_the_clock();
            }
            News::Resync(region, cursor) => {
                if let Some(client) = &inner.borrow().client {
                    client.emit("resync", &Resync { region, cursor });
                }
                // It may be a feed that showed that an answer is lost.
                self.feeds.set(inner.borrow().live.feeds.clone());
            }
        }
    }

    fn network_changed(self) {
        let is_online = window().navigator().on_line();
        match (is_online, self.connection.get_untracked()) {
            (false, Connection::Reconnecting) => self.connection.set(Connection::Offline),
            (true, Connection::Offline) => {
                self.connection.set(Connection::Reconnecting);
                if let Some(client) = self.inner().borrow().client.clone() {
                    client.hurry();
                }
            }
            _ => {}
        }
    }

    fn tick(self) {
        self.look_at_the_clock();
        // Events start without a word.
        if self.now.get_untracked().millis_since(Timestamp::from_millis(0)) / 1_000 % 10 == 0 {
            self.arrange();
        }
    }

    /// Prices grow old without a word.
    fn look_at_the_clock(self) {
        let inner = self.inner();
        let changed = {
            let mut inner = inner.borrow_mut();
            let now = browser::now().plus_millis(inner.ahead);
            self.now.set(now);
            let fresh = Freshness::new(&inner.live.feeds, now);
            let changed = fresh.old() != inner.fresh.old();
            inner.fresh = fresh;
            changed
        };
        if changed {
            self.draw(Touched::All);
        }
    }

    /// Many frames become one drawing.
    fn flush_soon(self) {
        if !std::mem::replace(&mut self.inner().borrow_mut().flush_is_due, true) {
            request_animation_frame(move || {
                if self.is_over() {
                    return;
                }
                let touched = {
                    let inner = self.inner();
                    let mut inner = inner.borrow_mut();
                    inner.flush_is_due = false;
                    inner.live.touched()
                };
                self.draw(touched);
            });
        }
    }

    fn draw(self, touched: Touched) {
        let inner = self.inner();
        let mut changed = Vec::new();
        let mut rearrange = matches!(touched, Touched::All);
        {
            let mut inner = inner.borrow_mut();
            let ids: BTreeSet<EventId> = match touched {
                Touched::Some(ids) => ids,
                Touched::All => {
                    let known = inner.events.keys().cloned();
                    let on_boards = inner.live.boards.values().flat_map(|board| board.events().keys().cloned());
                    gathered(known.chain(on_boards))
                }
            };
            let regions = inner.live.regions.clone();
            let market = self.query.with_untracked(|query| query.market.clone());
            for id in ids {
                match merge(&inner.live, &regions, &id, &inner.fresh) {
                    None => rearrange |= inner.events.remove(&id).is_some(),
                    Some(view) => match inner.events.get(&id) {
                        Some(signal) => {
                            rearrange |= signal.with_untracked(|before| {
                                before.details != view.details || before.has(&market) != view.has(&market)
                            });
                            if signal.with_untracked(|before| **before != view) {
                                changed.push((signal.clone(), Arc::new(view)));
                            }
                        }
                        None => {
                            inner.events.insert(id, ArcRwSignal::new(Arc::new(view)));
                            rearrange = true;
                        }
                    },
                }
            }
            let loaded =
                regions.iter().all(|region| inner.live.boards.get(region).is_some_and(|it| it.cursor().is_some()));
            if self.loaded.get_untracked() != loaded {
                self.loaded.set(loaded);
            }
        }
        for (signal, view) in changed {
            signal.set(view);
        }
        if rearrange {
            self.arrange();
        }
    }

    /// Which events are shown, in which order, with which columns.
    pub(crate) fn arrange(self) {
        let inner = self.inner();
        let (order, columns, markets, sports) = {
            let mut inner = inner.borrow_mut();
            if inner.held {
                inner.order_is_due = true;
                return;
            }
            inner.order_is_due = false;
            let now = self.now.get_untracked();
            let ahead = browser::minutes_ahead(now);
            let query = self.query.get_untracked();
            let views: Vec<Arc<EventView>> = inner.events.values().map(ArcRwSignal::get_untracked).collect();
            let is_offered = |view: &&Arc<EventView>| view.has(&query.market) || self.is_open(&view.id);
            let shown = views.iter().filter(is_offered).filter(|view| query.shows(view, now, ahead));
            let shown = sorted(shown.collect(), |view| query.place_of(view, now));
            let mut columns: BTreeSet<Key> = BTreeSet::new();
            let mut markets: BTreeSet<Key> = BTreeSet::new();
            let mut sports = self.sports.get_untracked();
            for view in &views {
                sports.insert(view.details.sport_key.as_str().to_owned(), view.details.sport_title.clone());
                for line in &view.lines {
                    markets.insert(line.market.clone().into());
                    if line.market.as_str() == query.market {
                        columns.extend(line.outcomes.iter().flat_map(|it| it.offers.keys().cloned()).map(Key::from));
                    }
                }
            }
            let (mine, others): (Vec<Key>, Vec<Key>) = columns.into_iter().partition(|key| query.mine.contains(&**key));
            let columns = [mine, others].concat();
            let order: Vec<Key> = shown.into_iter().map(|view| view.id.clone().into()).collect();
            (order, columns, markets, sports)
        };
        set_if_new(self.order, order);
        set_if_new(self.columns, columns);
        self.markets.update(|known| known.extend(markets));
        set_if_new(self.sports, sports);
    }

    fn is_open(self, id: &EventId) -> bool {
        self.opened.with_untracked(|opened| opened.contains(id.as_str()))
    }

    /// While the pointer is among the rows, none moves.
    pub(crate) fn hold(self, held: bool) {
        let due = {
            let inner = self.inner();
            let mut inner = inner.borrow_mut();
            inner.held = held;
            !held && inner.order_is_due
        };
        if due {
            self.arrange();
        }
    }

    pub(crate) fn event(self, id: &str) -> Option<ArcRwSignal<Arc<EventView>>> {
        self.inner().borrow().events.get(id).cloned()
    }

    /// What is chosen goes into the address, to the gateway, and onto the board.
    fn follow_query(self) {
        Effect::new(move |before: Option<()>| {
            let query = self.query.get();
            let filter = query.filter(!self.opened.with(BTreeSet::is_empty));
            let filter = to_raw_value(&filter).expect("plain values");
            browser::write_query(&query);
            let inner = self.inner();
            let asks = std::mem::replace(&mut inner.borrow_mut().filter, filter.clone()).get() != filter.get();
            if asks && let Some(client) = &inner.borrow().client {
                client.emit("filter", &filter);
            }
            if before.is_some() {
                inner.borrow_mut().held = false;
                self.arrange();
            }
        });
    }
}

fn set_if_new<T: PartialEq + Send + Sync + 'static>(signal: RwSignal<T>, value: T) {
    if signal.with_untracked(|before| *before != value) {
        signal.set(value);
    }
}

fn http_query(query: &Query) -> String {
    let one = |name: &str, keys: &BTreeSet<String>| keys.iter().map(|key| format!("{name}={key}")).collect::<Vec<_>>();
    let mut pairs = one("sport", &query.sports);
    pairs.extend(one("bookmaker", &query.bookmakers));
    pairs.push(format!("market={}", query.market));
    format!("?{}", pairs.join("&"))
}
