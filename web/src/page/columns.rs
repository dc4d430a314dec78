//! The choice of the bookmakers whose columns come first, and of those without a column.

use leptos::prelude::*;

use super::{
    choices::{known_bookmakers, title_of_bookmaker},
    shared::list,
    stream::Stream,
};
use crate::{
    text,
    view::{Key, Query},
};

/// The bookmakers: the visitor's own first, in their order.
pub(crate) fn columns(stream: Stream) -> AnyView {
    let known = move || {
        let mine = stream.query.with(|query| query.mine.clone());
        let others = known_bookmakers(stream).into_iter().filter(|key| !mine.contains(key)).collect::<Vec<_>>();
        [mine, others].concat()
    };
    let draw = move |key: Key| column(stream, key);
    let usual = move |_| {
        stream.query.update(|query| {
            query.mine.clear();
            query.hidden.clear();
        });
    };
    view! {
        <button class="link" type="button" on:click=usual>{text::USUAL_COLUMNS}</button>
        {list(known, draw)}
    }
    .into_any()
}

fn column(stream: Stream, key: Key) -> AnyView {
    let name = title_of_bookmaker(stream, &key);
    let change =
        move |change: fn(&mut Query, &Key), key: Key| move |_| stream.query.update(|query| change(query, &key));
    let is =
        move |is: fn(&Query, &Key) -> bool, key: Key| Memo::new(move |_| stream.query.with(|query| is(query, &key)));
    let is_mine = is(|query, key| query.mine.contains(key), key.clone());
    let is_hidden = is(|query, key| query.hidden.contains(key), key.clone());
    view! {
        <div class="column">
            <button
                type="button" class="pin" aria-label=text::mine(&name) aria-pressed=move || is_mine.get().to_string()
                on:click=change(toggle_mine, key.clone())
            >
                {move || if is_mine.get() { "★" } else { "☆" }}
            </button>
            <span class="name">{name.clone()}</span>
            <button
                type="button" class="pin" aria-label=text::earlier(&name) class:hidden=move || !is_mine.get()
                on:click=change(move_up, key.clone())
            >
                "↑"
            </button>
            <button
                type="button" class="pin" aria-label=text::hide(&name) aria-pressed=move || is_hidden.get().to_string()
                on:click=change(toggle_hidden, key)
            >
                {move || if is_hidden.get() { "☐" } else { "☑" }}
            </button>
        </div>
    }
    .into_any()
}

fn toggle_mine(query: &mut Query, key: &Key) {
    let before = query.mine.len();
    query.mine.retain(|mine| mine != key);
    if query.mine.len() == before {
        query.mine.push(key.clone());
    }
}

fn move_up(query: &mut Query, key: &Key) {
    if let Some(place) = query.mine.iter().position(|mine| mine == key).filter(|place| *place > 0) {
        query.mine.swap(place, place - 1);
    }
}

fn toggle_hidden(query: &mut Query, key: &Key) {
    if !query.hidden.remove(key) {
        query.hidden.insert(key.clone());
    }
}
