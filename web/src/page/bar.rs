//! The bar above the board: what to search for, the market, the time, the order, and what narrows the board.

use leptos::prelude::*;

use super::{
    browser,
    choices::{title_of_bookmaker, title_of_sport},
    select::OneOf,
    shared::list,
    stream::Stream,
};
use crate::{
    text,
    view::{Key, When, key_in, market_title},
};

#[component]
pub(crate) fn Bar(stream: Stream) -> impl IntoView {
    let query = stream.query;
    for name in ["pointerdown", "keydown"] {
        let handle = window_event_listener_untyped(name, |event| browser::close_menus(&event));
        on_cleanup(move || handle.remove());
    }
    view! {
        <search class="bar" aria-label=text::SHOWN>
            <label class="unseen" for="search">{text::SEARCH}</label>
            <input
                id="search" type="search" placeholder=text::SEARCH autocomplete="off"
                prop:value=move || query.with(|query| query.text.clone())
                on:input=move |event| query.update(|query| query.text = event_target_value(&event))
            />
            <Markets stream/>
            <OneOf
                label=text::WHEN options=When::ALL.map(|it| (it.key(), text::when(it))).to_vec()
                chosen=Signal::derive(move || query.with(|query| query.when.key()))
                choose=Box::new(move |key| {
                    query.update(|query| query.when = When::ALL.into_iter().find(|it| it.key() == key).unwrap_or_default());
                })
            />
            <OneOf
                label=text::SORT options=text::SORTS.to_vec()
                chosen=Signal::derive(move || query.with(|query| query.sort))
                choose=Box::new(move |key| query.update(|query| query.sort = key_in(&text::SORTS, &key)))
            />
            <Chips stream/>
        </search>
    }
}

/// What narrows the board. A click removes it.
#[component]
fn Chips(stream: Stream) -> impl IntoView {
    let query = stream.query;
    // A key with the kind of what it names.
    let chips = move || {
        query.with(|query| {
            let sports = query.sports.iter().map(|key| ["s", key].concat().into());
            sports.chain(query.bookmakers.iter().map(|key| ["b", key].concat().into())).collect()
        })
    };
    let draw = move |chip: Key| {
        let (is_sport, key) = (chip.starts_with('s'), Key::from(&chip[1..]));
        let named = key.clone();
        let title = move || if is_sport { title_of_sport(stream, &named) } else { title_of_bookmaker(stream, &named) };
        let remove = move |_| {
            query.update(|query| {
                let chosen = if is_sport { &mut query.sports } else { &mut query.bookmakers };
                chosen.remove(&key);
            });
        };
        view! { <button class="removable" on:click=remove>{title}</button> }.into_any()
    };
    view! { <div class="chips">{list(chips, draw)}</div> }
}

/// The choice of the market that the rows show.
#[component]
fn Markets(stream: Stream) -> impl IntoView {
    const USUAL: [&str; 4] = ["h2h", "spreads", "totals", "outrights"];
    let known = move || {
        let others = stream.markets.get().into_iter().filter(|market| !USUAL.contains(&&**market));
        USUAL.into_iter().map(Key::from).chain(others).collect()
    };
    let draw = move |market: Key| {
        let (value, here) = (market.clone(), market.clone());
        let title = market_title(&market);
        view! {
            <label class="chip">
                <input
                    type="radio" name="market" value=value
                    prop:checked=move || stream.query.with(|query| *query.market == *here)
                    on:change=move |_| stream.query.update(|query| query.market = market.to_string())
                />
                <span>{title}</span>
            </label>
        }
        .into_any()
    };
    view! {
        <fieldset class="chips markets">
            <legend class="unseen">{text::MARKET}</legend>
            {list(known, draw)}
        </fieldset>
    }
}
