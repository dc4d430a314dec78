//! The board: every event that is shown, with what every bookmaker asks.

use leptos::prelude::*;
use odds::FeedState;

use crate::{
    browser,
    choices::Toolbar,
    event_card::EventCard,
    stream::Stream,
    view::{Query, bookmaker_title},
};

#[component]
pub(crate) fn BoardPage(stream: Stream) -> impl IntoView {
    let columns = move || stream.columns.with(Vec::len).to_string();
    view! {
        <Toolbar stream/>
        <Feeds stream/>
        <main id="board" tabindex="-1">
            <Empty stream/>
            <div
                class="board" role="table" aria-label="Odds by event and bookmaker" data-scrolls=""
                class:hidden=move || stream.order.with(Vec::is_empty)
                style:--columns=columns
                on:pointerenter=move |_| stream.hold(true)
                on:pointerleave=move |_| stream.hold(false)
            >
                <div class="head" role="rowgroup">
                    <div class="row" role="row">
                        <span class="outcome" role="columnheader">"Outcome"</span>
                        <span class="best" role="columnheader">"Best"</span>
                        <For each=move || stream.columns.get() key=Clone::clone let:bookmaker>
                            <span
                                class="bookmaker" role="columnheader" title=bookmaker_title(bookmaker.as_str())
                                class:mine={
                                    let key = bookmaker.clone();
                                    move || stream.query.with(|query| query.mine.contains(key.as_str()))
                                }
                            >
                                {bookmaker_title(bookmaker.as_str())}
                            </span>
                        </For>
                    </div>
                </div>
                <For each=move || stream.order.get() key=Clone::clone let:id>
                    {stream.event(&id).map(|event| view! { <EventCard stream event=event.into()/> })}
                </For>
            </div>
        </main>
    }
}

/// What is wrong with which region, if anything is.
#[component]
fn Feeds(stream: Stream) -> impl IntoView {
    let troubles = Memo::new(move |_| {
        stream.feeds.with(|feeds| {
            let troubled = feeds.values().filter(|feed| feed.state != FeedState::Live);
            let said = troubled.map(|feed| {
                let newest = feed.sports.values().map(|sport| sport.polled_at).max();
                let since = newest.map(|at| format!(" Last seen {}.", browser::clock_to_the_second(at)));
                let reason = feed.reason.clone().unwrap_or_else(|| "no reason is known".into());
                let name = feed.region.name();
                let what =
                    if feed.state == FeedState::Stale { "prices may be old" } else { "there are no live prices" };
                (feed.region, format!("{name}: {what}: {reason}.{}", since.unwrap_or_default()))
            });
            said.collect::<Vec<_>>()
        })
    });
    view! {
        <div role="status" class="troubles">
            <For each=move || troubles.get() key=Clone::clone let:trouble>
                <p class="trouble">{trouble.1}</p>
            </For>
        </div>
    }
}

/// Why there is nothing, and what to do.
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
            return "";
        }
        if stream.regions.with(Vec::is_empty) {
            return if stream.feeds.with(std::collections::BTreeMap::is_empty) { "no regions" } else { "" };
        }
        if stream.loaded.get() { "nothing matches" } else { "reading" }
    });
    move || match why.get() {
        "no regions" => Some(
            view! {
                <div class="empty">
                    <p>"Choose a region above to see its odds."</p>
                </div>
            }
            .into_any(),
        ),
        "nothing matches" => Some(
            view! {
                <div class="empty">
                    <p>"Nothing on the board matches what is chosen."</p>
                    <button class="primary" on:click=clear>"Show everything"</button>
                </div>
            }
            .into_any(),
        ),
        "reading" => Some(
            view! {
                <div class="empty">
                    <p role="status">"Reading the board…"</p>
                </div>
            }
            .into_any(),
        ),
        _ => None,
    }
}
