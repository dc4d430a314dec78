//! What people choose: regions, and what of them is shown.

use std::collections::BTreeSet;

use leptos::{prelude::*, task::spawn_local};
use odds::Region;

use crate::{
    api,
    stream::Stream,
    view::{OddsFormat, Query, When, bookmaker_title, market_title, pretty},
};

/// The regions, all in sight; a change applies at once, everywhere.
#[component]
pub(crate) fn Regions(stream: Stream) -> impl IntoView {
    let trouble = RwSignal::new(String::new());
    let choose = move |region: Region, chosen: bool| {
        let mut regions = stream.regions.get_untracked();
        regions.retain(|it| *it != region);
        if chosen {
            regions.push(region);
        }
        spawn_local(async move {
            match api::subscribe(&regions).await {
                Ok(()) => trouble.set(String::new()),
                Err(failure) => {
                    trouble.set(format!("The regions stay as they were. {failure}"));
                    // The boxes show again what is.
                    stream.regions.notify();
                }
            }
        });
    };
    view! {
        <fieldset class="chips regions">
            <legend>"Regions"</legend>
            {Region::ALL
                .map(|region| {
                    let is_chosen = move || stream.regions.with(|regions| regions.contains(&region));
                    view! {
                        <label class="chip" title=region.name()>
                            <input
                                type="checkbox" name="region" value=region.key() prop:checked=is_chosen
                                on:change=move |event| choose(region, event_target_checked(&event))
                            />
                            <span>{region.key().to_uppercase()}</span>
                            <span class="unseen">{format!(", {}", region.name())}</span>
                        </label>
                    }
                })
                .collect_view()}
            <span class="error" role="alert">{trouble}</span>
        </fieldset>
    }
}

/// What of the regions is shown.
#[component]
pub(crate) fn Toolbar(stream: Stream) -> impl IntoView {
    let query = stream.query;
    view! {
        <search class="toolbar" aria-label="What is shown">
            <label class="unseen" for="search">"Search teams"</label>
            <input
                id="search" type="search" placeholder="Search teams" autocomplete="off"
                prop:value=move || query.with(|query| query.text.clone())
                on:input=move |event| query.update(|query| query.text = event_target_value(&event))
            />
            <Markets stream/>
            <OneOf
                label="When" options=When::ALL.map(|it| (it.key(), it.title())).to_vec()
                chosen=Signal::derive(move || query.with(|query| query.when.key()))
                choose=move |key: String| {
                    query.update(|query| query.when = When::ALL.into_iter().find(|it| it.key() == key).unwrap_or_default());
                }
            />
            <OneOf
                label="Odds" options=OddsFormat::ALL.map(|it| (it.key(), it.title())).to_vec()
                chosen=Signal::derive(move || query.with(|query| query.format.key()))
                choose=move |key: String| {
                    query.update(|query| query.format = OddsFormat::from_key(&key).unwrap_or_default());
                }
            />
            <Several
                label="Sports" stream
                known=Signal::derive(move || known_sports(stream))
                chosen=|query: &mut Query| &mut query.sports
            />
            <Several
                label="Bookmakers" stream
                known=Signal::derive(move || known_bookmakers(stream))
                chosen=|query: &mut Query| &mut query.bookmakers
            />
            <Several
                label="My bookmakers" stream
                known=Signal::derive(move || known_bookmakers(stream))
                chosen=|query: &mut Query| &mut query.mine
            />
        </search>
    }
}

type Named = Vec<(String, String)>;

fn known_sports(stream: Stream) -> Named {
    let titles = stream.sports.get();
    let keys: BTreeSet<String> = stream
        .feeds
        .with(|feeds| feeds.values().flat_map(|feed| feed.sports.keys().map(|key| key.as_str().to_owned())).collect());
    keys.into_iter().map(|key| (key.clone(), titles.get(&key).cloned().unwrap_or_else(|| pretty(&key)))).collect()
}

fn known_bookmakers(stream: Stream) -> Named {
    let keys: BTreeSet<String> = stream.feeds.with(|feeds| {
        feeds.values().flat_map(|feed| feed.bookmakers.keys().map(|key| key.as_str().to_owned())).collect()
    });
    keys.into_iter().map(|key| (key.clone(), bookmaker_title(&key))).collect()
}

/// Which market the rows show.
#[component]
fn Markets(stream: Stream) -> impl IntoView {
    const USUAL: [&str; 4] = ["h2h", "spreads", "totals", "outrights"];
    let known = Memo::new(move |_| {
        let others = stream.markets.get().into_iter().map(|market| market.as_str().to_owned());
        let others = others.filter(|market| !USUAL.contains(&market.as_str()));
        USUAL.into_iter().map(str::to_owned).chain(others).collect::<Vec<_>>()
    });
    view! {
        <fieldset class="chips markets">
            <legend class="unseen">"Market"</legend>
            <For each=move || known.get() key=Clone::clone let:market>
                {
                    let (value, here) = (market.clone(), market.clone());
                    let title = market_title(&market);
                    view! {
                        <label class="chip">
                            <input
                                type="radio" name="market" value=value
                                prop:checked=move || stream.query.with(|query| query.market == here)
                                on:change=move |_| stream.query.update(|query| query.market = market.clone())
                            />
                            <span>{title}</span>
                        </label>
                    }
                }
            </For>
        </fieldset>
    }
}

#[component]
fn OneOf(
    label: &'static str,
    options: Vec<(&'static str, &'static str)>,
    chosen: Signal<&'static str>,
    choose: impl Fn(String) + 'static,
) -> impl IntoView {
    view! {
        <label class="select">
            <span class="unseen">{label}</span>
            <select prop:value=move || chosen.get() on:change=move |event| choose(event_target_value(&event))>
                {options
                    .into_iter()
                    .map(|(key, title)| view! { <option value=key selected=move || chosen.get() == key>{title}</option> })
                    .collect_view()}
            </select>
        </label>
    }
}

/// A list of boxes that opens; none checked means all.
#[component]
fn Several(
    label: &'static str,
    stream: Stream,
    known: Signal<Named>,
    chosen: fn(&mut Query) -> &mut BTreeSet<String>,
) -> impl IntoView {
    let known = Memo::new(move |_| known.get());
    let of = move || stream.query.with(|query| chosen(&mut query.clone()).clone());
    let count = move || match of().len() {
        0 => String::new(),
        count => format!(" ({count})"),
    };
    view! {
        <details class="menu">
            <summary>{label} {count}</summary>
            <fieldset>
                <legend class="unseen">{label}</legend>
                <button class="link" type="button" on:click=move |_| stream.query.update(|query| chosen(query).clear())>
                    "None chosen"
                </button>
                <For each=move || known.get() key=|(key, _)| key.clone() let:item>
                    {
                        let (key, title) = item;
                        let here = key.clone();
                        view! {
                            <label>
                                <input
                                    type="checkbox" prop:checked=move || of().contains(&here)
                                    on:change=move |event| {
                                        stream.query.update(|query| {
                                            let chosen = chosen(query);
                                            match event_target_checked(&event) {
                                                true => chosen.insert(key.clone()),
                                                false => chosen.remove(&key),
                                            };
                                        });
                                    }
                                />
                                {title}
                            </label>
                        }
                    }
                </For>
            </fieldset>
        </details>
    }
}
