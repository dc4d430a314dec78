//! Access to the browser: time and locale, the address, local storage, scrolling and visibility.

use std::cell::RefCell;

use js_sys::{Array, Date, Object, Reflect};
use leptos::prelude::{document, request_animation_frame, window};
use odds::Timestamp;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{
    Element, HtmlInputElement, IntersectionObserver, IntersectionObserverEntry, IntersectionObserverInit,
    UrlSearchParams,
};

use crate::view::{Query, day_of};

const KEPT: &str = "toteboard";

/// Returns the time by this machine's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(Date::now() as i64)
}

fn date(moment: Timestamp) -> Date {
    let millis = moment.millis_since(Timestamp::from_millis(0));
    Date::new(&JsValue::from_f64(millis as f64))
}

/// Returns by how many minutes the visitor's time zone is ahead of UTC at that time.
pub(crate) fn minutes_ahead(moment: Timestamp) -> i64 {
    -date(moment).get_timezone_offset() as i64
}

fn formatted(moment: Timestamp, options: &[(&str, &str)]) -> String {
    let object = Object::new();
    for (name, value) in options {
        let _ = Reflect::set(&object, &(*name).into(), &(*value).into());
    }
    date(moment).to_locale_string("default", &object).into()
}

/// Formats a time like 15:00, in the visitor's time zone and locale.
pub(crate) fn clock(moment: Timestamp) -> String {
    formatted(moment, &[("hour", "2-digit"), ("minute", "2-digit")])
}

/// Formats a time like 15:00:07, in the visitor's time zone. Called thousands of times, so it avoids the browser's slow
/// localised formatting.
pub(crate) fn clock_to_the_second(moment: Timestamp) -> String {
    thread_local!(static AHEAD: i64 = minutes_ahead(now()));
    let millis = moment.millis_since(Timestamp::from_millis(0)) + AHEAD.with(|ahead| ahead * 60_000);
    let seconds = millis.div_euclid(1_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Formats a day: today, tomorrow, yesterday, or the date.
pub(crate) fn day(moment: Timestamp, now: Timestamp) -> String {
    let of = |moment| day_of(moment, minutes_ahead(moment));
    match of(moment) - of(now) {
        0 => "Today".into(),
        1 => "Tomorrow".into(),
        -1 => "Yesterday".into(),
        _ => formatted(moment, &[("weekday", "short"), ("day", "numeric"), ("month", "short")]),
    }
}

/// Reads the query from the address, or from local storage if the address has none.
pub(crate) fn read_query() -> Query {
    let search = window().location().search().unwrap_or_default();
    let kept = || window().local_storage().ok().flatten().and_then(|store| store.get_item(KEPT).ok().flatten());
    let text = if search.len() > 1 { search } else { kept().unwrap_or_default() };
    let Ok(params) = UrlSearchParams::new_with_str(&text) else { return Query::default() };
    let pairs = js_sys::try_iter(&params).ok().flatten().into_iter().flatten();
    let pairs = pairs.filter_map(|pair| {
        let pair: Array = pair.ok()?.dyn_into().ok()?;
        Some((pair.get(0).as_string()?, pair.get(1).as_string()?))
    });
    Query::from_pairs(pairs)
}

/// Writes the query to the address and to local storage. Replaces the history entry, so that "back" doesn't undo single
/// keystrokes.
pub(crate) fn write_query(query: &Query) {
    let Ok(params) = UrlSearchParams::new() else { return };
    for (name, value) in query.pairs() {
        params.append(name, &value);
    }
    let text: String = params.to_string().into();
    let location = window().location();
    let path = location.pathname().unwrap_or_default();
    let hash = location.hash().unwrap_or_default();
    let url = if text.is_empty() { format!("{path}{hash}") } else { format!("{path}?{text}{hash}") };
    if let Ok(history) = window().history() {
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&url));
    }
    if let Ok(Some(store)) = window().local_storage() {
        let _ = store.set_item(KEPT, &text);
    }
}

/// Returns the input with this id, if it exists.
pub(crate) fn input(id: &str) -> Option<HtmlInputElement> {
    document().get_element_by_id(id)?.dyn_into().ok()
}

/// An event that keeps its place on the screen while others appear and disappear above it: an open event in view, or
/// else the topmost event in view, unless the board is scrolled to its top.
#[derive(Clone)]
pub(crate) struct Anchor {
    board: Element,
    event: Element,
    top: f64,
    /// The board's scroll offset when the event was at `top`.
    scrolled: i32,
}

