//! Copies changed boards into the signals of their events.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use client::ChangedEvents;
use leptos::prelude::*;
use odds::{EventId, Timestamp};

use super::{Stream, set_if_new};
use crate::{page::time, view::gathered};

/// The least time between two drawings.
const DRAWN_EVERY_MS: i64 = 200;

impl Stream {
    pub(super) fn tick(self) {
        self.look_at_the_clock();
        // No frame announces that an event starts.
        if self.now.get_untracked().millis_since(Timestamp::from_millis(0)) / 1_000 % 10 == 0 {
            self.arrange();
        }
    }

    /// Shows which prices have become old: no frame announces that.
    pub(super) fn look_at_the_clock(self) {
        let inner = self.inner();
        let changed = {
            let mut inner = inner.borrow_mut();
            let clock = time::now();
            self.now.set(inner.boards.server_time(clock));
            inner.boards.look_at(clock)
        };
        if changed {
            self.draw(ChangedEvents::All);
        }
    }

    /// Draws everything that arrives until the next animation frame at once: a few times a second, because each drawing
    /// costs the browser more than a changed price.
    pub(super) fn flush_soon(self) {
        let wait = {
            let inner = self.inner();
            let mut inner = inner.borrow_mut();
            if std::mem::replace(&mut inner.flush_is_due, true) {
                return;
            }
            DRAWN_EVERY_MS - time::now().millis_since(inner.drawn_at).clamp(0, DRAWN_EVERY_MS)
        };
        set_timeout(move || request_animation_frame(move || self.flush()), Duration::from_millis(wait as u64));
    }

    fn flush(self) {
        if self.is_over() {
            return;
        }
        let touched = {
            let inner = self.inner();
            let mut inner = inner.borrow_mut();
            inner.flush_is_due = false;
            inner.drawn_at = time::now();
            inner.boards.take_changed()
        };
        self.draw(touched);
    }

    fn draw(self, touched: ChangedEvents) {
        let inner = self.inner();
        let mut changed = Vec::new();
        let mut rearrange = matches!(touched, ChangedEvents::All);
        {
            let mut inner = inner.borrow_mut();
            let ids: BTreeSet<EventId> = match touched {
                ChangedEvents::Some(ids) => ids,
                ChangedEvents::All => gathered(inner.events.keys().cloned().chain(inner.boards.event_ids())),
            };
            let market = self.query.with_untracked(|query| query.market.clone());
            for id in ids {
                match inner.boards.event(&id) {
                    // While the rows are held, it is still shown.
                    None => {
                        if let Some(signal) = inner.events.remove(&id) {
                            changed.push((signal.clone(), Arc::new(signal.get_untracked().ended())));
                            rearrange = true;
                        }
                    }
                    Some(view) => match inner.events.get(&id) {
                        Some(signal) => {
                            rearrange |= signal.with_untracked(|before| {
                                before.details != view.details || before.has(&market) != view.has(&market)
                            });
                            if signal.with_untracked(|before| **before != view) {
                                changed.push((signal.clone(), Arc::new(view)));
                            }
                        }
                        None => {
                            inner.first_prices.entry(id.clone()).or_insert_with(|| view.best_prices(&market));
                            inner.events.insert(id, ArcRwSignal::new(Arc::new(view)));
                            rearrange = true;
                        }
                    },
                }
            }
            let loaded = inner.boards.is_loaded();
            if self.loaded.get_untracked() != loaded {
                self.loaded.set(loaded);
            }
            if loaded && self.cut_off.get_untracked() {
                self.cut_off.set(false);
                set_if_new(self.kept_at, None);
            }
        }
        for (signal, view) in changed {
            signal.set(view);
        }
        let is_first = self.order.with_untracked(Vec::is_empty) && !self.loaded.get_untracked();
        if rearrange && is_first {
            // In a task of its own: on a slow phone, preparing the events takes long, and so does drawing them.
            let arrange = move || {
                if !self.is_over() {
                    self.arrange();
                }
            };
            set_timeout(arrange, Duration::ZERO);
        } else if rearrange {
            self.arrange();
        }
    }
}
