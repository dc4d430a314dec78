//! What can be chosen of sports and bookmakers.

use std::collections::BTreeSet;

use leptos::prelude::*;
use odds::Feed;

use super::{shared::list, stream::Stream};
use crate::{
    text,
    view::{Key, folded, gathered, pretty, sorted},
};

pub(crate) fn known_sports(stream: Stream) -> Vec<Key> {
    let of = |feed: &Feed| feed.sports.keys().cloned().map(Key::from).collect::<Vec<_>>();
    let keys = stream.feeds.with(|feeds| in_order(feeds.values().flat_map(of)));
    sorted(keys, |key| folded(&title_of_sport(stream, key)))
}

pub(crate) fn title_of_sport(stream: Stream, key: &str) -> String {
    stream.sports.with(|titles| titles.get(key).cloned()).unwrap_or_else(|| pretty(key))
}

pub(crate) fn known_bookmakers(stream: Stream) -> Vec<Key> {
    let of = |feed: &Feed| feed.bookmakers.keys().cloned().map(Key::from).collect::<Vec<_>>();
    let keys = stream.feeds.with(|feeds| in_order(feeds.values().flat_map(of)));
    sorted(keys, |key| folded(&title_of_bookmaker(stream, key)))
}

fn in_order(keys: impl Iterator<Item = Key>) -> Vec<Key> {
    gathered::<_, BTreeSet<Key>>(keys).into_iter().collect()
}

pub(crate) fn title_of_bookmaker(stream: Stream, key: &str) -> String {
    stream.bookmaker(key)
}

/// The bookmakers that are shown. If none is checked, all are.
pub(crate) fn bookmakers(stream: Stream) -> AnyView {
    let draw = move |key: Key| {
        let (about, here, of_key) = (key.to_string(), key.clone(), key.clone());
        let change = move |event| {
            stream.query.update(|query| {
                match event_target_checked(&event) {
                    true => query.bookmakers.insert(key.clone()),
                    false => query.bookmakers.remove(&key),
                };
            });
        };
        view! {
            <label title=about>
                <input
                    type="checkbox" prop:checked=move || stream.query.with(|query| query.bookmakers.contains(&here))
                    on:change=change
                />
                {move || title_of_bookmaker(stream, &of_key)}
            </label>
        }
        .into_any()
    };
    view! {
        <button class="link" type="button" on:click=move |_| stream.query.update(|query| query.bookmakers.clear())>
            {text::ALL_BOOKMAKERS}
        </button>
        {list(move || known_bookmakers(stream), draw)}
    }
    .into_any()
}
