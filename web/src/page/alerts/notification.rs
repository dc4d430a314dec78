//! Notifications of the browser, for alerts that come while the page is hidden.

use js_sys::{Array, Function, Object, Promise, Reflect};
use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;

use crate::{
    page::{route::Router, stream::Stream},
    text,
    view::{Alert, Key},
};

/// Whether the browser shows notifications.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Permission {
    /// This browser has none, or not at this address.
    Impossible,
    Unasked,
    Granted,
    Denied,
}

impl Permission {
    pub(super) fn now() -> Self {
        let permission = class().and_then(|class| Reflect::get(&class, &"permission".into()).ok()?.as_string());
        match permission.as_deref() {
            None => Self::Impossible,
            Some("granted") => Self::Granted,
            Some("denied") => Self::Denied,
            Some(_) => Self::Unasked,
        }
    }

    /// Asks the visitor.
    pub(super) async fn ask() -> Self {
        let asked = class().and_then(|class| call(&class, "requestPermission")?.dyn_into::<Promise>().ok());
        if let Some(asked) = asked {
            let _ = JsFuture::from(asked).await;
        }
        Self::now()
    }
}

/// The class `Notification`, which not every browser has.
fn class() -> Option<Function> {
    Reflect::get(&window(), &"Notification".into()).ok()?.dyn_into().ok()
}

fn call(object: &JsValue, method: &str) -> Option<JsValue> {
    let method: Function = Reflect::get(object, &method.into()).ok()?.dyn_into().ok()?;
    method.call0(object).ok()
}

/// Shows an alert, if the visitor allowed that. A click on it brings the page to the front, at the alert's event.
pub(super) fn show(stream: Stream, router: Router, payload: &str) {
    let Ok(alert) = serde_json::from_str::<Alert>(payload) else { return };
    if Permission::now() != Permission::Granted || alert.missed || alert.read_at.is_some() {
        return;
    }
    let bookmaker = alert.bookmaker.as_deref().map(|key| stream.bookmaker(key)).unwrap_or_default();
    let body = alert.sentence(None, &bookmaker, stream.query.with_untracked(|query| query.format));
    let options = Object::new();
    let title = Some(alert.title()).filter(|title| !title.is_empty()).unwrap_or_else(|| text::ALERTS.to_owned());
    let event = alert.event.map(Key::from);
    let address = super::route_of(event.as_deref()).path();
    // With the same tag, two tabs show one notification.
    for (name, value) in [("body", &*body), ("tag", &alert.id), ("data", &address)] {
        let _ = Reflect::set(&options, &name.into(), &value.into());
    }
    let arguments = Array::of2(&title.into(), &options);
    let Some(notification) = class().and_then(|class| Reflect::construct(&class, &arguments).ok()) else {
        return show_by_worker(&arguments);
    };
    let (id, shown) = (alert.id, notification.clone());
    let clicked = Closure::once_into_js(move || {
        let _ = window().focus();
        call(&shown, "close");
        if !stream.is_over() {
            super::open(stream, router, &id, event.as_deref());
        }
    });
    let _ = Reflect::set(&notification, &"onclick".into(), &clicked);
}

/// Hands the arguments of a notification to the service worker: on phones, some browsers let no one else show it.
fn show_by_worker(arguments: &Array) {
    let get = |object: &JsValue, name: &str| Reflect::get(object, &name.into()).ok();
    let worker = get(&window().navigator(), "serviceWorker").and_then(|workers| get(&workers, "controller"));
    let Some(worker) = worker.filter(|worker| !worker.is_null()) else { return };
    if let Some(post) = get(&worker, "postMessage").and_then(|post| post.dyn_into::<Function>().ok()) {
        let _ = post.call1(&worker, arguments);
    }
}
