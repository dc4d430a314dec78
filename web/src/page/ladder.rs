//! The ranked list of a line: each bookmaker with its prices, back and lay side by side, and when it was last seen.

use std::collections::BTreeSet;

use leptos::{prelude::*, task::spawn_local};
use odds::BookmakerKey;

use super::{
    alerts::{self, Outcome, Target},
    cell::label_of,
    chart::query_of,
    event_view::is_cut_off,
    stream::{Shown, Stream},
    time,
};
use crate::{
    text,
    view::{Key, Line, Offer, OutcomeView, gathered, sorted},
};

/// Draws a line, and its lay prices if there are any. A click on an outcome makes it the choice for the chart.
pub(crate) fn ladder(
    stream: Stream,
    choice: RwSignal<String>,
    shown: &Shown,
    back: &Line,
    lay: Option<&Line>,
) -> AnyView {
    let ranked = stream.ranked.get();
    let labels: Vec<String> = back.outcomes.iter().map(label_of_outcome).collect();
    let place = labels.iter().position(|label| *label == ranked).unwrap_or_default();
    let (across, down) = if lay.is_some() { ("2", "2") } else { ("1", "1") };
    let asked = |label: &str| {
        let event = shown.event.clone().filter(|_| back.marks_best())?;
        let (market, description) = (back.market.as_str().into(), back.description.clone());
        Some(Outcome { event, market, name: label.into(), description })
    };
    let heads = labels.iter().enumerate();
    let head: Vec<AnyView> = heads
        .map(|(at, label)| {
            let charted = query_of(back, &back.outcomes[at]);
            head(stream, label, at == place, across, asked(label), (choice, charted))
        })
        .collect();
    let sides: Vec<AnyView> = if lay.is_some() { labels.iter().map(|_| sides()).collect() } else { Vec::new() };
    let has_sides = lay.is_some();
    let table = Table { stream, shown, back, lay, cut_off: is_cut_off(stream, shown) };
    let rows: Vec<AnyView> = ranking(back, lay, place).iter().map(|bookmaker| table.row(bookmaker)).collect();
    view! {
        <div class="scrolls" tabindex="0" role="region" aria-label=labels.join(", ")>
            <table class="ladder">
                <thead>
                    <tr>
                        <th scope="col" rowspan=down>{text::BOOKMAKER}</th>
                        {head}
                        <th scope="col" class="seen" rowspan=down>{text::SEEN}</th>
                    </tr>
                    <tr class:hidden=!has_sides>{sides}</tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

pub(crate) fn label_of_outcome(outcome: &OutcomeView) -> String {
    label_of(&(outcome.name.clone(), outcome.point))
}

/// The heading of an outcome. A click ranks the bookmakers by its prices and charts them, and its bell sets an alert.
fn head(
    stream: Stream,
    label: &str,
    is_ranked: bool,
    across: &'static str,
    asked: Option<Outcome>,
    (choice, charted): (RwSignal<String>, String),
) -> AnyView {
    let name = label.to_owned();
    let rank = move |_| {
        choice.set(charted.clone());
        stream.ranked.set(name.clone());
    };
    let sorted = is_ranked.then_some("descending");
    view! {
        <th scope="col" colspan=across aria-sort=sorted>
            <button class="link" on:click=rank>{label.to_owned()}</button>
            {asked.map(|asked| {
                let ask = move |_| spawn_local(alerts::set_alert(stream, Target::Outcome(asked.clone())));
                view! { <button class="bell" aria-label=text::bell(label) on:click=ask></button> }
            })}
        </th>
    }
    .into_any()
}

fn sides() -> AnyView {
    view! { <th scope="col">{text::BACK}</th><th scope="col">{text::LAY}</th> }.into_any()
}

/// The bookmakers that offer a line, the best price of the outcome at this place first, and old prices last.
fn ranking(back: &Line, lay: Option<&Line>, place: usize) -> Vec<Key> {
    let outcomes = back.outcomes.iter().chain(lay.iter().flat_map(|lay| &lay.outcomes));
    let offered: BTreeSet<BookmakerKey> = gathered(outcomes.flat_map(|outcome| outcome.offers.keys().cloned()));
    let of = |key: &Key| back.outcomes.get(place).and_then(|outcome| outcome.offers.get(&**key));
    sorted(offered.into_iter().map(Key::from).collect(), |key| match of(key) {
        Some(Offer { price, stale_since, .. }) => {
            let rank = 99_999_999 - (price.to_f64() * 1_000.0).min(99_999_999.0) as i64;
            format!("{} {rank:08} {key}", u8::from(stale_since.is_some()))
        }
        None => format!("2 {key}"),
    })
}

struct Table<'a> {
    stream: Stream,
    shown: &'a Shown,
    back: &'a Line,
    lay: Option<&'a Line>,
    cut_off: bool,
}

impl Table<'_> {
    fn row(&self, bookmaker: &str) -> AnyView {
        let mut cells: Vec<AnyView> = Vec::new();
        for outcome in &self.back.outcomes {
            cells.push(self.cell(Some(outcome), bookmaker, self.back.marks_best(), "back"));
            if let Some(lay) = self.lay {
                let same = lay.outcomes.iter().find(|it| it.name == outcome.name && it.point == outcome.point);
                cells.push(self.cell(same, bookmaker, false, "lay"));
            }
        }
        let name = self.stream.bookmaker(bookmaker);
        view! {
            <tr>
                <th scope="row">{name}</th>
                {cells}
                <td class="seen">{self.seen(bookmaker)}</td>
            </tr>
        }
        .into_any()
    }

    /// When a bookmaker was last seen.
    fn seen(&self, bookmaker: &str) -> String {
        let checked = self.shown.seen.get(bookmaker).copied();
        let offer = || self.back.outcomes.iter().find_map(|outcome| outcome.offers.get(bookmaker));
        checked.or_else(|| Some(offer()?.since)).map(time::clock_to_the_second).unwrap_or_default()
    }

    fn cell(&self, outcome: Option<&OutcomeView>, bookmaker: &str, marks: bool, side: &'static str) -> AnyView {
        let offer = outcome.and_then(|outcome| outcome.offers.get(bookmaker));
        let best = outcome.filter(|_| marks && !self.cut_off).map(OutcomeView::best_bookmakers).unwrap_or_default();
        let is_stale = offer.is_some_and(|offer| offer.stale_since.is_some());
        let at = offer.map(|offer| time::clock_to_the_second(offer.stale_since.unwrap_or(offer.since)));
        let about = format!("{}{}", text::about_price(offer.is_some(), is_stale, false), at.unwrap_or_default());
        let best = if best.iter().any(|key| key.as_str() == bookmaker) { " best-price" } else { "" };
        let class = format!("{side}{best}{}", if is_stale { " stale" } else { "" });
        let format = self.stream.query.with(|query| query.format);
        let text = offer.map(|offer| format.say(offer.price)).unwrap_or_default();
        view! { <td class=class title=about>{text}</td> }.into_any()
    }
}
