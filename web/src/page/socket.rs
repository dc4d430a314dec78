//! The connection to the gateway: [`client::Protocol`] over the browser's websocket. Answers pings, detects a silent
//! server, and reconnects automatically unless the gateway forbids it.

use std::{cell::RefCell, rc::Rc, time::Duration};

use client::{Protocol, ProtocolEvent};
use leptos::leptos_dom::helpers::{set_timeout, set_timeout_with_handle};
use leptos::prelude::TimeoutHandle;
use odds::{Cursor, Region};
use serde::Serialize;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{CloseEvent, MessageEvent, WebSocket};

use super::api;

/// An event of the connection, for the page.
pub(crate) enum SocketEvent {
    Connected,
    /// The connection is lost; a reconnect is scheduled.
    Disconnected,
    /// The gateway ended the connection and forbids reconnecting.
    Ended,
    /// The gateway refused the connection for this reason, `<code>: <text>`. No reconnect is scheduled.
    Refused(String),
    Event {
        name: String,
        payload: String,
    },
    /// The answer to the oldest unanswered request.
    Answer {
        /// Why the gateway refused it.
        refusal: Option<String>,
    },
}

struct Inner {
    url: String,
    protocol: Protocol,
    /// Returns the `auth` data for each connection, with the current cursors.
    auth: Box<dyn Fn() -> String>,
    on_event: Rc<dyn Fn(SocketEvent)>,
    open: Option<Open>,
    /// The gateway has accepted the connection, so requests may be sent.
    welcome: bool,
    silence: Option<TimeoutHandle>,
    retry: Option<Retry>,
    stopped: bool,
}

/// The next attempt to connect.
struct Retry {
    timer: Option<TimeoutHandle>,
    /// The attempt may be made earlier: the gateway didn't ask for this delay.
    may_hurry: bool,
}

struct Open {
    socket: WebSocket,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(CloseEvent)>,
}

#[derive(Clone)]
pub(crate) struct Client(Rc<RefCell<Inner>>);

impl Client {
    pub(crate) fn connect(
        url: String,
        auth: impl Fn() -> String + 'static,
        on_event: impl Fn(SocketEvent) + 'static,
    ) -> Self {
        let client = Self(Rc::new(RefCell::new(Inner {
            url,
            protocol: Protocol::default(),
            auth: Box::new(auth),
            on_event: Rc::new(on_event),
            open: None,
            welcome: false,
            silence: None,
            retry: None,
            stopped: false,
        })));
        client.open();
        client
    }

    /// Sends a request and returns true, unless the gateway has not accepted the connection yet: it would then end the
    /// connection.
    pub(crate) fn emit(&self, event: &str, data: &(impl Serialize + ?Sized)) -> bool {
        let welcome = self.0.borrow().welcome;
        if welcome {
            let (_, packet) = self.0.borrow_mut().protocol.ask(event, data);
            self.send(&packet);
        }
        welcome
    }

    /// Asks for a region from a cursor, or anew. Returns whether that was sent.
    pub(crate) fn resync(&self, region: Region, cursor: Option<Cursor>) -> bool {
        #[derive(Serialize)]
        struct Resync {
            region: Region,
            cursor: Option<Cursor>,
        }
        self.emit("resync", &Resync { region, cursor })
    }

