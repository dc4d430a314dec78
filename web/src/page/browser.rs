//! Access to the browser: the address, local storage, the focus, scrolling and visibility.

use std::cell::RefCell;

use js_sys::{Array, Reflect};
use leptos::prelude::{document, request_animation_frame, window};
use odds::Timestamp;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{
    Element, Event, HtmlElement, HtmlInputElement, IntersectionObserver, IntersectionObserverEntry,
    IntersectionObserverInit, MouseEvent, Node, UrlSearchParams,
};

use super::time::now;
use crate::{
    text,
    view::{Pairs, Query},
};

/// The names in local storage: of what is shown, of the visitor's own settings, and of a sign-out that is still to come.
const KEPT_VIEW: &str = "toteboard";
const KEPT_OWN: &str = "toteboard-own";
const SIGN_OUT: &str = "toteboard-sign-out";
/// The name in local storage of who is signed in, for a page that opens without a network.
pub(crate) const ME: &str = "toteboard-me";
/// Where the code of charts and of sparklines is: attributes of the document's root.
pub(crate) const CHART_CODE: &str = "data-chart";
pub(crate) const SPARKLINE_CODE: &str = "data-sparklines";

pub(crate) fn kept(name: &str) -> Option<String> {
    window().local_storage().ok()??.get_item(name).ok()?
}

pub(crate) fn keep(name: &str, text: &str) {
    if let Ok(Some(store)) = window().local_storage() {
        let _ = if text.is_empty() { store.remove_item(name) } else { store.set_item(name, text) };
    }
}

/// Whether the visitor wanted to sign out while the gateway could not be reached.
pub(crate) fn wants_to_sign_out() -> bool {
    kept(SIGN_OUT).is_some()
}

pub(crate) fn want_to_sign_out(wants: bool) {
    keep(SIGN_OUT, if wants { "1" } else { "" });
}

/// The parameters in a text like that of an address.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let Ok(params) = UrlSearchParams::new_with_str(text) else { return Vec::new() };
    let pairs = js_sys::try_iter(&params).ok().flatten().into_iter().flatten();
    let pairs = pairs.filter_map(|pair| {
        let pair: Array = pair.ok()?.dyn_into().ok()?;
        Some((pair.get(0).as_string()?, pair.get(1).as_string()?))
    });
    pairs.collect()
}

pub(crate) fn parameters(pairs: Pairs) -> String {
    let Ok(params) = UrlSearchParams::new() else { return String::new() };
    for (name, value) in pairs {
        params.append(name, &value);
    }
    params.to_string().into()
}

/// Reads what is shown from the address, or as it was last if the address doesn't say; and the visitor's own settings.
pub(crate) fn read_query() -> Query {
    let mut view = pairs(&window().location().search().unwrap_or_default());
    if !view.iter().any(|(name, _)| Query::is_view(name)) {
        view.extend(pairs(&kept(KEPT_VIEW).unwrap_or_default()));
    }
    let mut query = Query::from_pairs(view);
    query.set_own(own_settings());
    query
}

/// The visitor's own settings, as they are kept: another tab may have changed them.
pub(crate) fn own_settings() -> Vec<(String, String)> {
    pairs(&kept(KEPT_OWN).unwrap_or_default())
}

/// Writes what is shown to the address, and all of the query to local storage. Replaces the history entry, so that "back"
/// doesn't undo single keystrokes.
pub(crate) fn write_query(query: &Query) {
    let view = parameters(query.view_pairs());
    if let Ok(history) = window().history() {
        let url = address(&path(), &view);
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&url));
    }
    keep(KEPT_VIEW, &view);
    keep(KEPT_OWN, &parameters(query.own_pairs()));
}

/// The path of the address.
pub(crate) fn path() -> String {
    window().location().pathname().unwrap_or_default()
}

/// Takes the code of a sign-in link from the address, where it doesn't stay.
pub(crate) fn take_sign_in_code() -> Option<String> {
    let hash = window().location().hash().ok()?;
    let code = hash.strip_prefix("#sign-in=")?;
    if let Ok(history) = window().history() {
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&path()));
    }
    Some(code.to_owned())
}

/// Goes to a path, with the same parameters. "Back" returns from there.
pub(crate) fn go(path: &str) {
    let view = window().location().search().unwrap_or_default();
    if let Ok(history) = window().history() {
        let url = address(path, view.trim_start_matches('?'));
        let _ = history.push_state_with_url(&JsValue::NULL, "", Some(&url));
    }
}

