//! The bell in the header: how many alerts are unread. It takes what arrives.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use js_sys::Reflect;
use leptos::{prelude::*, task::spawn_local};
use serde::Deserialize;

use super::{READ, notification};
use crate::{
    page::{
        api, browser,
        route::{Route, Router},
        stream::{Connection, Stream},
    },
    text,
    view::Key,
};

/// Of how many alerts the ids are kept, to recognise one that comes again.
const KEPT: usize = 1_000;
/// The number is compared with the gateway's this long after something has changed.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// What the page needs of an alert before it is shown.
#[derive(Deserialize)]
struct Head {
    id: Key,
    #[serde(default)]
    read_at: Option<String>,
}

#[component]
pub(crate) fn Bell(stream: Stream, router: Router) -> impl IntoView {
    let taker = Rc::new(Taker { stream, router, known: RefCell::default(), look_is_due: Cell::default() });
    stream.on_alert({
        let taker = taker.clone();
        Rc::new(move |payload| taker.take(payload))
    });
    Effect::new(move |_| {
        if stream.connection.get() == Connection::Live {
            // What came while the connection was lost is sent now, if the gateway knows after which alert.
            if stream.last_alert().is_some() { taker.look_soon() } else { look(stream) }
        }
    });
    // Another tab has marked some as read.
    let handle = window_event_listener_untyped("storage", move |event| {
        if Reflect::get(&event, &"key".into()).is_ok_and(|key| key == READ) {
            look(stream);
        }
    });
    on_cleanup(move || handle.remove());
    let count = move || match stream.unread.get() {
        0 => String::new(),
        unread @ 1..100 => unread.to_string(),
        _ => "99+".to_owned(),
    };
    let is_here = move || (router.get() == Route::Alerts).then_some("page");
    view! {
        <a class="bell" href=Route::Alerts.path() aria-current=is_here on:click=router.follow(Route::Alerts)>
            <span class="unseen" aria-live="polite">{move || text::alerts(stream.unread.get())}</span>
            <span class="number" aria-hidden="true">{count}</span>
        </a>
    }
}

/// Takes the alerts that arrive.
struct Taker {
    stream: Stream,
    router: Router,
    /// The ids of those that have arrived, the newest last.
    known: RefCell<VecDeque<Key>>,
    look_is_due: Cell<bool>,
}

impl Taker {
    /// Takes the payload of an alert, which may have come before.
    fn take(self: &Rc<Self>, payload: &str) {
        let Ok(Head { id, read_at }) = serde_json::from_str(payload) else { return };
        {
            let mut known = self.known.borrow_mut();
            if known.contains(&id) {
                return;
            }
            if known.len() == KEPT {
                known.pop_front();
            }
            known.push_back(id.clone());
        }
        let stream = self.stream;
        stream.set_last_alert(id);
        if read_at.is_none() {
            stream.unread.update(|unread| *unread += 1);
        }
        stream.alert_changes.update(|changes| *changes += 1);
        self.look_soon();
        if browser::is_hidden() {
            notification::show(stream, self.router, payload);
        }
    }

    fn look_soon(self: &Rc<Self>) {
        if !self.look_is_due.replace(true) {
            let this = self.clone();
            let later = move || {
                this.look_is_due.set(false);
                look(this.stream);
            };
            set_timeout(later, LOOK_AFTER);
        }
    }
}

/// Asks the gateway how many are unread. If something changes meanwhile, the answer has no effect.
fn look(stream: Stream) {
    if stream.is_over() {
        return;
    }
    let before = stream.alert_changes.get_untracked();
    spawn_local(async move {
        let Ok(api::Inbox { alerts, unread, .. }) = api::alerts(1).await else { return };
        if stream.is_over() {
            return;
        }
        let newest = alerts.first().and_then(|alert| serde_json::from_str(alert.get()).ok());
        if let (None, Some(Head { id, .. })) = (stream.last_alert(), newest) {
            stream.set_last_alert(id);
        }
        if stream.alert_changes.get_untracked() == before && stream.unread.get_untracked() != unread {
            stream.unread.set(unread);
        }
    });
}
