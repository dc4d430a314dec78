//! The opened event: its own boards with all of its markets, on a connection of their own, so that the board beside it
//! stays as it is.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use leptos::{leptos_dom::helpers::IntervalHandle, prelude::*, task::spawn_local};
use odds::{BookmakerKey, Decimal, EventId, MarketKey, Region, Timestamp};
use send_wrapper::SendWrapper;
use serde_json::value::RawValue;

use super::{OnDrop, Stream, subscriptions};
use crate::{
    boards::{Boards, BoardsUpdate},
    page::{
        api,
        socket::{Client, SocketEvent},
        time,
    },
    view::EventView,
};

/// One event with all that is offered of it. Copies are handles to the same.
#[derive(Clone, Copy)]
pub(crate) struct Opened {
    inner: StoredValue<Rc<RefCell<Inner>>, LocalStorage>,
    pub(crate) shown: RwSignal<Arc<Shown>>,
}

/// What is known of the event.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Shown {
    /// Until its own boards have come, as the board has it.
    pub(crate) event: Option<Arc<EventView>>,
    /// Its own boards have come and are up to date.
    pub(crate) loaded: bool,
    /// When upstream last checked each bookmaker.
    pub(crate) seen: BTreeMap<BookmakerKey, Timestamp>,
}

struct Inner {
    stream: Stream,
    id: EventId,
    begun: bool,
    boards: Boards,
    client: Option<Client>,
    flush_is_due: bool,
    ticking: Option<IntervalHandle>,
}

impl Opened {
    /// Fetches the event by HTTP, which compresses it, and follows it from there, until the owner is disposed.
    pub(crate) fn start(stream: Stream, id: EventId) -> Self {
        let filter = RawValue::from_string(format!(r#"{{"events":["{id}"]}}"#)).expect("an id needs no escapes");
        let event = stream.event(id.as_str()).map(|event| event.get_untracked());
        let boards = Boards::new(filter);
        let inner = Inner { stream, id, begun: false, boards, client: None, flush_is_due: false, ticking: None };
        let inner = Rc::new(RefCell::new(inner));
        let this = Self {
            inner: StoredValue::new_local(inner.clone()),
            shown: RwSignal::new(Arc::new(Shown { event, ..Shown::default() })),
        };
        let ticking = set_interval_with_handle(move || this.tick(), Duration::from_secs(1)).ok();
        inner.borrow_mut().ticking = ticking;
        let inner = SendWrapper::new(inner);
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
        this.tick();
        this
    }

    fn tick(self) {
        if self.is_over() {
            return;
        }
        self.look_at_the_clock();
        let inner = self.inner();
        let regions = inner.borrow().stream.regions.get_untracked();
        // They are known once the board has come.
        if !regions.is_empty() && !std::mem::replace(&mut inner.borrow_mut().begun, true) {
            self.begin(regions);
        }
    }

    /// The prices of an outcome in each region, as they are now.
    pub(crate) fn prices_of(
        self,
        market: &MarketKey,
        outcome: (&str, Option<Decimal>, Option<&str>),
    ) -> Vec<(Region, BookmakerKey, Decimal)> {
        let inner = self.inner();
        let inner = inner.borrow();
        inner.boards.prices_of(&inner.id, market, outcome)
    }

    fn is_over(self) -> bool {
        self.inner.is_disposed()
    }

    fn inner(self) -> Rc<RefCell<Inner>> {
        self.inner.get_value()
    }

    fn begin(self, regions: Vec<Region>) {
        let query = format!("?event={}", self.inner().borrow().id);
        // Boards of other regions are not kept.
        self.received("subscriptions", &subscriptions(&regions));
        let all_came = Rc::new(OnDrop(move || {
            if !self.is_over() {
                self.connect();
            }
        }));
        for region in regions {
            let (query, all_came) = (query.clone(), all_came.clone());
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
        let inner = self.inner();
        let auth = move || api::json(&inner.borrow_mut().boards.hello(None));
        let client = Client::connect(api::socket_url(), auth, move |event| self.happened(event));
        self.inner().borrow_mut().client = Some(client);
    }

    fn happened(self, event: SocketEvent) {
        if self.is_over() {
            return;
        }
        match event {
            SocketEvent::Disconnected | SocketEvent::Ended => {
                self.inner().borrow_mut().boards.disconnected();
                self.draw_soon();
            }
            SocketEvent::Event { name, payload } => self.received(&name, &payload),
            SocketEvent::Answer { .. } => self.inner().borrow_mut().boards.was_answered(),
            SocketEvent::Connected | SocketEvent::Refused(_) => {}
        }
    }

    fn received(self, name: &str, payload: &str) {
        let inner = self.inner();
        let update = inner.borrow_mut().boards.take(name, payload, time::now());
        match update {
            BoardsUpdate::Nothing => {}
            BoardsUpdate::Resync(region, cursor) => {
                let client = inner.borrow().client.clone();
                if client.is_some_and(|client| client.resync(region, cursor)) {
                    inner.borrow_mut().boards.was_asked();
                }
            }
            BoardsUpdate::Feed(_) => {
                self.look_at_the_clock();
                self.draw_soon();
            }
            BoardsUpdate::Board { .. } | BoardsUpdate::Regions => self.draw_soon(),
        }
    }

    fn look_at_the_clock(self) {
        if self.inner().borrow_mut().boards.look_at(time::now()) {
            self.draw_soon();
        }
    }

    /// Draws all frames that arrive until the next animation frame at once.
    fn draw_soon(self) {
        if !std::mem::replace(&mut self.inner().borrow_mut().flush_is_due, true) {
            request_animation_frame(move || {
                if !self.is_over() {
                    self.draw();
                }
            });
        }
    }

    fn draw(self) {
        let inner = self.inner();
        let mut inner = inner.borrow_mut();
        inner.flush_is_due = false;
        inner.boards.look_at(time::now());
        let before = self.shown.get_untracked();
        let (event, loaded) = (inner.boards.event(&inner.id), inner.boards.is_loaded());
        let event = match event {
            Some(event) => Some(Arc::new(event)),
            // Until its own boards have come, the board's is better than nothing.
            None if !loaded => before.event.clone(),
            None => before.event.as_ref().map(|event| Arc::new(event.ended())),
        };
        let mut seen = BTreeMap::new();
        for (bookmaker, at) in inner.boards.feeds().values().flat_map(|feed| &feed.bookmakers) {
            let newest = seen.entry(bookmaker.clone()).or_insert(*at);
            *newest = (*newest).max(*at);
        }
        drop(inner);
        let shown = Shown { event, loaded, seen };
        if *before != shown {
            self.shown.set(Arc::new(shown));
        }
    }
}
