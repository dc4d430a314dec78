//! The connection to the gateway: the first boards by HTTP, then the socket and its events.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use leptos::{prelude::*, task::spawn_local};
use odds::{Cursor, Region};
use serde::{Deserialize, Serialize};

use super::{Stream, set_if_new};
use crate::{
    boards::BoardsUpdate,
    page::{
        api, browser,
        socket::{Client, SocketEvent},
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
    /// Fetches the boards by HTTP, which compresses them, and then connects to continue from their cursors.
    pub(super) async fn begin(self) {
        let subscriptions = api::subscriptions().await;
        if self.is_over() {
            return;
        }
        if let Ok(subscriptions) = subscriptions {
            self.received("subscriptions", &subscriptions);
        }
        // The last one to drop it connects.
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
            SocketEvent::Event { name, payload } => self.received(&name, &payload),
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

    /// Takes an event, or an HTTP response with the same payload.
    pub(crate) fn received(self, name: &str, payload: &str) {
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
                // A feed may have shown that a frame or an answer is lost.
                self.feeds.set(inner.borrow().boards.feeds().clone());
            }
        }
    }

    fn lost(self) {
        self.inner().borrow_mut().boards.disconnected();
        self.loaded.set(false);
    }

    pub(super) fn network_changed(self) {
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

/// Shows the boards that came by HTTP, and connects, when it is dropped.
struct Connects(Stream);

impl Drop for Connects {
    fn drop(&mut self) {
        if !self.0.is_over() {
            self.0.flush_soon();
            self.0.connect();
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
