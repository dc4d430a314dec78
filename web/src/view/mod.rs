//! What is shown, as plain values: how the boards of several regions become one, which line an event
//! is shown on, what is best, what is live. Nothing here knows a browser.

mod event;
mod format;
mod freshness;
mod names;
mod query;

use std::sync::Arc;

pub(crate) use event::{EventView, Line, Offer, OutcomeView, merge};
pub(crate) use format::{OddsFormat, day_of, percent};
pub(crate) use freshness::Freshness;
pub(crate) use names::{market_title, pretty, told_apart};
pub(crate) use query::{Query, When};

/// What tells one of a list from the others. Generic code is compiled for each type that it is used with: this is
/// the one type.
pub(crate) type Key = Arc<str>;

/// Sorts by texts. One for all: a sort is compiled for each kind of thing that it sorts.
pub(crate) fn sorted<T>(items: Vec<T>, by: impl Fn(&T) -> String) -> Vec<T> {
    let mut places: Vec<(String, usize)> = items.iter().map(by).zip(0..).collect();
    sort(&mut places);
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    places.into_iter().filter_map(|(_, place)| items[place].take()).collect()
}

fn sort(places: &mut [(String, usize)]) {
    places.sort_unstable();
}

/// Collects without the sorting that `collect` brings along for each kind of set.
pub(crate) fn gathered<T, C: Default + Extend<T>>(items: impl IntoIterator<Item = T>) -> C {
    let mut all = C::default();
    all.extend(items);
    all
}
