//! What only the browser knows: the time and how people here write it, the address, what was kept.

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

/// By this machine's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(Date::now() as i64)
}

fn date(moment: Timestamp) -> Date {
    let millis = moment.millis_since(Timestamp::from_millis(0));
    Date::new(&JsValue::from_f64(millis as f64))
}

/// How far the reader's clock is ahead of UTC at that moment.
pub(crate) fn minutes_ahead(moment: Timestamp) -> i64 {
    -date(moment).get_timezone_offset() as i64
}

fn written(moment: Timestamp, options: &[(&str, &str)]) -> String {
    let object = Object::new();
    for (name, value) in options {
        let _ = Reflect::set(&object, &(*name).into(), &(*value).into());
    }
    date(moment).to_locale_string("default", &object).into()
}

/// 15:00, in the reader's zone and manner.
pub(crate) fn clock(moment: Timestamp) -> String {
    written(moment, &[("hour", "2-digit"), ("minute", "2-digit")])
}

/// 15:00:07. Written thousands of times, so without asking the browser how people here would.
pub(crate) fn clock_to_the_second(moment: Timestamp) -> String {
    thread_local!(static AHEAD: i64 = minutes_ahead(now()));
    let millis = moment.millis_since(Timestamp::from_millis(0)) + AHEAD.with(|ahead| ahead * 60_000);
    let seconds = millis.div_euclid(1_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// Today, tomorrow, or the date.
pub(crate) fn day(moment: Timestamp, now: Timestamp) -> String {
    let of = |moment| day_of(moment, minutes_ahead(moment));
    match of(moment) - of(now) {
        0 => "Today".into(),
        1 => "Tomorrow".into(),
        -1 => "Yesterday".into(),
        _ => written(moment, &[("weekday", "short"), ("day", "numeric"), ("month", "short")]),
    }
}

/// What the address says; without a word there, what was kept.
pub(crate) fn read_query() -> Query {
    let said = window().location().search().unwrap_or_default();
    let kept = || window().local_storage().ok().flatten().and_then(|store| store.get_item(KEPT).ok().flatten());
    let text = if said.len() > 1 { said } else { kept().unwrap_or_default() };
    let Ok(params) = UrlSearchParams::new_with_str(&text) else { return Query::default() };
    let pairs = js_sys::try_iter(&params).ok().flatten().into_iter().flatten();
    let pairs = pairs.filter_map(|pair| {
        let pair: Array = pair.ok()?.dyn_into().ok()?;
        Some((pair.get(0).as_string()?, pair.get(1).as_string()?))
    });
    Query::from_pairs(pairs)
}

/// Puts it into the address, without a step back for every letter, and keeps it.
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

/// The input of this id, if it is there.
pub(crate) fn input(id: &str) -> Option<HtmlInputElement> {
    document().get_element_by_id(id)?.dyn_into().ok()
}

/// An event that stays where it is on the screen while others come and go above it: one that is open, else the first
/// in sight, unless that is the first of all.
#[derive(Clone)]
pub(crate) struct Anchor {
    board: Element,
    event: Element,
    top: f64,
    /// How far the board was scrolled when it was there.
    scrolled: i32,
}

/// The one that is held in its place, and until when.
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
        // If rows above it are being drawn just now, it may be elsewhere than it belongs.
        let held = HELD.with_borrow(|held| held.as_ref().filter(|(it, _)| it.event == event).map(|(it, _)| it.clone()));
        Some(held.unwrap_or_else(|| Self { top: event.get_bounding_client_rect().top(), board, event, scrolled }))
    }

    /// Scrolls by what the event has moved, until nothing has moved it for a while: rows above it get their height
    /// only when they are drawn. A scroll by hand ends it, and so does another event that is to stay.
    pub(crate) fn hold(self) {
        let held = (self, now().plus_millis(SETTLES_WITHIN));
        if HELD.replace(Some(held)).is_none() {
            in_each_frame();
        }
    }

    /// Whether it is in its place, has been put there, or has to be looked at no longer.
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
        // At the board's end there is no room for it, unless rows below are yet to be drawn.
        if self.scrolled == scrolled { Correction::None } else { Correction::Made }
    }
}

enum Correction {
    None,
    Made,
    Over,
}

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

/// Calls when something comes near the screen, and when it leaves. It goes on until it is dropped.
pub(crate) struct Watch {
    observer: IntersectionObserver,
    _tell: Closure<dyn FnMut(Array)>,
}

impl Watch {
    pub(crate) fn start(element: &Element, tell: impl Fn(bool) + 'static) -> Option<Self> {
        let tell = Closure::<dyn FnMut(Array)>::new(move |entries: Array| {
            for entry in entries.iter() {
                let entry: IntersectionObserverEntry = entry.unchecked_into();
                tell(entry.is_intersecting());
            }
        });
        let options = IntersectionObserverInit::new();
        options.set_root(element.closest("[data-scrolls]").ok().flatten().as_ref());
        options.set_root_margin("600px 0px");
        let observer = IntersectionObserver::new_with_options(tell.as_ref().unchecked_ref(), &options).ok()?;
        observer.observe(element);
        Some(Self { observer, _tell: tell })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.observer.disconnect();
    }
}
