//! The board: the events that match the query, with every bookmaker's prices.

use leptos::prelude::*;
use odds::FeedState;

use super::{
    browser,
    event_card::EventCard,
    shared::{list, when},
    stream::{Connection, HEADING, Stream},
    time,
};
use crate::{
    text,
    view::{Key, breakable},
};

#[component]
pub(crate) fn BoardPage(stream: Stream, sheet: RwSignal<bool>) -> impl IntoView {
    let columns = move || stream.columns.with(Vec::len).to_string();
    for (name, held) in [("focusin", true), ("keydown", true), ("focusout", false)] {
        let handle = window_event_listener_untyped(name, move |event| {
            if browser::is_on_board(&event) {
                stream.hold(held);
            }
        });
        on_cleanup(move || handle.remove());
    }
    let draw = move |id: Key| match id.strip_prefix(HEADING) {
        Some(title) => heading(title),
        None => stream.event(&id).map(|event| view! { <EventCard stream event=event.into()/> }).into_any(),
    };
    view! {
        <main id="board" tabindex="-1">
            <Empty stream sheet/>
            <Waiting stream/>
            <div
                class="board" role="table" aria-label=text::TABLE data-scrolls="" aria-rowcount="-1"
                class:comfortable=move || stream.query.with(|query| query.density != text::DENSITIES[0].0)
                class:hidden=move || stream.order.with(Vec::is_empty)
                class:connecting=move || stream.connection.get() == Connection::Connecting
                style:--columns=columns
                on:pointerenter=move |_| stream.hold(true)
                on:pointermove=move |_| stream.hold(true)
                on:pointerleave=move |_| stream.hold(false)
            >
                <div class="head" role="rowgroup">
                    <div class="row" role="row">
                        <span class="outcome" role="columnheader">{text::OUTCOME}</span>
                        <span class="best" role="columnheader">{text::BEST}</span>
                        {list(stream.shown_columns(), move |key| column(stream, key))}
                    </div>
                </div>
                {list(move || stream.order.get(), draw)}
            </div>
        </main>
    }
}

fn heading(title: &str) -> AnyView {
    view! {
        <div class="league" role="rowgroup">
            <div role="row"><div role="rowheader"><h2>{title.to_owned()}</h2></div></div>
        </div>
    }
    .into_any()
}

fn column(stream: Stream, bookmaker: Key) -> AnyView {
    let (key, about) = (bookmaker.clone(), bookmaker.to_string());
    let is_mine = move || stream.query.with(|query| query.mine.contains(&key));
    view! {
        <span class="bookmaker" role="columnheader" title=about class:mine=is_mine>
            {move || breakable(&stream.bookmaker(&bookmaker))}
        </span>
    }
    .into_any()
}

/// The problems of each region, if there are any.
#[component]
pub(crate) fn Troubles(stream: Stream) -> impl IntoView {
    let troubles = move || {
        stream.feeds.with(|feeds| {
            let troubled = feeds.values().filter(|feed| feed.state != FeedState::Live || feed.reason.is_some());
            let messages = troubled.map(|feed| {
                let newest = feed.sports.values().map(|sport| sport.polled_at).max();
                let since = newest.map(|at| text::last_seen(&time::clock_to_the_second(at)));
                let reason = feed.reason.as_deref().unwrap_or(text::NO_REASON);
                let what = match feed.state {
                    FeedState::Live => text::SOME_OLD,
                    FeedState::Stale => text::OLD,
                    FeedState::Down => text::NONE_LIVE,
                };
                format!("{}: {what}: {reason}.{}", feed.region.name(), since.unwrap_or_default()).into()
            });
            let mut messages: Vec<Key> = messages.collect();
            if let Some(at) = stream.kept_at.get() {
                messages.push(text::kept(&time::day_and_clock(at, stream.now.get_untracked())).into());
            }
            let refusal = stream.refusal.get();
            if !refusal.is_empty() {
                messages.push(text::refused(&refusal).into());
            }
            messages
        })
    };
    view! {
        <div role="status" class="troubles">
            {list(troubles, |trouble| view! { <p class="trouble">{trouble}</p> }.into_any())}
        </div>
    }
}

/// What has come while the rows are held.
#[component]
fn Waiting(stream: Stream) -> impl IntoView {
    let show = move |_| stream.release();
    view! {
        // Over the board, so that it moves nothing.
        <div class="waiting" role="status">
            {when(
                move || !stream.waiting.with(String::is_empty),
                move || view! { <button class="primary" on:click=show>{stream.waiting}</button> }.into_any(),
            )}
        </div>
    }
}

/// Why the board is empty, and what to do about it.
#[component]
fn Empty(stream: Stream, sheet: RwSignal<bool>) -> impl IntoView {
    let clear = move |_| stream.query.update(|query| *query = query.everything());
    let why = Memo::new(move |_| {
        if !stream.order.with(Vec::is_empty) {
            ""
        } else if stream.regions.with(Vec::is_empty) {
            if stream.feeds.with(std::collections::BTreeMap::is_empty) { text::CHOOSE_REGION } else { "" }
        } else if stream.loaded.get() {
            text::NOTHING
        } else {
            text::READING
        }
    });
    view! {
        <div class="empty" class:hidden=move || why.get().is_empty()>
            <p role="status">{why}</p>
            {when(
                move || why.get() == text::NOTHING,
                move || view! { <button class="primary" on:click=clear>{text::SHOW_EVERYTHING}</button> }.into_any(),
            )}
            <button
                class="primary sheet-button" class:hidden=move || why.get() != text::CHOOSE_REGION
                on:click=move |_| sheet.set(true)
            >
                {text::CHOOSE_REGIONS}
            </button>
        </div>
    }
}
