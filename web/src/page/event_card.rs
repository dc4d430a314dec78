//! One event on the board: its line with a row for each outcome and a cell for each bookmaker.

use std::sync::Arc;

use leptos::{html, prelude::*};
use send_wrapper::SendWrapper;

use super::{
    browser::Watch,
    cell::{Best, Cell, OutcomeKey, find, label_of},
    route::Route,
    shared::{list, when},
    stream::Stream,
    time,
};
use crate::{
    text,
    view::{EventView, Key, Line, day_of, percent},
};

pub(crate) type Event = RwSignal<Arc<EventView>>;

/// The first events of a board are drawn at once, because they are in sight. Others are drawn when they come near.
const DRAWN_AT_ONCE: usize = 20;

#[component]
pub(crate) fn EventCard(stream: Stream, event: Event) -> impl IntoView {
    let id = event.with_untracked(|view| view.id.clone());
    let node: NodeRef<html::Div> = NodeRef::new();
    let is_near = RwSignal::new(stream.order.with_untracked(Vec::len) <= DRAWN_AT_ONCE);
    Effect::new(move |_| {
        let Some(element) = node.get() else { return };
        let watch = Watch::start(&element, move |near| is_near.set(near));
        let watch = SendWrapper::new(watch);
        on_cleanup(move || drop(watch));
    });
    let is_open = {
        let id = id.clone();
        Memo::new(move |_| stream.opened.with(|opened| opened.as_deref() == Some(id.as_str())))
    };
    let places = Memo::new(move |_| {
        let market = stream.query.with(|query| query.market.clone());
        event.with(|view| view.main_line(&market).map(places_of).unwrap_or_default())
    });
    let labels = move || places.with(|places| places.iter().map(|place| label_of(place).into()).collect());
    let draw = move |label: Key| {
        let place = places.with_untracked(|places| places.iter().find(|place| label_of(place) == *label).cloned());
        place.map(|place| view! { <OutcomeRow stream event place/> }).into_any()
    };
    let content = move || {
        let nobody =
            || view! { <div class="row none" role="row"><span role="cell">{text::NOBODY}</span></div> }.into_any();
        view! {
            <Title stream event/>
            {list(labels, draw)}
            {when(move || places.with(Vec::is_empty), nobody)}
        }
        .into_any()
    };
    // Reserves the height before the content is drawn, so that rows below don't jump.
    let rows = move || places.with(Vec::len).max(1).to_string();
    view! {
        <div
            class="event" role="rowgroup" node_ref=node style:--rows=rows
            data-event=id.as_str().to_owned() class:open=move || is_open.get()
        >
            {when(move || is_near.get(), content)}
        </div>
    }
}

fn places_of(line: &Line) -> Vec<OutcomeKey> {
    line.outcomes.iter().map(|outcome| (outcome.name.clone(), outcome.point)).collect()
}

#[component]
fn Title(stream: Stream, event: Event) -> impl IntoView {
    let id = event.with_untracked(|view| view.id.clone());
    let title = Memo::new(move |_| event.with(|view| view.title()));
    let details = Memo::new(move |_| event.with(|view| view.details.clone()));
    // A memo of the day, because depending on the clock would redraw every title every second.
    let today = Memo::new(move |_| day_of(stream.now.get(), time::minutes_ahead(stream.now.get())));
    let is_pinned = {
        let id = id.clone();
        Memo::new(move |_| stream.query.with(|query| query.pinned.contains(id.as_str())))
    };
    let ended = move || event.with(|view| view.has_ended);
    let started = Memo::new(move |_| details.with(|details| details.commence_time <= stream.now.get()) && !ended());
    let about = Memo::new(move |_| {
        today.track();
        let by_league = stream.query.with(|query| query.sort == text::SORTS[0].0) && !is_pinned.get();
        let has_started = started.get();
        details.with(|details| {
            let when = time::day_and_clock(details.commence_time, stream.now.get_untracked());
            match (by_league, has_started) {
                (true, false) => when,
                // The heading says that they have started.
                (true, true) => details.sport_title.clone(),
                (false, _) => format!("{} · {when}", details.sport_title),
            }
        })
    });
    let margin = Memo::new(move |_| {
        let market = stream.query.with(|query| query.market.clone());
        let Some(margin) = event.with(|view| view.main_line(&market).and_then(Line::margin)) else {
            return ("badge margin-soon", String::new());
        };
        // A margin that is shown as 0.0 % is not an arbitrage.
        let is_arbitrage = margin <= -0.0005;
        let class = match (stream.cut_off.get(), is_arbitrage) {
            // Invisible: only its place is kept, so that nothing moves when it is known to be live.
            (true, true) => "badge arbitrage-soon",
            (true, false) => "badge margin-soon",
            (false, true) => "badge arbitrage",
            (false, false) => "badge margin",
        };
        (class, text::margin(is_arbitrage, &percent(margin)))
    });
    let path = Route::Event(id.into()).path();
    view! {
        <div class="title" role="row">
            <div class="sticky" role="rowheader">
                <button
                    class="pin" tabindex="-1" aria-pressed=move || is_pinned.get().to_string()
                    aria-label=move || text::pin(&title.get())
                >
                    {move || if is_pinned.get() { "★" } else { "☆" }}
                </button>
                <h3>
                    <a class="open" href=path>{title}</a>
                    <span class="about">
                        {when(move || started.get(), || view! { <span class="badge started">{text::HAS_STARTED}</span> }.into_any())}
                        {when(ended, || view! { <span class="badge ended">{text::HAS_ENDED}</span> }.into_any())}
                        <span>{about}</span>
                        <span class=move || margin.get().0 title=text::ABOUT_MARGINS>{move || margin.get().1}</span>
                    </span>
                </h3>
            </div>
        </div>
    }
}

#[component]
fn OutcomeRow(stream: Stream, event: Event, place: OutcomeKey) -> impl IntoView {
    let label = label_of(&place);
    let place = StoredValue::new(place);
    let best = Memo::new(move |_| {
        let is_live = !stream.cut_off.get();
        // On a narrow screen, this is the only price.
        if !is_live && !stream.narrow.get() {
            return None;
        }
        let market = stream.query.with(|query| query.market.clone());
        event.with(|view| {
            let (line, outcome) = place.with_value(|place| find(view, &market, place))?;
            let best = if is_live { outcome.best() } else { outcome.highest() };
            let (bookmaker, offer) = best.filter(|_| line.marks_best())?;
            let bookmakers = if is_live { outcome.best_bookmakers() } else { vec![bookmaker] };
            let bookmakers = bookmakers.into_iter().map(|key| Key::from(key.clone())).collect();
            Some(Best { price: offer.price, bookmakers, is_live })
        })
    });
    let best_text = move || {
        best.get().map(|Best { price, bookmakers, is_live }| {
            let price = stream.query.with(|query| query.format).say(price);
            let more = match bookmakers.len() - 1 {
                0 => String::new(),
                others => format!(" +{others}"),
            };
            let class = if is_live { "price" } else { "last stale" };
            view! {
                <span class=class>{price}</span>
                <span class="by" title=bookmakers.join(", ")>
                    {stream.bookmaker(&bookmakers[0])} <span class="more">{more}</span>
                </span>
            }
        })
    };
    view! {
        <div class="row" role="row" tabindex="-1" data-outcome=label.clone()>
            <span class="outcome" role="rowheader">{label.clone()}</span>
            <span class="best" role="cell">{best_text}</span>
            {list(
                stream.shown_columns(),
                move |bookmaker| view! { <Cell stream event place best bookmaker/> }.into_any(),
            )}
        </div>
    }
}
