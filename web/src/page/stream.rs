//! The boards as they stream in, as signals: each event on its own, so that what changes is all that
//! is drawn again.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use client::ChangedEvents;
use leptos::{
    leptos_dom::helpers::{IntervalHandle, set_timeout_with_handle},
    prelude::*,
    task::{spawn_local, tick},
};
use odds::{Cursor, EventId, Feed, Region, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use super::{
    api,
    browser::{self, Anchor},
    socket::{Client, SocketEvent},
};
use crate::{
    boards::{Boards, BoardsUpdate},
    view::{EventView, Key, Query, gathered, sorted, told_apart},
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
    /// Bookmakers and what upstream calls them.
    names: RwSignal<BTreeMap<String, String>>,
    /// Every region that is chosen is what the gateway has.
    pub(crate) loaded: RwSignal<bool>,
    /// Somebody was signed out meanwhile.
    pub(crate) signed_out: RwSignal<bool>,
}

struct Inner {
    boards: Boards,
    client: Option<Client>,
    events: HashMap<EventId, ArcRwSignal<Arc<EventView>>>,
    /// Why the gateway ends the connection.
    farewell: String,
    /// Rows are not moved while the pointer is among them, and for a moment after.
    held: bool,
    release: Option<TimeoutHandle>,
    order_is_due: bool,
    flush_is_due: bool,
    ticking: Option<IntervalHandle>,
}

/// A click follows at once when a finger leaves; a pointer that slips out may come back.
const RELEASE_AFTER: Duration = Duration::from_millis(400);

/// Too many filters may be in use; later, others may have gone.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Resync {
    region: Region,
    cursor: Option<Cursor>,
}

#[derive(Default, Deserialize)]
struct Bye {
    code: String,
    message: String,
}

