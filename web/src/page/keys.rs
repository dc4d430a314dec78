//! The keyboard, and clicks on the board: moving among events and outcomes, opening, searching.

use leptos::{prelude::*, task::spawn_local};
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement, KeyboardEvent, MouseEvent};

use super::{
    alerts::{self, Target},
    browser,
    route::{Route, Router},
    stream::Stream,
};

/// What the keys move among: an event's name and its outcomes.
const STOPS: &str = ".event .open, .event > .row[tabindex]";

/// Follows the keyboard and clicks on the board, until the owner is disposed.
pub(crate) fn follow(stream: Stream, router: Router, sheet: RwSignal<bool>, help: RwSignal<bool>) {
    let handle = window_event_listener_untyped("keydown", move |event| {
        let Some(event) = event.dyn_ref::<KeyboardEvent>() else { return };
        let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
        let is_in =
            |selector: &str| target.as_ref().is_some_and(|it| it.closest(selector).is_ok_and(|it| it.is_some()));
        if event.ctrl_key() || event.meta_key() || event.alt_key() || is_in("dialog") {
            return;
        }
        let key = event.key();
        if key == "Escape" {
            return escape(router, sheet);
        }
        if is_in("input, select, textarea, summary") {
            return;
        }
        match key.as_str() {
            "j" | "ArrowDown" => step(1),
            "k" | "ArrowUp" => step(-1),
            "Enter" if is_in(".event > .row") => open(stream, router, target),
            "p" if is_in(".event") => pin(stream, target),
            "a" if is_in(".event > .row") => set_alert(stream, target),
            "/" => browser::focus_on("search"),
            "?" => help.set(true),
            _ => return,
        }
        event.prevent_default();
    });
    on_cleanup(move || handle.remove());
    let handle = window_event_listener_untyped("click", move |event| {
        if let Some(event) = event.dyn_ref::<MouseEvent>() {
            clicked(stream, router, event);
        }
    });
    on_cleanup(move || handle.remove());
}

fn escape(router: Router, sheet: RwSignal<bool>) {
    if sheet.get_untracked() {
        sheet.set(false);
    } else if let Route::Event(id) = router.get_untracked() {
        router.go(Route::Board);
        browser::focus_on_event(&id);
    }
}

/// Moves the focus among events and outcomes.
fn step(by: i64) {
    let Ok(stops) = document().query_selector_all(STOPS) else { return };
    let stops: Vec<Element> = (0..stops.length()).filter_map(|at| stops.get(at)?.dyn_into().ok()).collect();
    let focused = browser::focused();
    let here = stops.iter().position(|stop| Some(stop) == focused.as_ref());
    let next = here.map_or(0, |here| (here as i64 + by).clamp(0, stops.len() as i64 - 1) as usize);
    if let Some(stop) = stops.get(next) {
        browser::focus(stop);
    }
}

pub(crate) fn event_of(target: Option<Element>) -> Option<String> {
    target?.closest("[data-event]").ok()??.get_attribute("data-event")
}

fn open(stream: Stream, router: Router, target: Option<Element>) {
    if let Some(id) = event_of(target.clone()) {
        stream.ranked.set(target.and_then(|row| row.get_attribute("data-outcome")).unwrap_or_default());
        router.go(Route::Event(id.into()));
    }
}

fn pin(stream: Stream, target: Option<Element>) {
    if let Some(id) = event_of(target) {
        stream.query.update(|query| query.toggle_pin(&id.into()));
    }
}

/// Asks what an alert for the outcome in this row waits for.
fn set_alert(stream: Stream, row: Option<Element>) {
    if let Some(row) = row {
        spawn_local(alerts::set_alert(stream, Target::Row(row)));
    }
}

/// Whether a click hit the bell at the end of an outcome's name, which styles draw.
fn is_on_bell(event: &MouseEvent, target: Option<&Element>) -> bool {
    let cell = target.and_then(|target| target.dyn_ref::<HtmlElement>());
    let is_outcome = |cell: &&HtmlElement| cell.matches(".event > .row > .outcome").unwrap_or_default();
    let has_bell = !browser::is_narrow();
    has_bell && cell.filter(is_outcome).is_some_and(|cell| event.offset_x() > cell.offset_width() - BELL_WIDTH)
}

/// The width of an outcome's bell in pixels.
const BELL_WIDTH: i32 = 26;

/// A click on the board: on a pin, a bell, a name or a row of any event.
fn clicked(stream: Stream, router: Router, event: &MouseEvent) {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    let within = |selector: &str| target.as_ref().and_then(|it| it.closest(selector).ok()?);
    if within(".board").is_none() || browser::opens_elsewhere(event) {
        return;
    }
    if within(".pin").is_some() {
        pin(stream, target);
    } else if is_on_bell(event, target.as_ref()) {
        set_alert(stream, within(".row"));
    } else if let Some(stop) = within(".open, .event > .row") {
        event.prevent_default();
        open(stream, router, Some(stop));
    }
}