    fn open(&self) {
        self.forget_retry();
        if self.0.borrow().open.is_some() || self.0.borrow().stopped {
            return;
        }
        let url = self.0.borrow().url.clone();
        let Ok(socket) = WebSocket::new(&url) else { return self.retry() };
        let this = self.clone();
        let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
            if let Some(text) = message.data().as_string() {
                this.packet(&text);
            }
        });
        let this = self.clone();
        let on_close = Closure::<dyn FnMut(CloseEvent)>::new(move |_| this.closed());
        socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
        socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
        self.0.borrow_mut().open = Some(Open { socket, _on_message: on_message, _on_close: on_close });
    }

    fn send(&self, packet: &str) {
        if let Some(open) = &self.0.borrow().open {
            // If the socket has closed, its close event follows.
            let _ = open.socket.send_with_str(packet);
        }
    }

    fn packet(&self, packet: &str) {
        self.listen();
        let received = {
            let mut inner = self.0.borrow_mut();
            let Inner { protocol, auth, .. } = &mut *inner;
            protocol.receive(packet, auth)
        };
        match received {
            ProtocolEvent::Reply(packet) => self.send(&packet),
            ProtocolEvent::Welcome => {
                self.0.borrow_mut().welcome = true;
                self.notify(SocketEvent::Connected);
            }
            ProtocolEvent::Refused { reason, is_final: true } => {
                self.stop();
                self.notify(SocketEvent::Refused(reason));
            }
            // The gateway is stopping, full, or can't reach its store: a later attempt may succeed.
            ProtocolEvent::Refused { .. } | ProtocolEvent::Over => self.close(),
            ProtocolEvent::Event { name, payload } => self.notify(SocketEvent::Event { name, payload }),
            ProtocolEvent::Answer { answer, .. } => {
                let refusal = answer.starts_with(r#"{"error""#).then(|| api::refused(None, &answer).message);
                self.notify(SocketEvent::Answer { refusal });
            }
            ProtocolEvent::Nothing => {}
        }
    }

    fn notify(&self, event: SocketEvent) {
        // The callback may call this client, so nothing may stay borrowed.
        let on_event = self.0.borrow().on_event.clone();
        on_event(event);
    }

    /// Restarts the timer that closes the connection if the server is silent for too long.
    fn listen(&self) {
        let patience = self.0.borrow().protocol.patience();
        let this = self.clone();
        let timer = set_timeout_with_handle(move || this.close(), patience).ok();
        if let Some(before) = std::mem::replace(&mut self.0.borrow_mut().silence, timer) {
            before.clear();
        }
    }

    /// Closes the connection for good.
    pub(crate) fn stop(&self) {
        self.0.borrow_mut().stopped = true;
        self.forget_retry();
        self.close();
    }

    /// Reconnects at once if a reconnect is scheduled, unless the gateway asked for the delay.
    pub(crate) fn hurry(&self) {
        let may_hurry = self.0.borrow().retry.as_ref().is_some_and(|retry| retry.may_hurry);
        if may_hurry {
            self.open();
        }
    }

    fn forget_retry(&self) {
        let retry = self.0.borrow_mut().retry.take();
        if let Some(timer) = retry.and_then(|retry| retry.timer) {
            timer.clear();
        }
    }

    /// Closes the connection. A reconnect is scheduled.
    pub(crate) fn close(&self) {
        if let Some(open) = &self.0.borrow().open {
            let _ = open.socket.close();
        }
        self.closed();
    }

    fn closed(&self) {
        let Some(open) = self.0.borrow_mut().open.take() else { return };
        open.socket.set_onmessage(None);
        open.socket.set_onclose(None);
        self.0.borrow_mut().welcome = false;
        if let Some(timer) = self.0.borrow_mut().silence.take() {
            timer.clear();
        }
        if !self.0.borrow().stopped {
            self.retry();
        }
        // This may run inside one of the socket's closures, so they are dropped later.
        set_timeout(move || drop(open), Duration::ZERO);
    }

    fn retry(&self) {
        let (may_hurry, wait) = {
            let protocol = &mut self.0.borrow_mut().protocol;
            (protocol.may_hurry(), protocol.wait(js_sys::Math::random()))
        };
        let Some(wait) = wait else {
            self.stop();
            return self.notify(SocketEvent::Ended);
        };
        let this = self.clone();
        let timer = set_timeout_with_handle(move || this.open(), wait).ok();
        self.0.borrow_mut().retry = Some(Retry { timer, may_hurry });
        self.notify(SocketEvent::Disconnected);
    }
}
