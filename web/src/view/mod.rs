//! The page's view model as plain values, independent of the browser: merging the boards of several regions, choosing
//! an event's line, the best price, freshness, and the query.

mod alert;
mod event;
mod format;
mod freshness;
mod names;
mod query;

use std::sync::Arc;

pub(crate) use alert::{Alert, Rule, a_step_better, read_price, written};
pub(crate) use event::{EventView, Line, Offer, OutcomeView, merge, title_of};
pub(crate) use format::{OddsFormat, day_of, fixed, percent, set_decimal_point};
pub(crate) use freshness::Freshness;
pub(crate) use names::{breakable, folded, market_title, pretty, told_apart};
pub(crate) use query::{Pairs, Query, When, key_in};

/// The key of a list item. One type for all lists, because generic code is compiled once per type.
pub(crate) type Key = Arc<str>;

/// Sorts items by a text. The sort itself is compiled only once, for one type, to keep the page small.
pub(crate) fn sorted<T>(items: Vec<T>, by: impl Fn(&T) -> String) -> Vec<T> {
    let mut places: Vec<(String, usize)> = items.iter().map(by).zip(0..).collect();
    sort(&mut places);
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    places.into_iter().filter_map(|(_, place)| items[place].take()).collect()
}

fn sort(places: &mut [(String, usize)]) {
    places.sort_unstable();
}

/// Collects items one by one. `collect` into a set would add sorting code for each type.
pub(crate) fn gathered<T, C: Default + Extend<T>>(items: impl IntoIterator<Item = T>) -> C {
    let mut all = C::default();
    all.extend(items);
    all
}