/// The event that is held in its place, and until when.
type Held = Option<(Anchor, Timestamp)>;

thread_local!(static HELD: RefCell<Held> = const { RefCell::new(None) });

impl Anchor {
    pub(crate) fn find() -> Option<Self> {
        let board = document().query_selector("[data-scrolls]").ok()??;
        let screen = board.get_bounding_client_rect();
        let is_in_sight = |event: &Element| {
            let rect = event.get_bounding_client_rect();
            rect.top() < screen.bottom() && rect.bottom() > screen.top()
        };
        let opened = board.query_selector(".event.open").ok()?.filter(is_in_sight);
        let scrolled = board.scroll_top();
        let event = match opened {
            Some(event) => event,
            None if scrolled == 0 => return None,
            None => {
                let below_head = board.first_element_child()?.get_bounding_client_rect().bottom() + 1.0;
                let edge = document().element_from_point(screen.left() as f32 + 1.0, below_head as f32)?;
                edge.closest(".event").ok()??
            }
        };
        // While rows above it are being drawn, the event may not be in its place, so the position held is used.
        let held = HELD.with_borrow(|held| held.as_ref().filter(|(it, _)| it.event == event).map(|(it, _)| it.clone()));
        Some(held.unwrap_or_else(|| Self { top: event.get_bounding_client_rect().top(), board, event, scrolled }))
    }

    /// Holds the event in its place by scrolling, until it hasn't moved for a while: rows above it get their height
    /// only when they are drawn. Ends when the visitor scrolls or another event is held.
    pub(crate) fn hold(self) {
        let held = (self, now().plus_millis(SETTLES_WITHIN));
        if HELD.replace(Some(held)).is_none() {
            in_each_frame();
        }
    }

    /// Scrolls if the event has moved. Returns what was done, or that the event need not be held any longer.
    fn correct(&mut self) -> Correction {
        if !self.event.is_connected() {
            return Correction::Over;
        }
        let moved = self.event.get_bounding_client_rect().top() - self.top;
        let scrolled = self.board.scroll_top();
        let by_hand = scrolled - self.scrolled;
        if by_hand != 0 && (moved + f64::from(by_hand)).abs() <= 1.0 {
            return Correction::Over;
        }
        self.scrolled = scrolled;
        if moved.round() == 0.0 {
            return Correction::None;
        }
        self.board.set_scroll_top(scrolled + moved.round() as i32);
        self.scrolled = self.board.scroll_top();
        // At the end of the board it can't scroll further, unless rows below are still to be drawn.
        if self.scrolled == scrolled { Correction::None } else { Correction::Made }
    }
}

enum Correction {
    None,
    Made,
    Over,
}

/// Corrects the held event's place in every animation frame, until it need not be held any longer.
fn in_each_frame() {
    let goes_on = HELD.with_borrow_mut(|held| {
        let Some((anchor, until)) = held else { return false };
        match anchor.correct() {
            Correction::None if now() <= *until => {}
            Correction::Made => *until = now().plus_millis(SETTLES_WITHIN),
            Correction::None | Correction::Over => *held = None,
        }
        held.is_some()
    });
    if goes_on {
        request_animation_frame(in_each_frame);
    }
}

const SETTLES_WITHIN: i64 = 1_000;

/// Calls back when an element comes near the visible area and when it leaves, until it is dropped.
pub(crate) struct Watch {
    observer: IntersectionObserver,
    _callback: Closure<dyn FnMut(Array)>,
}

impl Watch {
    pub(crate) fn start(element: &Element, on_change: impl Fn(bool) + 'static) -> Option<Self> {
        let callback = Closure::<dyn FnMut(Array)>::new(move |entries: Array| {
            for entry in entries.iter() {
                let entry: IntersectionObserverEntry = entry.unchecked_into();
                on_change(entry.is_intersecting());
            }
        });
        let options = IntersectionObserverInit::new();
        options.set_root(element.closest("[data-scrolls]").ok().flatten().as_ref());
        options.set_root_margin("600px 0px");
        let observer = IntersectionObserver::new_with_options(callback.as_ref().unchecked_ref(), &options).ok()?;
        observer.observe(element);
        Some(Self { observer, _callback: callback })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.observer.disconnect();
    }
}
