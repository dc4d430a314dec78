//! The order of the rows and columns, which stays while the pointer or the focus moves among the rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use leptos::{
    leptos_dom::helpers::set_timeout_with_handle,
    prelude::*,
    task::{spawn_local, tick},
};

use super::{Stream, set_if_new};
use crate::{
    page::{browser::Anchor, time},
    text,
    view::{EventView, Key, gathered, sorted},
};

/// What the keys of headings begin with.
pub(crate) const HEADING: &str = "#";

/// How long rows are held after the pointer left: it may have slipped out, and a finger's click is still to come.
const RELEASE_AFTER: Duration = Duration::from_millis(400);
/// How many events and headings are added at once. More would keep the page busy for too long to answer.
const ADDED_AT_ONCE: usize = 20;
/// How many events and headings are drawn first: as many as a phone shows, so that the first price waits for no others.
const DRAWN_FIRST: usize = 8;
/// How long rows are held while the pointer rests.
const HELD_AT_MOST: Duration = Duration::from_secs(6);

impl Stream {
    /// Decides which events are shown, in which order and with which columns: now, or once rows may move.
    pub(crate) fn arrange(self) {
        let is_held = {
            let inner = self.inner();
            let mut inner = inner.borrow_mut();
            inner.order_is_due = inner.held;
            inner.held
        };
        if is_held {
            let shown: BTreeSet<Key> = gathered(self.order.get_untracked());
            let is_new = |id: &&Key| !id.starts_with(HEADING) && !shown.contains(*id);
            let waiting = match self.wanted_order().iter().filter(is_new).count() {
                0 => String::new(),
                count => text::new_events(count),
            };
            set_if_new(self.waiting, waiting);
            return;
        }
        let anchor = Anchor::find();
        self.arrange_now();
        spawn_local(async move {
            tick().await;
            if let Some(anchor) = anchor {
                anchor.hold();
            }
        });
    }

    /// The events that are to be shown, in order, with headings.
    fn wanted_order(self) -> Vec<Key> {
        let inner = self.inner();
        let inner = inner.borrow();
        let now = self.now.get_untracked();
        let ahead = time::minutes_ahead(now);
        let query = self.query.get_untracked();
        let views: Vec<Arc<EventView>> = inner.events.values().map(ArcRwSignal::get_untracked).collect();
        let is_offered = |view: &&Arc<EventView>| view.has(&query.market);
        let shown = views.iter().filter(is_offered).filter(|view| query.shows(view, now, ahead));
        let moved = |view: &EventView| {
            let first = inner.first_prices.get(&view.id).map(Vec::as_slice).unwrap_or_default();
            let shares =
                first.iter().zip(view.best_prices(&query.market)).map(|(first, now)| (now / first - 1.0).abs());
            shares.filter(|share| *share < 1.0).fold(0.0, f64::max)
        };
        let mut order = Vec::new();
        let mut heading = None;
        for view in sorted(shown.collect(), |view| query.place_of(view, now, moved(view))) {
            let here = query.heading(view, now);
            if let Some(title) = here.filter(|_| here != heading) {
                order.push([HEADING, title].concat().into());
            }
            heading = here;
            order.push(view.id.clone().into());
        }
        order
    }

    pub(super) fn arrange_now(self) {
        let mut order = self.wanted_order();
        let most = match self.order.with_untracked(Vec::len) {
            0 => DRAWN_FIRST,
            shown => shown + ADDED_AT_ONCE,
        };
        if order.len() > most {
            order.truncate(most);
            let go_on = move || {
                if !self.is_over() {
                    self.arrange_now();
                }
            };
            set_timeout(go_on, Duration::ZERO);
        }
        let (columns, markets, sports) = {
            let inner = self.inner();
            let inner = inner.borrow();
            let query = self.query.get_untracked();
            let views: Vec<Arc<EventView>> = inner.events.values().map(ArcRwSignal::get_untracked).collect();
            let mut columns: BTreeSet<Key> = BTreeSet::new();
            let mut markets: BTreeSet<Key> = BTreeSet::new();
            let mut sports = self.sports.get_untracked();
            let (mut counts, mut started) = (BTreeMap::<String, usize>::new(), 0);
            let now = self.now.get_untracked();
            for view in &views {
                sports.insert(view.details.sport_key.as_str().to_owned(), view.details.sport_title.clone());
                if view.has(&query.market) {
                    *counts.entry(view.details.sport_key.as_str().to_owned()).or_default() += 1;
                    started += usize::from(view.has_started(now));
                }
                for line in &view.lines {
                    markets.insert(line.market.clone().into());
                    if line.market.as_str() == query.market {
                        columns.extend(line.outcomes.iter().flat_map(|it| it.offers.keys().cloned()).map(Key::from));
                    }
                }
            }
            let shown = |key: &Key| columns.contains(key) && !query.hidden.contains(key);
            let mine: Vec<Key> = query.mine.iter().filter(|key| shown(key)).cloned().collect();
            let others = columns.iter().filter(|key| shown(key) && !query.mine.contains(key)).cloned();
            let columns = mine.into_iter().chain(others).collect();
            // Of sports that are left out, the last number stays.
            let mut known = if query.sports.is_empty() { BTreeMap::new() } else { self.counts.get_untracked() };
            known.extend(counts);
            set_if_new(self.counts, known);
            set_if_new(self.started, started);
            (columns, markets, sports)
        };
        set_if_new(self.waiting, String::new());
        set_if_new(self.order, order);
        set_if_new(self.columns, columns);
        self.markets.update(|known| known.extend(markets));
        set_if_new(self.sports, sports);
    }

    /// Holds the rows in place while the pointer or the focus is among them, but not for long while nothing moves; and for
    /// a moment after: a finger's click comes after the finger has left, and must find the row that it pressed.
    pub(crate) fn hold(self, held: bool) {
        let inner = self.inner();
        let mut inner = inner.borrow_mut();
        inner.held = true;
        let after = if held { HELD_AT_MOST } else { RELEASE_AFTER };
        let timer = set_timeout_with_handle(move || self.release(), after).ok();
        if let Some(before) = std::mem::replace(&mut inner.release, timer) {
            before.clear();
        }
    }

    /// Lets the rows move, and moves them if that is due.
    pub(crate) fn release(self) {
        if self.is_over() {
            return;
        }
        let due = {
            let inner = self.inner();
            let mut inner = inner.borrow_mut();
            inner.held = false;
            inner.order_is_due
        };
        if due {
            self.arrange();
        }
    }
}
