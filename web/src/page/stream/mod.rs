//! The boards as they stream in, as signals: one for each event, so that only changed events are drawn again.

mod arrangement;
mod connection;
mod drawing;
mod opened;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use leptos::{
    leptos_dom::helpers::IntervalHandle,
    prelude::*,
    task::{spawn_local, tick},
};
use odds::{EventId, Feed, Region, Timestamp};
use serde_json::value::to_raw_value;

pub(crate) use self::{
    arrangement::HEADING,
    connection::Connection,
    opened::{Opened, Shown},
};
use super::{api, browser, socket::Client, time};
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
    /// The outcome by whose price bookmakers are ranked in the opened event; empty for the first.
    pub(crate) ranked: RwSignal<String>,
    /// The event that is opened.
    pub(crate) opened: RwSignal<Option<Key>>,
    /// By the server's clock.
    pub(crate) now: RwSignal<Timestamp>,
    /// The events that are shown, in this order. Before the events of a league is its heading: `#` and its title.
    pub(crate) order: RwSignal<Vec<Key>>,
    /// How many events each sport has on the boards, as was last known.
    pub(crate) counts: RwSignal<BTreeMap<String, usize>>,
    /// How many events have started.
    pub(crate) started: RwSignal<usize>,
    /// The screen is so narrow that bookmakers have no columns.
    pub(crate) narrow: RwSignal<bool>,
    /// Bookmakers.
    pub(crate) columns: RwSignal<Vec<Key>>,
    pub(crate) markets: RwSignal<BTreeSet<Key>>,
    /// The titles of sports, by key.
    pub(crate) sports: RwSignal<BTreeMap<String, String>>,
    /// The names of bookmakers at upstream, by key.
    names: RwSignal<BTreeMap<String, String>>,
    /// The boards of all chosen regions have arrived, with the current filter.
    pub(crate) loaded: RwSignal<bool>,
    /// The boards were cut off, and are not up to date again: nothing on them may be recommended.
    pub(crate) cut_off: RwSignal<bool>,
    /// When the boards were kept that are shown until the gateway can be reached.
    pub(crate) kept_at: RwSignal<Option<Timestamp>>,
    /// Why the gateway refuses what is chosen.
    pub(crate) refusal: RwSignal<String>,
    /// What has come while the rows were held.
    pub(crate) waiting: RwSignal<String>,
    /// The user was signed out meanwhile.
    pub(crate) signed_out: RwSignal<bool>,
    /// How many alerts the user has not read.
    pub(crate) unread: RwSignal<usize>,
    /// How often alerts have arrived or were marked as read.
    pub(crate) alert_changes: RwSignal<usize>,
}

/// Takes the payload of an alert.
pub(crate) type TakesAlerts = Rc<dyn Fn(&str)>;

struct Inner {
    boards: Boards,
    client: Option<Client>,
    events: HashMap<EventId, ArcRwSignal<Arc<EventView>>>,
    /// The best prices of each event when it was first seen in this market, to tell how far it has moved.
    first_prices: HashMap<EventId, Vec<f64>>,
    /// Takes the payloads of alerts, once what shows them is loaded.
    on_alert: Option<TakesAlerts>,
    /// The id of the last alert that is known.
    last_alert: Option<Key>,
    /// The reason why the gateway ends the connection.
    farewell: String,
    /// Rows must not move now.
    held: bool,
    release: Option<TimeoutHandle>,
    order_is_due: bool,
    flush_is_due: bool,
    drawn_at: Timestamp,
    ticking: Option<IntervalHandle>,
}

