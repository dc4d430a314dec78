//! The view of one event, with all of its markets and lines.

use std::sync::Arc;

use leptos::{prelude::*, task::spawn_local};
use odds::EventId;

use super::{
    api::{self, EventInRegion},
    browser,
    chart::chart,
    ladder::{label_of_outcome, ladder},
    route::{Route, Router},
    shared::list,
    stream::{Connection, Opened, Shown, Stream},
    time,
};
use crate::{
    text,
    view::{EventView, Key, Line, market_title, percent},
};

#[component]
pub(crate) fn EventPanel(stream: Stream, router: Router, id: Key) -> impl IntoView {
    // What isn't an id is no event.
    let opened = id.parse::<EventId>().ok().map(|id| Opened::start(stream, id));
    let gone = || RwSignal::new(Arc::new(Shown { loaded: true, ..Shown::default() }));
    let shown = opened.map_or_else(gone, |opened| opened.shown);
    let choice = RwSignal::new(String::new());
    let chart = opened.map(|opened| chart(stream, opened, id.clone(), choice));
    let event = move || shown.with(|shown| shown.event.clone());
    let title = move || {
        let title = event().map_or_else(|| text::EVENT.to_owned(), |event| event.title());
        browser::set_title(&title);
        title
    };
    browser::focus_soon("event-title");
    let back = id.clone();
    let close = move |event: leptos::ev::MouseEvent| {
        event.prevent_default();
        router.go(Route::Board);
        browser::focus_on_event(&back);
    };
    let about = move || {
        let now = stream.now.get();
        event().map(|event| about(&event, now))
    };
    let markets = move || event().map(|event| markets_of(&event)).unwrap_or_default();
    let missing = move || match (event(), shown.with(|shown| shown.loaded)) {
        (Some(_), _) => "",
        (None, true) => text::EVENT_GONE,
        (None, false) => text::WAIT,
    };
    // On a narrow screen it covers the board.
    let role = move || if stream.narrow.get() { "main" } else { "region" };
    let draw = move |market: Key| view! { <Market stream shown choice market/> }.into_any();
    view! {
        <div class="panel" role=role aria-labelledby="event-title">
            <div class="heading">
                <h2 id="event-title" tabindex="-1">{title}</h2>
                <a class="close" href="/" aria-label=text::CLOSE on:click=close>"×"</a>
            </div>
            <p class="about">{about}</p>
            <p class="recorded">{recorded(stream, shown, id)}</p>
            <p role="status">{missing}</p>
            {chart}
            {list(markets, draw)}
        </div>
    }
}

fn about(view: &EventView, now: odds::Timestamp) -> String {
    let start = view.details.commence_time;
    let regions: Vec<String> = view.regions.iter().map(|it| it.key().to_ascii_uppercase()).collect();
    let state = match (view.has_ended, view.has_started(now)) {
        (true, _) => format!(" · {}", text::HAS_ENDED),
        (false, true) => format!(" · {}", text::HAS_STARTED),
        (false, false) => String::new(),
    };
    let when = format!("{} {}", time::day_and_clock(start, now), time::zone(start));
    format!("{} · {when}{state} · {}", view.details.sport_title, regions.join(" "))
}

/// The event's markets; those of lay prices are shown beside their others.
fn markets_of(view: &EventView) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for key in view.lines.iter().map(|line| line.market.as_str()) {
        let is_beside_another = key.strip_suffix("_lay").is_some_and(|back| view.has(back));
        // The lines are in the order of their markets.
        if !is_beside_another && keys.last().is_none_or(|last| **last != *key) {
            keys.push(key.into());
        }
    }
    keys
}

/// Identifies a line within its market: by its outcomes.
fn key_of(line: &Line) -> Key {
    let outcomes = line.outcomes.iter().map(label_of_outcome);
    line.description.clone().into_iter().chain(outcomes).collect::<Vec<_>>().join(" / ").into()
}

/// A market: its main line with all bookmakers, and its other lines.
#[component]
fn Market(stream: Stream, shown: RwSignal<Arc<Shown>>, choice: RwSignal<String>, market: Key) -> impl IntoView {
    let title = market_title(&market);
    let key = StoredValue::new(market);
    let lines = move || {
        let shown = shown.get();
        key.with_value(|key| lines_of(&shown, key).map(key_of).collect::<Vec<_>>())
    };
    let table = move |line: Key| {
        let table = move || {
            let shown = shown.get();
            let market = key.get_value();
            let of_lay = [&market, "_lay"].concat();
            let lay = lines_of(&shown, &of_lay).find(|it| key_of(it) == line).cloned();
            lines_of(&shown, &market)
                .find(|it| key_of(it) == line)
                .map(|back| ladder(stream, choice, &shown, back, lay.as_ref()))
        };
        table.into_any()
    };
    let other = move |line: Key| {
        let name = line.to_string();
        view! { <details class="other"><summary>{name}</summary>{table(line)}</details> }.into_any()
    };
    let margin = move || {
        let shown = shown.get();
        let margin = key.with_value(|key| shown.event.as_ref()?.main_line(key)?.margin());
        margin.filter(|_| !is_cut_off(stream, &shown)).map(|margin| text::margin(margin <= -0.0005, &percent(margin)))
    };
    view! {
        <section class="market">
            <h3>{title} " " <small>{margin}</small></h3>
            {list(move || lines().into_iter().take(1).collect(), table)}
            <h4 class:hidden=move || lines().len() < 2>{text::OTHER_LINES}</h4>
            {list(move || lines().into_iter().skip(1).collect(), other)}
        </section>
    }
}

fn lines_of<'a>(shown: &'a Shown, market: &'a str) -> impl Iterator<Item = &'a Line> {
    let lines = shown.event.iter().flat_map(|event| &event.lines);
    lines.filter(move |line| line.market.as_str() == market)
}

/// Nothing on a board that is cut off may be recommended.
pub(crate) fn is_cut_off(stream: Stream, shown: &Shown) -> bool {
    let is_behind = !shown.loaded && stream.cut_off.get();
    is_behind || stream.connection.with(|connection| *connection != Connection::Live)
}

/// How often the event's prices changed, as recorded. Empty while that is unknown.
fn recorded(stream: Stream, shown: RwSignal<Arc<Shown>>, id: Key) -> impl Fn() -> Option<String> {
    let recorded = RwSignal::new(Vec::<EventInRegion>::new());
    spawn_local(async move {
        if let Ok(regions) = api::event_history(&id).await {
            // The event may be closed by now.
            recorded.try_set(regions);
        }
    });
    move || {
        let shown = shown.get();
        let regions = &shown.event.as_ref()?.regions;
        recorded.with(|recorded| {
            let here = || recorded.iter().filter(|it| regions.contains(&it.region));
            let since = here().map(|it| it.first_seen).min()?;
            let changes: u64 = here().map(|it| it.price_changes).sum();
            Some(text::recorded(changes, &time::day_and_clock(since, stream.now.get_untracked())))
        })
    }
}
