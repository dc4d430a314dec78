//! The board: the events that match the query, with every bookmaker's prices.

use leptos::prelude::*;
use odds::FeedState;

use super::{
    browser,
    choices::Toolbar,
    event_card::EventCard,
    shared::{list, when},
    stream::Stream,
};
use crate::view::{Key, Query};

#[component]
pub(crate) fn BoardPage(stream: Stream) -> impl IntoView {
    let columns = move || stream.columns.with(Vec::len).to_string();
    let simulated = move || stream.feeds.with(|feeds| feeds.values().any(|it| it.source == "simulator"));
    let banner = || {
        view! { <aside class="banner" aria-label="About these odds">"Simulated odds. Nobody offers these prices."</aside> }
            .into_any()
    };
    view! {
        <Toolbar stream/>
        <main id="board" tabindex="-1">
            <Empty stream/>
            <div
                class="board" role="table" aria-label="Odds by event and bookmaker" data-scrolls=""
                class:hidden=move || stream.order.with(Vec::is_empty)
                style:--columns=columns
                on:pointerenter=move |_| stream.hold(true)
                on:pointermove=move |_| stream.hold(true)
                on:pointerleave=move |_| stream.hold(false)
            >
                <div class="head" role="rowgroup">
                    <div class="row" role="row">
                        <span class="outcome" role="columnheader">"Outcome"</span>
                        <span class="best" role="columnheader">"Best"</span>
                        {list(move || stream.columns.get(), move |key| column(stream, key))}
                    </div>
                </div>
                {list(
                    move || stream.order.get(),
                    move |id| stream.event(&id).map(|event| view! { <EventCard stream event=event.into()/> }).into_any(),
                )}
            </div>
        </main>
        // Below the board, so that a message that appears doesn't move rows under the pointer.
        <Feeds stream/>
        {when(simulated, banner)}
    }
}

fn column(stream: Stream, bookmaker: Key) -> AnyView {
    // A long name is truncated, so the tooltip has the key.
    let (key, about) = (bookmaker.clone(), bookmaker.to_string());
    let is_mine = move || stream.query.with(|query| query.mine.contains(&*key));
    view! {
        <span class="bookmaker" role="columnheader" title=about class:mine=is_mine>
            {move || stream.bookmaker(&bookmaker)}
        </span>
    }
    .into_any()
}

/// The problems of each region, if there are any.
#[component]
fn Feeds(stream: Stream) -> impl IntoView {
    let troubles = move || {
        stream.feeds.with(|feeds| {
            let troubled = feeds.values().filter(|feed| feed.state != FeedState::Live || feed.reason.is_some());
            let messages = troubled.map(|feed| {
                let newest = feed.sports.values().map(|sport| sport.polled_at).max();
                let since = newest.map(|at| format!(" Last seen {}.", browser::clock_to_the_second(at)));
                let reason = feed.reason.clone().unwrap_or_else(|| "no reason is known".into());
                let name = feed.region.name();
                let what = match feed.state {
                    FeedState::Live => "some prices may be old",
                    FeedState::Stale => "prices may be old",
                    FeedState::Down => "there are no live prices",
                };
                format!("{name}: {what}: {reason}.{}", since.unwrap_or_default()).into()
            });
            messages.collect()
        })
    };
    view! {
        <div role="status" class="troubles">
            {list(troubles, |trouble| view! { <p class="trouble">{trouble}</p> }.into_any())}
        </div>
    }
}

/// Why the board is empty, and what to do about it.
#[component]
fn Empty(stream: Stream) -> impl IntoView {
    let clear = move |_| {
        stream.query.update(|query| {
            let (format, mine, pinned) = (query.format, query.mine.clone(), query.pinned.clone());
            *query = Query { format, mine, pinned, ..Query::default() };
        });
    };
    let why = Memo::new(move |_| {
        if !stream.order.with(Vec::is_empty) {
            ""
        } else if stream.regions.with(Vec::is_empty) {
            if stream.feeds.with(std::collections::BTreeMap::is_empty) {
                "Choose a region above to see its odds."
            } else {
                ""
            }
        } else if stream.loaded.get() {
            "Nothing on the board matches what is chosen."
        } else {
            "Reading the board…"
        }
    });
    let can_clear = move || why.get().starts_with("Nothing");
    view! {
        <div class="empty" class:hidden=move || why.get().is_empty()>
            <p role="status">{why}</p>
            {when(
                can_clear,
                move || view! { <button class="primary" on:click=clear>"Show everything"</button> }.into_any(),
            )}
        </div>
    }
}