fn address(path: &str, view: &str) -> String {
    if view.is_empty() { path.to_owned() } else { format!("{path}?{view}") }
}

/// Sets an attribute of the root element, for styles.
pub(crate) fn mark_root(name: &str, value: &str) {
    if let Some(root) = document().document_element() {
        let _ = root.set_attribute(name, value);
    }
}

/// Sets attributes of the element with this id, if it is there.
pub(crate) fn set_attributes(id: &str, attributes: &[(&str, String)]) {
    let Some(element) = document().get_element_by_id(id) else { return };
    for (name, value) in attributes {
        let _ = element.set_attribute(name, value);
    }
}

/// Loads code, if it isn't loaded yet.
pub(crate) fn load(code: &str) {
    let Some(root) = document().document_element() else { return };
    if let Some(code) = root.get_attribute(code) {
        load_from(&code);
    }
}

/// Loads the code at this path. A module that is loaded already is not loaded again.
pub(crate) fn load_from(path: &str) {
    let Some(root) = document().document_element() else { return };
    if let Ok(script) = document().create_element("script") {
        let _ = script.set_attribute("type", "module");
        let _ = script.set_attribute("src", path);
        let _ = root.insert_before(&script, None);
    }
}

/// Returns whether the screen is so narrow that the board has no columns of bookmakers.
pub(crate) fn is_narrow() -> bool {
    window().match_media("(max-width: 48rem)").ok().flatten().is_some_and(|query| query.matches())
}

pub(crate) fn set_title(view: &str) {
    document().set_title(&format!("{view} – {}", text::NAME));
}

pub(crate) fn focus(element: &Element) {
    if let Some(element) = element.dyn_ref::<HtmlElement>() {
        let _ = element.focus();
    }
}

/// Gives the focus to the element with this id, once it is drawn.
pub(crate) fn focus_soon(id: &'static str) {
    request_animation_frame(move || focus_on(id));
}

/// Gives the focus to an event on the board.
pub(crate) fn focus_on_event(id: &str) {
    if let Ok(Some(link)) = document().query_selector(&format!(".event[data-event=\"{id}\"] .open")) {
        focus(&link);
    }
}

/// Whether a click opens a link in another tab or window.
pub(crate) fn opens_elsewhere(event: &MouseEvent) -> bool {
    event.button() != 0 || event.ctrl_key() || event.meta_key() || event.shift_key()
}

/// Gives the focus to the element with this id.
pub(crate) fn focus_on(id: &str) {
    if let Some(element) = document().get_element_by_id(id) {
        focus(&element);
    }
}

/// Whether the page can't be seen now.
pub(crate) fn is_hidden() -> bool {
    document().hidden()
}

/// Whether an event is about something on the board.
pub(crate) fn is_on_board(event: &Event) -> bool {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    target.is_some_and(|target| target.closest("[data-scrolls]").is_ok_and(|board| board.is_some()))
}

/// Closes the open menu, if this is a press outside of it or the key Escape, which gives the focus to the menu's button.
pub(crate) fn close_menus(event: &Event) {
    let Ok(Some(menu)) = document().query_selector("details.menu[open]") else { return };
    let key = Reflect::get(event, &"key".into()).ok().and_then(|key| key.as_string());
    let is_outside = || {
        let target = event.target().and_then(|target| target.dyn_into::<Node>().ok());
        !menu.contains(target.as_ref())
    };
    if key.map_or_else(is_outside, |key| key == "Escape") {
        let _ = menu.remove_attribute("open");
        if !is_outside() {
            menu.first_element_child().iter().for_each(focus);
        }
    }
}

/// The element that has the focus: it loses it when it moves.
pub(crate) fn focused() -> Option<Element> {
    document().active_element()
}

/// Returns the input with this id, if it exists.
pub(crate) fn input(id: &str) -> Option<HtmlInputElement> {
    document().get_element_by_id(id)?.dyn_into().ok()
}

/// An event that keeps its place on the screen while others appear and disappear above it: the open event if it is in
/// view, or else the topmost event in view, unless the board is scrolled to its top.
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
                let below_head = board.first_element_child()?.get_bounding_client_rect().bottom() as f32;
                let at = |down| document().element_from_point(screen.left() as f32 + 1.0, below_head + down);
                // A league's heading may be there.
                [2.0, 32.0, 64.0].into_iter().find_map(|down| at(down)?.closest(".event").ok()?)?
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
