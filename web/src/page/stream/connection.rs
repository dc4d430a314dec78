//! The connection to the gateway: the first boards by HTTP, then the socket and its events.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use leptos::{prelude::*, task::spawn_local};
use odds::{Feed, Region};
use serde::Deserialize;

use super::{OnDrop, Stream, set_if_new, subscriptions};
use crate::{
    boards::BoardsUpdate,
    page::{
        api, kept,
        socket::{Client, SocketEvent},
        time,
    },
    view::{Key, Query},
};

/// A filter that is refused, because too many are in use, is tried again after this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The connection to the gateway, as the page shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Connection {
    Connecting,
    Live,
    Reconnecting,
    Offline,
    /// Ended for good, with the reason.
    Ended(String),
}

#[derive(Default, Deserialize)]
struct Bye {
    code: String,
    message: String,
}

impl Stream {
    /// Fetches the boards of these regions by HTTP, which compresses them, and then connects to continue from their
    /// cursors.
    pub(super) fn begin(self, regions: &[Region]) {
        self.received("subscriptions", &subscriptions(regions));
        let all_came = Rc::new(OnDrop(move || {
            if !self.is_over() {
                self.flush_soon();
                self.connect();
            }
        }));
        for region in self.regions.get_untracked() {
            let query = self.query.with_untracked(http_query);
            let all_came = all_came.clone();
            spawn_local(async move {
                match api::board(region, &query).await {
                    Ok(board) if !self.is_over() => self.inner().borrow_mut().boards.preload(&board),
                    Ok(_) => {}
                    Err(_) => self.recall(region).await,
                }
                drop(all_came);
            });
        }
    }

    /// Shows a board as it was kept.
    async fn recall(self, region: Region) {
        let Some(kept) = kept::recall(region).await else { return };
        if self.is_over() {
            return;
        }
        self.names.update(|names| {
            names.extend(kept.feed.bookmaker_names.iter().map(|(key, name)| (key.as_str().to_owned(), name.clone())));
        });
        self.kept_at.update(|at| *at = Some(at.map_or(kept.at, |at| at.min(kept.at))));
        self.inner().borrow_mut().boards.recall(kept.snapshot.get(), kept.feed);
    }

    /// A region's feed and its board, as the payload of a snapshot.
    pub(crate) fn board_to_keep(self, region: Region) -> Option<(Feed, String)> {
        self.inner().borrow().boards.to_keep(region)
    }

    fn connect(self) {
        if self.is_over() {
            return;
        }
        let inner = self.inner();
        let auth = move || {
            let mut inner = inner.borrow_mut();
            let last_alert = inner.last_alert.clone();
            api::json(&inner.boards.hello(last_alert))
        };
        let client = Client::connect(api::socket_url(), auth, move |event| self.happened(event));
        self.inner().borrow_mut().client = Some(client);
    }

    /// Connects again, after a sign-in.
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
                // After a sign-out, another page shows that, or the page goes on with another session.
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
            SocketEvent::Event { name, payload } if name == "alert" => {
                let take = self.inner().borrow().on_alert.clone();
                if let Some(take) = take {
                    take(&payload);
                }
            }
            SocketEvent::Event { name, payload } => self.received(&name, &payload),
            SocketEvent::Answer { refusal } => {
                self.inner().borrow_mut().boards.was_answered();
                let is_refusal = refusal.is_some();
                self.refusal.set(refusal.unwrap_or_default());
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

    /// Takes an event, or an HTTP response with the same payload.
    pub(crate) fn received(self, name: &str, payload: &str) {
        let inner = self.inner();
        let update = inner.borrow_mut().boards.take(name, payload, time::now());
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
                // A region that is down is not waited for.
                if !self.loaded.get_untracked() {
                    self.flush_soon();
                }
            }
            BoardsUpdate::Resync(region, cursor) => {
                let client = inner.borrow().client.clone();
                if client.is_some_and(|client| client.resync(region, cursor)) {
                    inner.borrow_mut().boards.was_asked();
                }
                // A feed may have shown that a frame or an answer is lost.
                self.feeds.set(inner.borrow().boards.feeds().clone());
            }
        }
    }

    fn lost(self) {
        self.inner().borrow_mut().boards.disconnected();
        self.loaded.set(false);
        self.cut_off.set(true);
    }

    pub(super) fn network_changed(self) {
        let is_online = window().navigator().on_line();
        match (is_online, self.connection.get_untracked()) {
            (false, Connection::Reconnecting) => self.connection.set(Connection::Offline),
            // Without a network, the socket would notice only when pings stop coming.
            (false, Connection::Live) => {
                let client = self.inner().borrow().client.clone();
                if let Some(client) = client {
                    client.close();
                }
            }
            (true, Connection::Offline) => {
                self.connection.set(Connection::Reconnecting);
                if let Some(client) = self.inner().borrow().client.clone() {
                    client.hurry();
                }
            }
            _ => {}
        }
    }

    /// Asks the gateway for the filter if it has another: now, or once connected.
    pub(super) fn ask_for_filter(self) {
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

fn http_query(query: &Query) -> String {
    let one = |name: &str, keys: &BTreeSet<Key>| keys.iter().map(|key| format!("{name}={key}")).collect::<Vec<_>>();
    let mut pairs = one("sport", &query.sports);
    pairs.extend(one("bookmaker", &query.bookmakers));
    pairs.push(format!("market={}", query.market));
    format!("?{}", pairs.join("&"))
}
