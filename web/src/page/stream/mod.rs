//! The boards as they stream in, as signals: one for each event, so that only changed events are drawn again.

mod arrangement;
mod connection;
mod drawing;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use leptos::{leptos_dom::helpers::IntervalHandle, prelude::*, task::spawn_local};
use odds::{EventId, Feed, Region, Timestamp};
use serde_json::value::to_raw_value;

pub(crate) use self::connection::Connection;
use super::{browser, socket::Client};
use crate::{
    boards::Boards,
    view::{EventView, Key, Query, told_apart},
};

/// Everything that the board shows. Copies are handles to the same.
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
    /// The events that are shown, in this order.
    pub(crate) order: RwSignal<Vec<Key>>,
    /// Bookmakers.
    pub(crate) columns: RwSignal<Vec<Key>>,
    pub(crate) markets: RwSignal<BTreeSet<Key>>,
    /// The titles of sports, by key.
    pub(crate) sports: RwSignal<BTreeMap<String, String>>,
    /// The names of bookmakers at upstream, by key.
    names: RwSignal<BTreeMap<String, String>>,
    /// The boards of all chosen regions have arrived, with the current filter.
    pub(crate) loaded: RwSignal<bool>,
    /// The user was signed out meanwhile.
    pub(crate) signed_out: RwSignal<bool>,
}

struct Inner {
    boards: Boards,
    client: Option<Client>,
    events: HashMap<EventId, ArcRwSignal<Arc<EventView>>>,
    /// The reason why the gateway ends the connection.
    farewell: String,
    /// Rows must not move now.
    held: bool,
    release: Option<TimeoutHandle>,
    order_is_due: bool,
    flush_is_due: bool,
    ticking: Option<IntervalHandle>,
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

    /// Whether the user has signed out: what arrives now has no effect.
    pub(crate) fn is_over(self) -> bool {
        self.inner.is_disposed()
    }

    /// A bookmaker's name.
    pub(crate) fn bookmaker(self, key: &str) -> String {
        self.names.with(|names| told_apart(names, key))
    }

    fn is_open(self, id: &EventId) -> bool {
        self.opened.with_untracked(|opened| opened.contains(id.as_str()))
    }

    pub(crate) fn event(self, id: &str) -> Option<ArcRwSignal<Arc<EventView>>> {
        self.inner().borrow().events.get(id).cloned()
    }

    /// Copies the user's choices into the address, to the gateway, and onto the board.
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
                    // A choice is shown at once, and when its odds come. The pointer's next move holds the rows again.
                    self.inner().borrow_mut().held = false;
                    self.arrange_now();
                }
                // An event is opened or closed: it stays under the pointer.
                Some(_) => self.arrange(),
            }
            query
        });
    }
}

fn set_if_new<T: PartialEq + Send + Sync + 'static>(signal: RwSignal<T>, value: T) {
    if signal.with_untracked(|before| *before != value) {
        signal.set(value);
    }
}
