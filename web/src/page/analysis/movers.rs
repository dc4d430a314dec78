//! What moved most, by the consensus of the bookmakers.

use leptos::prelude::*;
use odds::{Decimal, Region, Timestamp};
use serde::Deserialize;

use super::{EventHead, Found, choice, label, market_of, markets};
use crate::{
    page::{browser, route::Router, shared::list, stream::Stream, time},
    text,
    view::{Key, percent},
};

#[derive(Deserialize)]
struct Answer {
    from: Option<Timestamp>,
    movers: Vec<Mover>,
}

/// An outcome whose consensus has changed.
#[derive(Debug, Deserialize)]
struct Mover {
    event: EventHead,
    market: String,
    description: Option<String>,
    outcome: String,
    point: Option<Decimal>,
    first: f64,
    last: f64,
    change: f64,
    first_price: Decimal,
    last_price: Decimal,
    bookmakers: usize,
    moved_with: usize,
}

impl Mover {
    fn key(&self) -> String {
        let Self { event, market, description, .. } = self;
        [&*event.id, market, description.as_deref().unwrap_or_default(), &*self.label()].join(" ")
    }

    fn label(&self) -> String {
        label(&self.outcome, self.point)
    }
}

#[component]
pub(crate) fn MoversPage(stream: Stream, router: Router) -> impl IntoView {
    let since = RwSignal::new(text::SINCE[1].0.to_owned());
    let first_region = stream.regions.with_untracked(|regions| regions.first().copied());
    let region = RwSignal::new(first_region.unwrap_or(Region::Uk).key().to_owned());
    let market = RwSignal::new(stream.query.with_untracked(|query| query.market.clone()));
    let path = move || {
        let since = match since.get() {
            minutes if minutes.starts_with(|it: char| it.is_ascii_digit()) => ("minutes", minutes),
            since => ("since", since),
        };
        let query = browser::parameters(vec![("region", region.get()), ("market", market.get()), since]);
        ["/api/movers?limit=50&", &query].concat()
    };
    // What is compared with now: later than was asked for if less is recorded.
    let from = RwSignal::new(None::<Timestamp>);
    let found = Found::follow(path, move |answer: Answer| {
        from.set(answer.from);
        answer.movers.into_iter().map(|it| (it.key(), it)).collect()
    });
    let about = move || {
        let since = from.get().map(|from| text::compared_with(&time::clock_to_the_second(from)));
        [text::ABOUT_MOVERS, &since.unwrap_or_default()].join(" ")
    };
    let regions = Region::ALL.map(|it| (it.key().to_owned(), it.name().to_owned())).to_vec();
    let times = text::SINCE.map(|(key, title)| (key.to_owned(), title.to_owned())).to_vec();
    view! {
        <main class="settings wide">
            <h2>{text::MOVERS}</h2>
            <section class="card">
                <div class="chips">
                    {choice(text::WHEN, times, since)}
                    {choice(text::REGIONS, regions, region)}
                    {choice(text::MARKET, markets(stream), market)}
                </div>
                <p class="hint">{about}</p>
                {found.state(text::NOTHING_MOVED)}
                <div class="scrolls" tabindex="0" role="region" aria-label=text::MOVERS>
                    <table class="ladder" class:hidden=move || found.all.with(Vec::is_empty)>
                        <thead>
                            <tr>
                                <th scope="col">{text::EVENT}</th>
                                {text::MOVER_COLUMNS.map(|title| view! { <th scope="col">{title}</th> }).collect_view()}
                            </tr>
                        </thead>
                        <tbody>{list(move || found.keys(), move |key| row(stream, router, found, &key))}</tbody>
                    </table>
                </div>
            </section>
        </main>
    }
}

fn row(stream: Stream, router: Router, found: Found<Mover>, key: &Key) -> AnyView {
    let Some(mover) = found.find(key) else { return ().into_any() };
    let market = market_of(&mover.market, mover.description.as_deref());
    let price = move |price: Decimal| stream.query.with(|query| query.format).say(price);
    let change = found.text(key, |it| {
        let arrow = if it.change > 0.0 { "▲" } else { "▼" };
        [arrow, &percent(it.change.abs())].concat()
    });
    view! {
        <tr>
            <th scope="row">{mover.event.link(router, &[&mover.label(), &market])}</th>
            <td>{change}</td>
            <td>{found.text(key, |it| [&*percent(it.first), " → ", &percent(it.last)].concat())}</td>
            <td>{found.text(key, move |it| [&*price(it.first_price), " → ", &price(it.last_price)].concat())}</td>
            <td>{found.text(key, |it| text::some_of(it.moved_with, it.bookmakers))}</td>
        </tr>
    }
    .into_any()
}
