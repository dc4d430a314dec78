//! The connection to the gateway: [`client::Protocol`] over the browser's websocket. It answers
//! pings, notices silence, and connects again by itself.

use std::{cell::RefCell, rc::Rc, time::Duration};

use client::{Heard, Protocol};
use leptos::leptos_dom::helpers::{set_timeout, set_timeout_with_handle};
use leptos::prelude::TimeoutHandle;
use serde::Serialize;
use wasm_bindgen::{JsCast, closure::Closure};
use web_sys::{CloseEvent, MessageEvent, WebSocket};

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
    protocol: Protocol,
    /// Says what goes into `auth` each time it connects: today's cursors.
    auth: Box<dyn Fn() -> String>,
    tell: Rc<dyn Fn(Happening)>,
    open: Option<Open>,
    silence: Option<TimeoutHandle>,
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
        auth: impl Fn() -> String + 'static,
        tell: impl Fn(Happening) + 'static,
    ) -> Self {
        let client = Self(Rc::new(RefCell::new(Inner {
            url,
            protocol: Protocol::default(),
            auth: Box::new(auth),
            tell: Rc::new(tell),
            open: None,
            silence: None,
            stopped: false,
        })));
        client.open();
        client
    }

    /// Sends an event; whoever cares hears of its effect.
    pub(crate) fn emit(&self, event: &str, data: &(impl Serialize + ?Sized)) {
        let (_, packet) = self.0.borrow_mut().protocol.ask(event, data);
        self.send(&packet);
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
        let heard = {
            let mut inner = self.0.borrow_mut();
            let Inner { protocol, auth, .. } = &mut *inner;
            protocol.hear(packet, auth)
        };
        match heard {
            Heard::Wants(packet) => self.send(&packet),
            Heard::Welcome => self.tell(Happening::Connected),
            Heard::Refused { reason, is_final: true } => {
                self.stop();
                self.tell(Happening::Refused(reason));
            }
            // It stops, is full, or can't look us up: another time it will be another answer.
            Heard::Refused { .. } | Heard::Over => self.close(),
            Heard::Event { name, payload } => self.tell(Happening::Event { name, payload }),
            Heard::Answer { .. } | Heard::Nothing => {}
        }
    }

    fn tell(&self, happening: Happening) {
        // Whoever is told may send, and more: nothing is borrowed meanwhile.
        let tell = self.0.borrow().tell.clone();
        tell(happening);
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
        set_timeout(move || drop(open), Duration::ZERO);
    }

    fn retry(&self) {
        let wait = self.0.borrow_mut().protocol.wait(js_sys::Math::random());
        let this = self.clone();
        set_timeout(move || this.open(), wait);
    }
}