impl Stream {
    /// Follows the boards of the signed-in user, who subscribes to these regions.
    pub(crate) fn start(regions: &[Region]) -> Self {
        let query = browser::read_query();
        let inner = Inner {
            boards: Boards::new(to_raw_value(&query.filter()).expect("plain values")),
            client: None,
            events: HashMap::new(),
            first_prices: HashMap::new(),
            on_alert: None,
            last_alert: None,
            farewell: String::new(),
            held: false,
            release: None,
            order_is_due: false,
            flush_is_due: false,
            drawn_at: Timestamp::default(),
            ticking: None,
        };
        let this = Self {
            inner: StoredValue::new_local(Rc::new(RefCell::new(inner))),
            connection: RwSignal::new(Connection::Connecting),
            regions: RwSignal::new(Vec::new()),
            feeds: RwSignal::new(BTreeMap::new()),
            query: RwSignal::new(query),
            ranked: RwSignal::new(String::new()),
            opened: RwSignal::new(None),
            now: RwSignal::new(time::now()),
            order: RwSignal::new(Vec::new()),
            counts: RwSignal::new(BTreeMap::new()),
            started: RwSignal::new(0),
            narrow: RwSignal::new(browser::is_narrow()),
            columns: RwSignal::new(Vec::new()),
            markets: RwSignal::new(BTreeSet::new()),
            sports: RwSignal::new(BTreeMap::new()),
            names: RwSignal::new(BTreeMap::new()),
            loaded: RwSignal::new(false),
            cut_off: RwSignal::new(true),
            kept_at: RwSignal::new(None),
            refusal: RwSignal::new(String::new()),
            waiting: RwSignal::new(String::new()),
            signed_out: RwSignal::new(false),
            unread: RwSignal::new(0),
            alert_changes: RwSignal::new(0),
        };
        this.follow_query();
        let ticking = set_interval_with_handle(move || this.tick(), Duration::from_secs(1)).ok();
        this.inner().borrow_mut().ticking = ticking;
        for event in ["online", "offline"] {
            let handle = window_event_listener_untyped(event, move |_| this.network_changed());
            on_cleanup(move || handle.remove());
        }
        let handle = window_event_listener_untyped("resize", move |_| set_if_new(this.narrow, browser::is_narrow()));
        on_cleanup(move || handle.remove());
        // Another tab has changed the visitor's own settings.
        let handle = window_event_listener_untyped("storage", move |_| {
            let mut query = this.query.get_untracked();
            query.set_own(browser::own_settings());
            set_if_new(this.query, query);
        });
        on_cleanup(move || handle.remove());
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
        this.begin(regions);
        this
    }

    fn inner(&self) -> Rc<RefCell<Inner>> {
        self.inner.get_value()
    }

    /// Whether the user has signed out: what arrives now has no effect.
    pub(crate) fn is_over(self) -> bool {
        self.inner.is_disposed()
    }

    /// Has alerts taken when they arrive.
    pub(crate) fn on_alert(self, take: TakesAlerts) {
        self.inner().borrow_mut().on_alert = Some(take);
    }

    /// The id of the last alert that is known. The next connection goes on from it.
    pub(crate) fn last_alert(self) -> Option<Key> {
        self.inner().borrow().last_alert.clone()
    }

    pub(crate) fn set_last_alert(self, id: Key) {
        self.inner().borrow_mut().last_alert = Some(id);
    }

    /// A bookmaker's name.
    pub(crate) fn bookmaker(self, key: &str) -> String {
        self.names.with(|names| told_apart(names, key))
    }

    /// The bookmakers with a column: none on narrow screens.
    pub(crate) fn shown_columns(self) -> impl Fn() -> Vec<Key> {
        move || if self.narrow.get() { Vec::new() } else { self.columns.get() }
    }

    pub(crate) fn event(self, id: &str) -> Option<ArcRwSignal<Arc<EventView>>> {
        self.inner().borrow().events.get(id).cloned()
    }

    /// Copies the user's choices into the address, to the gateway, and onto the board.
    fn follow_query(self) {
        Effect::new(move |before: Option<Query>| {
            let query = self.query.get();
            self.inner().borrow_mut().boards.set_filter(to_raw_value(&query.filter()).expect("plain values"));
            self.ask_for_filter();
            browser::mark_root("data-theme", query.theme);
            match before {
                None => browser::write_query(&query),
                Some(before) => {
                    browser::write_query(&query);
                    if before.market != query.market {
                        self.inner().borrow_mut().first_prices.clear();
                    }
                    // A choice is shown at once, and when its odds come. The pointer's next move holds the rows again.
                    self.inner().borrow_mut().held = false;
                    let focused = browser::focused();
                    self.arrange_now();
                    spawn_local(async move {
                        tick().await;
                        focused.iter().filter(|element| element.is_connected()).for_each(browser::focus);
                    });
                }
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

/// The payload of the event `subscriptions` for these regions.
fn subscriptions(regions: &[Region]) -> String {
    format!(r#"{{"v":1,"regions":{}}}"#, api::json(&regions))
}

/// Calls its function when it is dropped. If several tasks share one, that is when the last of them is done.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}
