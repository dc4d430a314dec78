//! The order of the rows and columns, which stays while the pointer is among the rows.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use leptos::{
    leptos_dom::helpers::set_timeout_with_handle,
    prelude::*,
    task::{spawn_local, tick},
};

use super::{Stream, set_if_new};
use crate::{
    page::browser::{self, Anchor},
    view::{EventView, Key, sorted},
};

/// How long rows are held after the pointer left: it may have slipped out, and a finger's click is still to come.
const RELEASE_AFTER: Duration = Duration::from_millis(400);

impl Stream {
    /// Decides which events are shown, in which order and with which columns: now, or once rows may move.
    pub(crate) fn arrange(self) {
        let is_held = {
            let inner = self.inner();
            let mut inner = inner.borrow_mut();
            inner.order_is_due = inner.held;
            inner.held
        };
        if !is_held {
            let anchor = Anchor::find();
            self.arrange_now();
            spawn_local(async move {
                tick().await;
                if let Some(anchor) = anchor {
                    anchor.hold();
                }
            });
        }
    }

    pub(super) fn arrange_now(self) {
        let (order, columns, markets, sports) = {
            let inner = self.inner();
            let inner = inner.borrow();
            let now = self.now.get_untracked();
            let ahead = browser::minutes_ahead(now);
            let query = self.query.get_untracked();
            let views: Vec<Arc<EventView>> = inner.events.values().map(ArcRwSignal::get_untracked).collect();
            let is_offered = |view: &&Arc<EventView>| view.has(&query.market) || self.is_open(&view.id);
            let shown = views.iter().filter(is_offered).filter(|view| query.shows(view, now, ahead));
            let shown = sorted(shown.collect(), |view| query.place_of(view, now));
            let mut columns: BTreeSet<Key> = BTreeSet::new();
            let mut markets: BTreeSet<Key> = BTreeSet::new();
            let mut sports = self.sports.get_untracked();
            for view in &views {
                sports.insert(view.details.sport_key.as_str().to_owned(), view.details.sport_title.clone());
                for line in &view.lines {
                    markets.insert(line.market.clone().into());
                    if line.market.as_str() == query.market {
                        columns.extend(line.outcomes.iter().flat_map(|it| it.offers.keys().cloned()).map(Key::from));
                    }
                }
            }
            let (mine, others): (Vec<Key>, Vec<Key>) = columns.into_iter().partition(|key| query.mine.contains(&**key));
            let columns = [mine, others].concat();
            let order: Vec<Key> = shown.into_iter().map(|view| view.id.clone().into()).collect();
            (order, columns, markets, sports)
        };
        set_if_new(self.order, order);
        set_if_new(self.columns, columns);
        self.markets.update(|known| known.extend(markets));
        set_if_new(self.sports, sports);
    }

    /// Holds the rows in place while the pointer is among them, and for a moment after: a finger's click comes after the
    /// finger has left, and must find the row that it pressed.
    pub(crate) fn hold(self, held: bool) {
        let release = move || {
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
        };
        let inner = self.inner();
        let mut inner = inner.borrow_mut();
        inner.held = true;
        let timer = if held { None } else { set_timeout_with_handle(release, RELEASE_AFTER).ok() };
        if let Some(before) = std::mem::replace(&mut inner.release, timer) {
            before.clear();
        }
    }
}
