//! The rail at the left of wide screens, with views, regions, sports and settings of the display. On narrow screens, it
//! is part of the sheet that comes from below.

use leptos::prelude::*;

use super::{
    choices::{known_sports, title_of_sport},
    extra::extra_links,
    menu::{Menu, menu},
    regions::Regions,
    route::{Route, Router},
    select::OneOf,
    shared::{later, list},
    stream::Stream,
    time,
};
use crate::{
    text,
    view::{Key, OddsFormat, When, key_in},
};

#[component]
pub(crate) fn Side(
    stream: Stream,
    router: Router,
    more: bool,
    sign_out: Callback<()>,
    help: RwSignal<bool>,
) -> impl IntoView {
    view! {
        <aside class="side" aria-label=text::FILTERS>
            <nav aria-label=text::VIEWS class:with-extra=more>
                {link(router, Route::Board, text::BOARD)}
                {link(router, Route::Movers, text::MOVERS)}
                {link(router, Route::Opportunities, text::OPPORTUNITIES)}
                {link(router, Route::Alerts, text::ALERTS)}
                {more.then(|| later(extra_links(stream, router)))}
            </nav>
            <Regions stream/>
            <Sports stream/>
            {menu(stream, Menu::Bookmakers)}
            {menu(stream, Menu::Columns)}
            <Display stream/>
            <nav class="account" aria-label=text::ACCOUNT>
                {link(router, Route::Settings, text::SETTINGS)}
                <button class="link" on:click=move |_| help.set(true)>{text::SHORTCUTS}</button>
                <button class="link" on:click=move |_| sign_out.run(())>{text::SIGN_OUT}</button>
            </nav>
            <p class="hint zone">{move || text::times_in(&time::zone(stream.now.get_untracked()))}</p>
        </aside>
    }
}

fn link(router: Router, to: Route, title: &'static str) -> AnyView {
    let (path, here) = (to.path(), to.clone());
    let is_here = move || match (router.get(), &here) {
        (Route::Event(_), Route::Board) => true,
        (route, here) => route == *here,
    };
    view! {
        <a href=path aria-current=move || is_here().then_some("page") on:click=router.follow(to)>{title}</a>
    }
    .into_any()
}

/// The sports with how many events each has. If none is chosen, all are shown.
#[component]
fn Sports(stream: Stream) -> impl IntoView {
    let query = stream.query;
    let is_live = move || query.with(|query| query.when == When::Started);
    let toggle_live = move |_| {
        query.update(|query| query.when = if query.when == When::Started { When::Any } else { When::Started });
    };
    let draw = move |key: Key| {
        let (here, counted, name) = (key.clone(), key.clone(), key.clone());
        let count = move || stream.counts.with(|counts| counts.get(&*counted).copied()).map(|count| count.to_string());
        let change = move |_| {
            query.update(|query| {
                if !query.sports.remove(&key) {
                    query.sports.insert(key.clone());
                }
            });
        };
        view! {
            <label>
                <input type="checkbox" prop:checked=move || query.with(|query| query.sports.contains(&here)) on:change=change/>
                <span>{move || title_of_sport(stream, &name)}</span>
                <span class="count">{count}</span>
            </label>
        }
        .into_any()
    };
    view! {
        <fieldset class="pick">
            <legend>{text::SPORTS}</legend>
            <label>
                <input type="checkbox" prop:checked=is_live on:change=toggle_live/>
                <span class="live">{text::LIVE_NOW}</span>
                <span class="count">{move || stream.started.get().to_string()}</span>
            </label>
            {list(move || known_sports(stream), draw)}
        </fieldset>
    }
}

/// How everything is shown.
#[component]
fn Display(stream: Stream) -> impl IntoView {
    let query = stream.query;
    view! {
        <fieldset class="display">
            <legend>{text::DISPLAY}</legend>
            <OneOf
                label=text::ODDS options=OddsFormat::ALL.map(|it| (it.key(), text::format(it))).to_vec()
                chosen=Signal::derive(move || query.with(|query| query.format.key()))
                choose=Box::new(move |key| {
                    query.update(|query| query.format = OddsFormat::from_key(&key).unwrap_or_default());
                })
            />
            <OneOf
                label=text::DENSITY options=text::DENSITIES.to_vec()
                chosen=Signal::derive(move || query.with(|query| query.density))
                choose=Box::new(move |key| query.update(|query| query.density = key_in(&text::DENSITIES, &key)))
            />
            <OneOf
                label=text::THEME options=text::THEMES.to_vec()
                chosen=Signal::derive(move || query.with(|query| query.theme))
                choose=Box::new(move |key| query.update(|query| query.theme = key_in(&text::THEMES, &key)))
            />
        </fieldset>
    }
}
