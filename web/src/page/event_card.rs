//! One event: its line with a row for each outcome and a cell for each bookmaker. A cell is updated only when its own
//! price changes.

use std::sync::Arc;

use leptos::{html, prelude::*};
use odds::{Decimal, Timestamp};
use send_wrapper::SendWrapper;

use super::{
    browser::{self, Watch},
    shared::{list, when},
    stream::Stream,
};
use crate::view::{EventView, Key, Line, OddsFormat, Offer, OutcomeView, day_of, market_title, percent};

type Event = RwSignal<Arc<EventView>>;

/// Identifies an outcome within a line: its name and point.
type OutcomeKey = (String, Option<Decimal>);

#[component]
pub(crate) fn EventCard(stream: Stream, event: Event) -> impl IntoView {
    let id = event.with_untracked(|view| view.id.clone());
    let node: NodeRef<html::Div> = NodeRef::new();
    let is_near = RwSignal::new(false);
    Effect::new(move |_| {
        let Some(element) = node.get() else { return };
        let watch = Watch::start(&element, move |near| is_near.set(near));
        let watch = SendWrapper::new(watch);
        on_cleanup(move || drop(watch));
    });
    let is_open = {
        let id = id.clone();
        Memo::new(move |_| stream.opened.with(|opened| opened.contains(id.as_str())))
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
        let nobody = || {
            view! { <div class="row none" role="row"><span role="cell">"Nobody offers this market."</span></div> }
                .into_any()
        };
        view! {
            <Title stream event is_open/>
            {list(labels, draw)}
            {when(move || places.with(Vec::is_empty), nobody)}
            {when(move || is_open.get(), move || view! { <AllLines stream event/> }.into_any())}
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
fn Title(stream: Stream, event: Event, is_open: Memo<bool>) -> impl IntoView {
    let id = event.with_untracked(|view| view.id.clone());
    let title = Memo::new(move |_| event.with(|view| view.title()));
    let details = Memo::new(move |_| event.with(|view| (view.details.clone(), view.regions.clone())));
    // A memo of the day, because depending on the clock would redraw every title every second.
    let today = Memo::new(move |_| day_of(stream.now.get(), browser::minutes_ahead(stream.now.get())));
    let about = Memo::new(move |_| {
        today.track();
        details.with(|(details, regions)| {
            let start = details.commence_time;
            let when = format!("{} {}", browser::day(start, stream.now.get_untracked()), browser::clock(start));
            let regions: Vec<String> = regions.iter().map(|it| it.key().to_ascii_uppercase()).collect();
            format!("{} · {when} · {}", details.sport_title, regions.join(" "))
        })
    });
    let started = move || details.with(|(details, _)| details.commence_time <= stream.now.get());
    let margin = Memo::new(move |_| {
        let market = stream.query.with(|query| query.market.clone());
        let margin = event.with(|view| view.main_line(&market).and_then(Line::margin));
        // A margin that is shown as 0.0 % is not an arbitrage.
        margin.map(|margin| (margin <= -0.0005, percent(margin)))
    });
    let toggle = {
        let id = id.clone();
        move |_| {
            stream.opened.update(|opened| {
                if !opened.remove(id.as_str()) {
                    opened.insert(id.clone().into());
                }
            });
        }
    };
    let is_pinned = {
        let id = id.clone();
        Memo::new(move |_| stream.query.with(|query| query.pinned.contains(id.as_str())))
    };
    let pin = move |_| {
        stream.query.update(|query| {
            if !query.pinned.remove(id.as_str()) {
                query.pinned.insert(id.clone().into());
            }
        });
    };
    view! {
        <div class="title" role="row">
            <div class="sticky" role="cell">
                <button
                    class="pin" aria-pressed=move || is_pinned.get().to_string()
                    aria-label=move || format!("Pin {}", title.get()) on:click=pin
                >
                    {move || if is_pinned.get() { "★" } else { "☆" }}
                </button>
                <button class="open" aria-expanded=move || is_open.get().to_string() on:click=toggle>{title}</button>
                {when(started, || view! { <span class="badge started">"started"</span> }.into_any())}
                <span class="about">{about}</span>
                {move || {
                    margin
                        .get()
                        .map(|(is_arbitrage, margin)| match is_arbitrage {
                            true => view! { <span class="badge arbitrage">{format!("arbitrage {margin}")}</span> },
                            false => view! { <span class="badge margin">{format!("margin {margin}")}</span> },
                        })
                }}
            </div>
        </div>
    }
}

fn find<'a>(view: &'a EventView, market: &str, place: &OutcomeKey) -> Option<(&'a Line, &'a OutcomeView)> {
    let line = view.main_line(market)?;
    let outcome = line.outcomes.iter().find(|it| it.name == place.0 && it.point == place.1)?;
    Some((line, outcome))
}

#[component]
fn OutcomeRow(stream: Stream, event: Event, place: OutcomeKey) -> impl IntoView {
    let label = label_of(&place);
    let place = StoredValue::new(place);
    let best = Memo::new(move |_| {
        let market = stream.query.with(|query| query.market.clone());
        event.with(|view| {
            let (line, outcome) = place.with_value(|place| find(view, &market, place))?;
            let (bookmaker, offer) = outcome.best().filter(|_| line.marks_best())?;
            Some((Key::from(bookmaker.clone()), offer.price))
        })
    });
    let best_text = move || {
        best.get().map(|(bookmaker, price)| {
            let price = stream.query.with(|query| query.format).say(price);
            view! {
                <span class="price">{price}</span>
                <span class="by" title=bookmaker.to_string()>{stream.bookmaker(&bookmaker)}</span>
            }
        })
    };
    view! {
        <div class="row" role="row">
            <span class="outcome" role="rowheader" title=label.clone()>{label.clone()}</span>
            <span class="best" role="cell">{best_text}</span>
            {list(
                move || stream.columns.get(),
                move |bookmaker| view! { <Cell stream event place best bookmaker/> }.into_any(),
            )}
        </div>
    }
}

fn label_of((name, point): &OutcomeKey) -> String {
    match point {
        Some(point) if ["Over", "Under"].contains(&name.as_str()) => format!("{name} {point}"),
        Some(point) if point.to_f64() > 0.0 => format!("{name} +{point}"),
        Some(point) => format!("{name} {point}"),
        None => name.clone(),
    }
}

/// What a cell shows.
#[derive(Clone, Debug, Default, PartialEq)]
struct Look {
    offer: Option<Offer>,
    /// When the offer was removed.
    gone: Option<Timestamp>,
    /// The class for the last price move. Two equal moves in a row have different classes, so that the animation
    /// restarts.
    moved: &'static str,
    is_best: bool,
}

impl Look {
    /// Returns the look of a cell with this offer, given its previous look.
    fn after(before: Option<&Self>, offer: Option<Offer>, is_best: bool, now: Timestamp) -> Self {
        let Some(before) = before else { return Self { offer, is_best, ..Self::default() } };
        let price = |offer: &Option<Offer>| offer.as_ref().map(|offer| offer.price);
        let (moved, gone) = match (price(&before.offer), price(&offer)) {
            (Some(from), Some(to)) if to > from => (if before.moved == "up" { "up again" } else { "up" }, None),
            (Some(from), Some(to)) if to < from => (if before.moved == "down" { "down again" } else { "down" }, None),
            (Some(_), Some(_)) => (before.moved, None),
            (None, Some(_)) => ("", None),
            (Some(_), None) => ("", Some(now)),
            (None, None) => ("", before.gone),
        };
        Self { offer, gone, moved, is_best }
    }

    fn class(&self) -> String {
        let is_stale = self.offer.as_ref().is_some_and(|offer| offer.stale_since.is_some());
        let stale = if is_stale { "stale" } else { self.moved };
        let best = if self.is_best { "best-price" } else { "" };
        format!("cell {best} {stale}")
    }

    fn text(&self, format: OddsFormat) -> String {
        match (&self.offer, self.gone) {
            (Some(offer), _) => format.say(offer.price),
            (None, Some(_)) => "–".to_owned(),
            (None, None) => String::new(),
        }
    }

    fn about(&self, bookmaker: &str) -> String {
        let about = match (&self.offer, self.gone) {
            (Some(Offer { since, stale_since: None, .. }), _) => ("this price since ", Some(*since)),
            (Some(Offer { stale_since, .. }), _) => ("old, last seen ", *stale_since),
            (None, Some(at)) => ("not offered since ", Some(at)),
            (None, None) => ("not offered", None),
        };
        let at = about.1.map(browser::clock_to_the_second).unwrap_or_default();
        format!("{bookmaker}: {}{at}", about.0)
    }
}

#[component]
fn Cell(
    stream: Stream,
    event: Event,
    place: StoredValue<OutcomeKey>,
    best: Memo<Option<(Key, Decimal)>>,
    bookmaker: Key,
) -> impl IntoView {
    let key = bookmaker.clone();
    let look = Memo::new(move |before: Option<&Look>| {
        let offer = stream.query.with(|query| {
            event.with(|view| {
                let (_, outcome) = place.with_value(|place| find(view, &query.market, place))?;
                outcome.offers.get(&*key).cloned()
            })
        });
        let is_best = best.with(|best| best.as_ref().is_some_and(|best| best.0 == key));
        Look::after(before, offer, is_best, stream.now.get_untracked())
    });
    let class = move || look.with(Look::class);
    let about = move || look.with(|look| look.about(&stream.bookmaker(&bookmaker)));
    let text = move || look.with(|look| look.text(stream.query.with(|query| query.format)));
    view! { <span class=class role="cell" title=about>{text}</span> }
}

/// All markets and lines of an open event.
#[component]
fn AllLines(stream: Stream, event: Event) -> impl IntoView {
    let lines = move || {
        let format = stream.query.with(|query| query.format);
        let columns = stream.columns.get();
        event.with(|view| view.lines.iter().map(|line| line_view(stream, line, &columns, format)).collect_view())
    };
    view! { <div class="all" role="row" tabindex="0"><div role="cell">{lines}</div></div> }
}

fn line_view(stream: Stream, line: &Line, columns: &[Key], format: OddsFormat) -> impl IntoView + use<> {
    let others = line.outcomes.iter().flat_map(|outcome| outcome.offers.keys());
    let mut bookmakers: Vec<Key> = columns.to_vec();
    bookmakers.extend(others.cloned().map(Key::from));
    bookmakers.retain(|key| line.outcomes.iter().any(|outcome| outcome.offers.contains_key(&**key)));
    let mut seen = std::collections::BTreeSet::new();
    bookmakers.retain(|key| seen.insert(key.clone()));
    let name = market_title(line.market.as_str());
    let name = line.description.as_ref().map_or(name.clone(), |about| format!("{name} · {about}"));
    let margin = line.margin().map(|margin| format!(" · margin {}", percent(margin)));
    let head = bookmakers.iter().map(|key| view! { <th scope="col">{stream.bookmaker(key)}</th> });
    let head = head.collect_view();
    let rows = line.outcomes.iter().map(|outcome| {
        let best = outcome.best().filter(|_| line.marks_best()).map(|(key, _)| key.as_str());
        let cells = bookmakers.iter().map(|key| match outcome.offers.get(&**key) {
            None => view! { <td></td> }.into_any(),
            Some(offer) => {
                let is_best = best == Some(&**key);
                let since = browser::clock_to_the_second(offer.since);
                let old = offer.stale_since.map(|at| format!("old, last seen {}", browser::clock_to_the_second(at)));
                let is_stale = old.is_some();
                view! {
                    <td class:best-price=is_best class:stale=is_stale>
                        {format.say(offer.price)} <small>{old.unwrap_or_else(|| format!("since {since}"))}</small>
                    </td>
                }
                .into_any()
            }
        });
        let cells = cells.collect_view();
        view! { <tr><th scope="row">{label_of(&(outcome.name.clone(), outcome.point))}</th>{cells}</tr> }
    });
    let rows = rows.collect_view();
    view! {
        <table class="line">
            <caption>{name}{margin}</caption>
            <thead><tr><th scope="col">"Outcome"</th>{head}</tr></thead>
            <tbody>{rows}</tbody>
        </table>
    }
}
