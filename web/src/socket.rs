//! A Socket.IO client for the browser, over one websocket: what this page needs of Engine.IO 4 and
//! Socket.IO 5, and no more. It answers pings, notices silence, and connects again by itself.

use std::{cell::RefCell, rc::Rc};

use leptos::leptos_dom::helpers::set_timeout_with_handle;
use leptos::prelude::TimeoutHandle;
use odds::event_of;
use serde::Deserialize;
use std::time::Duration;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{CloseEvent, MessageEvent, WebSocket};

const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Refusals that trying again doesn't help.
const FINAL: [&str; 3] = ["unauthenticated", "forbidden_origin", "bad_auth"];
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What the page is told.
pub(crate) enum Happening {
    Connected,
    Disconnected,
    /// Not let in, and why: `<code>: <text>`. It is not tried again by itself.
    Refused(String),
    Event {
        name: String,
        payload: String,
    },
}

struct Inner {
    url: String,
    /// Says what goes into `auth` each time it connects: today's cursors.
    auth: Box<dyn Fn() -> serde_json::Value>,
    tell: Box<dyn Fn(Happening)>,
    open: Option<Open>,
    wait: Duration,
    silence: Option<TimeoutHandle>,
    /// How long the server may be silent.
    patience: Duration,
    next_ack: u32,
    stopped: bool,
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
        auth: impl Fn() -> serde_json::Value + 'static,
        tell: impl Fn(Happening) + 'static,
    ) -> Self {
        let client = Self(Rc::new(RefCell::new(Inner {
            url,
            auth: Box::new(auth),
            tell: Box::new(tell),
            open: None,
            wait: FIRST_WAIT,
            silence: None,
            patience: Duration::from_secs(45),
            next_ack: 0,
            stopped: false,
        })));
        client.open();
        client
    }

    /// Sends an event that is acknowledged, whoever cares.
    pub(crate) fn emit(&self, event: &str, payload: &serde_json::Value) {
        let id = {
            let mut inner = self.0.borrow_mut();
            inner.next_ack += 1;
            inner.next_ack
        };
        self.send(&format!("42{id}{}", serde_json::json!([event, payload])));
    }

    fn open(&self) {
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
            // A socket that is not open any more will say so by its close event.
            let _ = open.socket.send_with_str(packet);
        }
    }

    fn packet(&self, packet: &str) {
        self.listen();
        let (kind, rest) = packet.split_at_checked(1).unwrap_or_default();
        match (kind, rest.split_at_checked(1)) {
            ("0", _) => self.hello(rest),
            ("2", _) => self.send("3"),
            ("4", Some(("4", refusal))) => {
                let refusal: serde_json::Value = serde_json::from_str(refusal).unwrap_or_default();
                let text = refusal["message"].as_str().unwrap_or_default().to_owned();
                if FINAL.iter().any(|code| text.starts_with(code)) {
                    self.stop();
                    self.tell(Happening::Refused(text));
                } else {
                    // It stops, is full, or can't look us up: another time it will be another answer.
                    self.close();
                }
            }
            ("1", _) | ("4", Some(("1", _))) => self.close(),
            ("4", Some(("0", _))) => {
                self.0.borrow_mut().wait = FIRST_WAIT;
                self.tell(Happening::Connected);
            }
            ("4", Some(("2", event))) => {
                if let Some((name, payload)) = event_of(event) {
                    self.tell(Happening::Event { name, payload });
                }
            }
            _ => {}
        }
    }

    fn hello(&self, hello: &str) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Hello {
            ping_interval: u64,
            ping_timeout: u64,
        }
        if let Ok(hello) = serde_json::from_str::<Hello>(hello) {
            self.0.borrow_mut().patience = Duration::from_millis(hello.ping_interval + hello.ping_timeout);
        }
        let auth = (self.0.borrow().auth)();
        self.send(&format!("40{auth}"));
    }

    fn tell(&self, happening: Happening) {
        // Whoever is told may send: nothing is borrowed mutably here.
        (self.0.borrow().tell)(happening);
    }

    /// Waits for the next packet; a server that is silent for too long is gone.
    fn listen(&self) {
        let patience = self.0.borrow().patience;
        let this = self.clone();
        let timer = set_timeout_with_handle(move || this.close(), patience).ok();
        if let Some(before) = std::mem::replace(&mut self.0.borrow_mut().silence, timer) {
            before.clear();
        }
    }

    /// Ends it for good.
    pub(crate) fn stop(&self) {
        self.0.borrow_mut().stopped = true;
        self.close();
    }

    /// Connects at once, if it is waiting to.
    pub(crate) fn hurry(&self) {
        let waits = {
            let inner = self.0.borrow();
            inner.open.is_none() && !inner.stopped
        };
        if waits {
            self.open();
        }
    }

    fn close(&self) {
        if let Some(open) = &self.0.borrow().open {
            let _ = open.socket.close();
        }
        self.closed();
    }

    fn closed(&self) {
        let Some(open) = self.0.borrow_mut().open.take() else { return };
        open.socket.set_onmessage(None);
        open.socket.set_onclose(None);
        if let Some(timer) = self.0.borrow_mut().silence.take() {
            timer.clear();
        }
        if !self.0.borrow().stopped {
            self.tell(Happening::Disconnected);
            self.retry();
        }
        // Closures that may be running just now are dropped when they are done.
        leptos::leptos_dom::helpers::set_timeout(move || drop(open), Duration::ZERO);
    }

    fn retry(&self) {
        let wait = {
            let mut inner = self.0.borrow_mut();
            let wait = inner.wait;
            inner.wait = (wait * 2).min(LONGEST_WAIT);
            wait.mul_f64(0.5 + js_sys::Math::random() / 2.0)
        };
        let this = self.clone();
        leptos::leptos_dom::helpers::set_timeout(move || this.open(), wait);
    }
}
