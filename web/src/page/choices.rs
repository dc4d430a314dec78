//! The visitor's choices: the regions, and what to show of them.

use std::collections::BTreeSet;

use leptos::{prelude::*, task::spawn_local};
use odds::{Feed, Region};

use super::{api, shared::list, stream::Stream};
use crate::view::{Key, OddsFormat, Query, When, gathered, market_title, pretty};

/// The choice of regions. A change applies at once, on all of the user's pages.
#[component]
pub(crate) fn Regions(stream: Stream) -> impl IntoView {
    let choice = Choice::new(stream);
    let trouble = choice.trouble;
    view! {
        <fieldset class="chips regions">
            <legend>"Regions"</legend>
            {Region::ALL
                .map(|region| {
                    let is_chosen = move || choice.shown().contains(&region);
                    view! {
                        <label class="chip" title=region.name()>
                            <input
                                type="checkbox" name="region" value=region.key() prop:checked=is_chosen
                                on:change=move |event| choice.choose(region, event_target_checked(&event))
                            />
                            <span>{region.key().to_ascii_uppercase()}</span>
                            <span class="unseen">{format!(", {}", region.name())}</span>
                        </label>
                    }
                })
                .collect_view()}
            <span class="error" role="alert">{trouble}</span>
        </fieldset>
    }
}

/// The chosen regions. A choice on this page is shown at once, before the gateway confirms it.
#[derive(Clone, Copy)]
struct Choice {
    stream: Stream,
    /// The choice that the gateway hasn't confirmed yet.
    wanted: RwSignal<Option<Vec<Region>>>,
    trouble: RwSignal<String>,
}

impl Choice {
    fn new(stream: Stream) -> Self {
        Self { stream, wanted: RwSignal::new(None), trouble: RwSignal::new(String::new()) }
    }

    fn shown(self) -> Vec<Region> {
        self.wanted.get().unwrap_or_else(|| self.stream.regions.get())
    }

    fn choose(self, region: Region, chosen: bool) {
        let mut regions = untrack(|| self.shown());
        regions.retain(|it| *it != region);
        if chosen {
            regions.push(region);
        }
        let is_asking = self.wanted.with_untracked(Option::is_some);
        self.wanted.set(Some(regions));
        if !is_asking {
            spawn_local(self.ask());
        }
    }

    /// Sends one request after the other, until the last choice has been sent or a request fails.
    async fn ask(self) {
        while let Some(regions) = self.wanted.try_get_untracked().flatten() {
            let trouble = match api::subscribe(&regions).await {
                _ if self.stream.is_over() => return,
                Ok(subscriptions) => {
                    self.stream.received("subscriptions", &subscriptions);
                    String::new()
                }
                Err(failure) => format!("The regions stay as they were. {failure}"),
            };
            let is_done = |wanted: &Option<_>| !trouble.is_empty() || wanted.as_ref() == Some(&regions);
            if self.wanted.try_with_untracked(is_done) == Some(true) {
                self.wanted.try_set(None);
            }
            self.trouble.try_set(trouble);
        }
    }
}

/// The controls for what the board shows.
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
                choose=Box::new(move |key| {
                    query.update(|query| query.when = When::ALL.into_iter().find(|it| it.key() == key).unwrap_or_default());
                })
            />
            <OneOf
                label="Odds" options=OddsFormat::ALL.map(|it| (it.key(), it.title())).to_vec()
                chosen=Signal::derive(move || query.with(|query| query.format.key()))
                choose=Box::new(move |key| {
                    query.update(|query| query.format = OddsFormat::from_key(&key).unwrap_or_default());
                })
            />
            <Several
                label="Sports" stream known=known_sports title=title_of_sport
                chosen=|query: &mut Query| &mut query.sports
            />
            <Several
                label="Bookmakers" stream known=known_bookmakers title=title_of_bookmaker
                chosen=|query: &mut Query| &mut query.bookmakers
            />
            <Several
                label="My bookmakers" stream known=known_bookmakers title=title_of_bookmaker
                chosen=|query: &mut Query| &mut query.mine
            />
        </search>
    }
}

fn known_sports(stream: Stream) -> Vec<Key> {
    let of = |feed: &Feed| feed.sports.keys().cloned().map(Key::from).collect::<Vec<_>>();
    stream.feeds.with(|feeds| in_order(feeds.values().flat_map(of)))
}

fn title_of_sport(stream: Stream, key: &str) -> String {
    stream.sports.with(|titles| titles.get(key).cloned()).unwrap_or_else(|| pretty(key))
}

fn known_bookmakers(stream: Stream) -> Vec<Key> {
    let of = |feed: &Feed| feed.bookmakers.keys().cloned().map(Key::from).collect::<Vec<_>>();
    stream.feeds.with(|feeds| in_order(feeds.values().flat_map(of)))
}

fn in_order(keys: impl Iterator<Item = Key>) -> Vec<Key> {
    gathered::<_, BTreeSet<Key>>(keys).into_iter().collect()
}

fn title_of_bookmaker(stream: Stream, key: &str) -> String {
    stream.bookmaker(key)
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
            <legend class="unseen">"Market"</legend>
            {list(known, draw)}
        </fieldset>
    }
}

#[component]
fn OneOf(
    label: &'static str,
    options: Vec<(&'static str, &'static str)>,
    chosen: Signal<&'static str>,
    choose: Box<dyn Fn(String)>,
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

/// A menu of checkboxes. If none is checked, all apply.
#[component]
fn Several(
    label: &'static str,
    stream: Stream,
    known: fn(Stream) -> Vec<Key>,
    title: fn(Stream, &str) -> String,
    chosen: fn(&mut Query) -> &mut BTreeSet<Key>,
) -> impl IntoView {
    let of = move || stream.query.with(|query| chosen(&mut query.clone()).clone());
    let count = move || match of().len() {
        0 => String::new(),
        count => format!(" ({count})"),
    };
    let draw = move |key: Key| {
        let (about, here, of_key) = (key.to_string(), key.clone(), key.clone());
        let change = move |event| {
            stream.query.update(|query| {
                let chosen = chosen(query);
                match event_target_checked(&event) {
                    true => chosen.insert(key.clone()),
                    false => chosen.remove(&*key),
                };
            });
        };
        view! {
            <label title=about>
                <input type="checkbox" prop:checked=move || of().contains(&*here) on:change=change/>
                {move || title(stream, &of_key)}
            </label>
        }
        .into_any()
    };
    view! {
        <details class="menu" name="menu">
            <summary>{label} {count}</summary>
            <fieldset>
                <legend class="unseen">{label}</legend>
                <button class="link" type="button" on:click=move |_| stream.query.update(|query| chosen(query).clear())>
                    "None chosen"
                </button>
                {list(move || known(stream), draw)}
            </fieldset>
        </details>
    }
}
