//! The connection to the gateway: [`client::Protocol`] over the browser's websocket. It answers
//! pings, notices silence, and connects again by itself when the gateway wants it back.

use std::{cell::RefCell, rc::Rc, time::Duration};

use client::{Heard, Protocol};
use leptos::leptos_dom::helpers::{set_timeout, set_timeout_with_handle};
use leptos::prelude::TimeoutHandle;
use serde::Serialize;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{CloseEvent, MessageEvent, WebSocket};

/// What the page is told.
pub(crate) enum SocketEvent {
    Connected,
    /// It will connect again by itself.
    Disconnected,
    /// The gateway ended the connection and doesn't want the page back.
    Ended,
    /// Not let in, and why: `<code>: <text>`. It is not tried again by itself.
    Refused(String),
    Event {
        name: String,
        payload: String,
    },
    /// To the first request that has none yet. Refused: it is not done.
    Answer {
        is_refusal: bool,
    },
}

struct Inner {
    url: String,
    protocol: Protocol,
    /// Says what goes into `auth` each time it connects: today's cursors.
    auth: Box<dyn Fn() -> String>,
    tell: Rc<dyn Fn(SocketEvent)>,
    open: Option<Open>,
    /// The gateway has let us in: it takes events.
    welcome: bool,
    silence: Option<TimeoutHandle>,
    retry: Option<Retry>,
    stopped: bool,
}

/// The next attempt to connect.
struct Retry {
    timer: Option<TimeoutHandle>,
    /// The gateway didn't ask for the time.
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
        tell: impl Fn(SocketEvent) + 'static,
    ) -> Self {
        let client = Self(Rc::new(RefCell::new(Inner {
            url,
            protocol: Protocol::default(),
            auth: Box::new(auth),
            tell: Rc::new(tell),
            open: None,
            welcome: false,
            silence: None,
            retry: None,
            stopped: false,
        })));
        client.open();
        client
    }

    /// Sends a request, unless the gateway has not let us in: it would end the connection over it.
    pub(crate) fn emit(&self, event: &str, data: &(impl Serialize + ?Sized)) -> bool {
        let welcome = self.0.borrow().welcome;
        if welcome {
            let (_, packet) = self.0.borrow_mut().protocol.ask(event, data);
            self.send(&packet);
        }
        welcome
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
            // A socket that is not open any more will say so by its close event.
            let _ = open.socket.send_with_str(packet);
        }
    }

    fn packet(&self, packet: &str) {
        self.listen();
        let heard = {
            let mut inner = self.0.borrow_mut();
            let Inner { protocol, auth, .. } = &mut *inner;
            protocol.hear(packet, auth)
        };
        match heard {
            Heard::Wants(packet) => self.send(&packet),
            Heard::Welcome => {
                self.0.borrow_mut().welcome = true;
                self.tell(SocketEvent::Connected);
            }
            Heard::Refused { reason, is_final: true } => {
                self.stop();
                self.tell(SocketEvent::Refused(reason));
            }
            // It stops, is full, or can't look us up: another time it will be another answer.
            Heard::Refused { .. } | Heard::Over => self.close(),
            Heard::Event { name, payload } => self.tell(SocketEvent::Event { name, payload }),
            Heard::Answer { answer, .. } => {
                self.tell(SocketEvent::Answer { is_refusal: answer.starts_with(r#"{"error""#) });
            }
            Heard::Nothing => {}
        }
    }

    fn tell(&self, event: SocketEvent) {
        // Whoever is told may send, and more: nothing is borrowed meanwhile.
        let tell = self.0.borrow().tell.clone();
        tell(event);
    }

    /// Waits for the next packet; a server that is silent for too long is gone.
    fn listen(&self) {
        let patience = self.0.borrow().protocol.patience();
        let this = self.clone();
        let timer = set_timeout_with_handle(move || this.close(), patience).ok();
        if let Some(before) = std::mem::replace(&mut self.0.borrow_mut().silence, timer) {
            before.clear();
        }
    }

    /// Ends it for good.
    pub(crate) fn stop(&self) {
        self.0.borrow_mut().stopped = true;
        self.forget_retry();
        self.close();
    }

    /// Connects at once, if it is waiting to and the gateway didn't ask it to wait.
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
        self.0.borrow_mut().welcome = false;
        if let Some(timer) = self.0.borrow_mut().silence.take() {
            timer.clear();
        }
        if !self.0.borrow().stopped {
            self.retry();
        }
        // Closures that may be running just now are dropped when they are done.
        set_timeout(move || drop(open), Duration::ZERO);
    }

    fn retry(&self) {
        let (may_hurry, wait) = {
            let protocol = &mut self.0.borrow_mut().protocol;
            (protocol.may_hurry(), protocol.wait(js_sys::Math::random()))
        };
        let Some(wait) = wait else {
            self.stop();
            return self.tell(SocketEvent::Ended);
        };
        let this = self.clone();
        let timer = set_timeout_with_handle(move || this.open(), wait).ok();
        self.0.borrow_mut().retry = Some(Retry { timer, may_hurry });
        self.tell(SocketEvent::Disconnected);
    }
}