impl Stream {
    pub(crate) fn start() -> Self {
        let query = browser::read_query();
        let inner = Inner {
            boards: Boards::new(to_raw_value(&query.filter(false)).expect("plain values")),
            client: None,
            events: HashMap::new(),
            farewell: String::new(),
            held: false,
            release: None,
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
            names: RwSignal::new(BTreeMap::new()),
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
        spawn_local(this.begin());
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
    async fn begin(self) {
        let subscriptions = api::subscriptions().await;
        if self.is_over() {
            return;
        }
        if let Ok(subscriptions) = subscriptions {
            self.heard("subscriptions", &subscriptions);
        }
        // Whoever drops it last connects.
        let all_came = Rc::new(Connects(self));
        for region in self.regions.get_untracked() {
            let query = self.query.with_untracked(http_query);
            let all_came = all_came.clone();
            spawn_local(async move {
                let board = api::board(region, &query).await;
                if !self.is_over()
                    && let Ok(board) = board
                {
                    self.inner().borrow_mut().boards.preload(&board);
                }
                drop(all_came);
            });
        }
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
        let auth = move || api::json(&inner.borrow_mut().boards.hello());
        let client = Client::connect(url, auth, move |event| self.happened(event));
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

    fn happened(self, event: SocketEvent) {
        if self.is_over() {
            return;
        }
        match event {
            SocketEvent::Connected => {
                self.connection.set(Connection::Live);
                self.ask_for_filter();
            }
            SocketEvent::Disconnected => {
                self.lost();
                self.connection.set(Connection::Reconnecting);
                self.network_changed();
            }
            SocketEvent::Ended => {
                self.lost();
                // Whoever was signed out is told by another page, or goes on with another session.
                if !self.signed_out.get_untracked() {
                    let farewell = self.inner().borrow().farewell.clone();
                    self.connection.set(Connection::Ended(farewell));
                }
            }
            SocketEvent::Refused(text) => match text.split_once(": ") {
                Some(("unauthenticated", _)) => self.signed_out.set(true),
                Some((_, reason)) => self.connection.set(Connection::Ended(reason.to_owned())),
                None => self.connection.set(Connection::Ended(text)),
            },
            SocketEvent::Event { name, payload } if name == "bye" => {
                let bye: Bye = serde_json::from_str(&payload).unwrap_or_default();
                if bye.code == "signed_out" {
                    self.signed_out.set(true);
                }
                self.inner().borrow_mut().farewell = bye.message;
            }
            SocketEvent::Event { name, payload } => self.heard(&name, &payload),
            SocketEvent::Answer { is_refusal } => {
                self.inner().borrow_mut().boards.was_answered();
                let again = move || {
                    if !self.is_over() {
                        self.inner().borrow_mut().boards.filter_was_refused();
                        self.ask_for_filter();
                    }
                };
                if is_refusal {
                    set_timeout(again, ASK_AGAIN_AFTER);
                }
            }
        }
    }

    /// An event, or an answer by HTTP that says the same.
    pub(crate) fn heard(self, name: &str, payload: &str) {
        let inner = self.inner();
        let update = inner.borrow_mut().boards.take(name, payload, browser::now());
        match update {
            BoardsUpdate::Nothing => {}
            BoardsUpdate::Board { in_step_again } => {
                if in_step_again {
                    self.look_at_the_clock();
                }
                self.flush_soon();
            }
            BoardsUpdate::Regions => {
                self.regions.set(inner.borrow().boards.regions().to_vec());
                self.feeds.set(inner.borrow().boards.feeds().clone());
                self.flush_soon();
            }
            BoardsUpdate::Feed(region) => {
                let mut names = self.names.get_untracked();
                for (key, name) in &inner.borrow().boards.feeds()[&region].bookmaker_names {
                    names.insert(key.as_str().to_owned(), name.clone());
                }
                set_if_new(self.names, names);
                self.feeds.set(inner.borrow().boards.feeds().clone());
                self.look_at_the_clock();
            }
            BoardsUpdate::Resync(region, cursor) => {
                let client = inner.borrow().client.clone();
                if client.is_some_and(|client| client.emit("resync", &Resync { region, cursor })) {
                    inner.borrow_mut().boards.was_asked();
                }
                // It may be a feed that showed that an answer is lost.
                self.feeds.set(inner.borrow().boards.feeds().clone());
            }
        }
    }

    fn lost(self) {
        self.inner().borrow_mut().boards.disconnected();
        self.loaded.set(false);
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
            let clock = browser::now();
            self.now.set(inner.boards.server_time(clock));
            inner.boards.look_at(clock)
        };
        if changed {
            self.draw(ChangedEvents::All);
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
                    inner.boards.touched()
                };
                self.draw(touched);
            });
        }
    }

    fn draw(self, touched: ChangedEvents) {
        let inner = self.inner();
        let mut changed = Vec::new();
        let mut rearrange = matches!(touched, ChangedEvents::All);
        {
            let mut inner = inner.borrow_mut();
            let ids: BTreeSet<EventId> = match touched {
                ChangedEvents::Some(ids) => ids,
                ChangedEvents::All => gathered(inner.events.keys().cloned().chain(inner.boards.event_ids())),
            };
            let market = self.query.with_untracked(|query| query.market.clone());
            for id in ids {
                match inner.boards.event(&id) {
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
            let loaded = inner.boards.is_loaded();
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

    /// Which events are shown, in which order, with which columns; later, if rows must not move now.
    pub(crate) fn arrange(self) {
        let is_held = {
            let inner = self.inner();
            let mut inner = inner.borrow_mut();
            inner.order_is_due = inner.held;
            inner.held
        };
        if !is_held {
            let anchor = Anchor::find();
            self.arrange_now();
            spawn_local(async move {
                tick().await;
                if let Some(anchor) = anchor {
                    anchor.hold();
                }
            });
        }
    }

    fn arrange_now(self) {
        let (order, columns, markets, sports) = {
            let inner = self.inner();
            let inner = inner.borrow();
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

    /// What a bookmaker is called.
    pub(crate) fn bookmaker(self, key: &str) -> String {
        self.names.with(|names| told_apart(names, key))
    }

    fn is_open(self, id: &EventId) -> bool {
        self.opened.with_untracked(|opened| opened.contains(id.as_str()))
    }

    /// While the pointer is among the rows, none moves. A finger's click comes after it has left: it
    /// has to find what the finger pressed.
    pub(crate) fn hold(self, held: bool) {
        let release = move || {
            if self.is_over() {
                return;
            }
            let due = {
                let inner = self.inner();
                let mut inner = inner.borrow_mut();
                inner.held = false;
                inner.order_is_due
            };
            if due {
                self.arrange();
            }
        };
        let inner = self.inner();
        let mut inner = inner.borrow_mut();
        inner.held = true;
        let timer = if held { None } else { set_timeout_with_handle(release, RELEASE_AFTER).ok() };
        if let Some(before) = std::mem::replace(&mut inner.release, timer) {
            before.clear();
        }
    }

    pub(crate) fn event(self, id: &str) -> Option<ArcRwSignal<Arc<EventView>>> {
        self.inner().borrow().events.get(id).cloned()
    }

    /// What is chosen goes into the address, to the gateway, and onto the board.
    fn follow_query(self) {
        Effect::new(move |before: Option<Query>| {
            let query = self.query.get();
            let filter = query.filter(!self.opened.with(BTreeSet::is_empty));
            self.inner().borrow_mut().boards.set_filter(to_raw_value(&filter).expect("plain values"));
            self.ask_for_filter();
            match before {
                None => browser::write_query(&query),
                Some(before) if before != query => {
                    browser::write_query(&query);
                    // What was asked for is shown, also what of it comes later; the pointer's next move holds again.
                    self.inner().borrow_mut().held = false;
                    self.arrange_now();
                }
                // An event is opened or closed: it stays under the pointer.
                Some(_) => self.arrange(),
            }
            query
        });
    }

    /// Asks the gateway for the filter if it has another. Who is not let in yet asks then.
    fn ask_for_filter(self) {
        let inner = self.inner();
        let mut inner = inner.borrow_mut();
        let Some(client) = inner.client.clone() else { return };
        if inner.boards.filter_to_ask().is_some_and(|filter| client.emit("filter", filter)) {
            inner.boards.filter_was_asked();
            drop(inner);
            self.loaded.set(false);
        }
    }
}

/// Shows the boards that came, and goes on by the socket, when it is dropped.
struct Connects(Stream);

impl Drop for Connects {
    fn drop(&mut self) {
        if !self.0.is_over() {
            self.0.flush_soon();
            self.0.connect();
        }
    }
}

fn set_if_new<T: PartialEq + Send + Sync + 'static>(signal: RwSignal<T>, value: T) {
    if signal.with_untracked(|before| *before != value) {
        signal.set(value);
    }
}

fn http_query(query: &Query) -> String {
    let one = |name: &str, keys: &BTreeSet<Key>| keys.iter().map(|key| format!("{name}={key}")).collect::<Vec<_>>();
    let mut pairs = one("sport", &query.sports);
    pairs.extend(one("bookmaker", &query.bookmakers));
    pairs.push(format!("market={}", query.market));
    format!("?{}", pairs.join("&"))
}
