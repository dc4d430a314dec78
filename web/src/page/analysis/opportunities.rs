//! Bets that are worth placing at the live prices: arbitrages, with their stakes, and value.

use leptos::prelude::*;
use odds::{Decimal, Region, Timestamp};
use serde::Deserialize;

use super::{EventHead, Found, choice, label, market_of};
use crate::{
    page::{
        browser,
        route::Router,
        shared::{either, list},
        stream::Stream,
    },
    text,
    view::{Key, fixed, percent},
};

/// The name in local storage of what is asked for.
const KEPT: &str = "toteboard-opportunities";

/// A bet of an arbitrage, and how old its price is.
#[derive(Debug, Deserialize)]
struct Leg {
    outcome: String,
    point: Option<Decimal>,
    bookmaker: String,
    region: Region,
    price: Decimal,
    stake: f64,
    changed_at: Timestamp,
    seen_at: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Arbitrage {
    event: EventHead,
    market: String,
    description: Option<String>,
    rate: f64,
    total: f64,
    win: f64,
    legs: Vec<Leg>,
}

#[derive(Debug, Deserialize)]
struct Value {
    event: EventHead,
    market: String,
    description: Option<String>,
    outcome: String,
    point: Option<Decimal>,
    bookmaker: String,
    region: Region,
    price: Decimal,
    probability: f64,
    edge: f64,
    kelly: f64,
    changed_at: Timestamp,
    seen_at: Timestamp,
}

/// Each with the time of the answer, by which ages are said.
#[derive(Deserialize)]
struct Arbitrages {
    at: Timestamp,
    arbitrages: Vec<Arbitrage>,
}

#[derive(Deserialize)]
struct Values {
    at: Timestamp,
    values: Vec<Value>,
}

/// One that was found, and when.
struct At<T> {
    at: Timestamp,
    found: T,
}

/// What is asked for. Copies are handles to the same.
#[derive(Clone, Copy)]
struct Wanted {
    stream: Stream,
    kind: RwSignal<String>,
    only_mine: RwSignal<bool>,
    /// The values of `text::OPPORTUNITY_FIELDS`, in their order.
    numbers: [RwSignal<String>; text::OPPORTUNITY_FIELDS.len()],
    sharp: RwSignal<String>,
}

impl Wanted {
    /// As it was kept, and keeps what is changed.
    fn start(stream: Stream) -> Self {
        let kept = browser::pairs(&browser::kept(KEPT).unwrap_or_default());
        let known = |name: &str, default: &str| {
            let found = kept.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone());
            RwSignal::new(found.unwrap_or_else(|| default.to_owned()))
        };
        let this = Self {
            stream,
            kind: known("kind", text::OPPORTUNITY_KINDS[0].0),
            only_mine: RwSignal::new(kept.iter().any(|(name, _)| name == "mine")),
            numbers: text::OPPORTUNITY_FIELDS.map(|(name, _, default)| known(name, default)),
            sharp: known("sharp", ""),
        };
        Effect::new(move |_| {
            let mut pairs = vec![("kind", this.kind.get()), ("sharp", this.sharp.get())];
            pairs.extend(this.only_mine.get().then(|| ("mine", "1".to_owned())));
            pairs.extend(this.named_numbers());
            browser::keep(KEPT, &browser::parameters(pairs));
        });
        this
    }

    fn named_numbers(self) -> impl Iterator<Item = (&'static str, String)> {
        text::OPPORTUNITY_FIELDS.into_iter().zip(self.numbers).map(|((name, ..), value)| (name, value.get()))
    }

    fn is_arbitrage(self) -> bool {
        self.kind.with(|kind| *kind == text::OPPORTUNITY_KINDS[0].0)
    }

    /// The path of a kind's answer, with the parameters that it has.
    fn path(self, kind: &str, names: &[&str]) -> String {
        let mut pairs: Vec<(&'static str, String)> =
            self.named_numbers().filter(|(name, value)| names.contains(name) && !value.is_empty()).collect();
        pairs.extend(self.stream.regions.get().into_iter().map(|region| ("region", region.key().to_owned())));
        if self.only_mine.get() {
            self.stream.query.with(|query| {
                pairs.extend(query.mine.iter().map(|bookmaker| ("bookmaker", bookmaker.to_string())));
            });
        }
        if names.contains(&"sharp") {
            pairs.extend(Some(("sharp", self.sharp.get())).filter(|(_, value)| !value.is_empty()));
        }
        ["/api/opportunities/", kind, "?", &browser::parameters(pairs)].concat()
    }

    fn number(self, place: usize) -> AnyView {
        let (name, label, _) = text::OPPORTUNITY_FIELDS[place];
        let value = self.numbers[place];
        view! {
            <label class="field" for=name>
                <span>{label}</span>
                <input
                    id=name inputmode="decimal" size="6" prop:value=move || value.get()
                    on:change=move |event| value.set(event_target_value(&event).trim().replace(',', "."))
                />
            </label>
        }
        .into_any()
    }

    /// The bookmakers that others can be compared with.
    fn sharps(self) -> AnyView {
        let columns = self.stream.columns.get_untracked();
        let bookmakers = columns.iter().map(|key| (key.to_string(), self.stream.bookmaker(key)));
        let all = std::iter::once((String::new(), text::CONSENSUS.to_owned())).chain(bookmakers);
        choice(text::COMPARED_WITH, all.collect(), self.sharp)
    }
}

#[component]
pub(crate) fn OpportunitiesPage(stream: Stream, router: Router) -> impl IntoView {
    let wanted = Wanted::start(stream);
    let kinds = text::OPPORTUNITY_KINDS.map(|(key, title)| (key.to_owned(), title.to_owned())).to_vec();
    let has_mine = move || stream.query.with(|query| !query.mine.is_empty());
    view! {
        <main class="settings wide">
            <h2>{text::OPPORTUNITIES}</h2>
            <section class="card">
                <div class="chips">
                    {choice(text::KIND, kinds, wanted.kind)}
                    <label class="chip" class:hidden=move || !has_mine()>
                        <input
                            type="checkbox" prop:checked=move || wanted.only_mine.get()
                            on:change=move |event| wanted.only_mine.set(event_target_checked(&event))
                        />
                        <span>{text::ONLY_MINE}</span>
                    </label>
                </div>
                {either(
                    move || wanted.is_arbitrage(),
                    move || arbitrages(wanted, router),
                    move || values(wanted, router),
                )}
                <p class="hint">{text::ABOUT_OPPORTUNITIES}</p>
            </section>
        </main>
    }
}

fn arbitrages(wanted: Wanted, router: Router) -> AnyView {
    let found = Found::follow(
        move || wanted.path("arbitrages", &["total", "round_to", "commission"]),
        |Arbitrages { at, arbitrages }: Arbitrages| {
            let keyed = arbitrages.into_iter().map(|found| {
                let Arbitrage { event, market, description, legs, .. } = &found;
                // The same line at the same bookmakers stays in its place.
                let mut key = [&*event.id, market, description.as_deref().unwrap_or_default()].join(" ");
                for leg in legs {
                    key = [&*key, &label(&leg.outcome, leg.point), &leg.bookmaker].join(" ");
                }
                (key, At { at, found })
            });
            keyed.collect()
        },
    );
    view! {
        <div class="chips">{[0, 1, 2].map(|place| wanted.number(place)).collect_view()}</div>
        {found.state(text::NO_ARBITRAGES)}
        <ul class="tokens">{list(move || found.keys(), move |key| arbitrage(wanted.stream, router, found, &key))}</ul>
    }
    .into_any()
}

fn arbitrage(stream: Stream, router: Router, found: Found<At<Arbitrage>>, key: &Key) -> AnyView {
    let Some(first) = found.find(key) else { return ().into_any() };
    let first = &first.found;
    let market = market_of(&first.market, first.description.as_deref());
    // An event may have several.
    let outcomes = first.legs.iter().map(|leg| label(&leg.outcome, leg.point));
    let name = [first.event.title(), market.clone()].into_iter().chain(outcomes).collect::<Vec<_>>().join(", ");
    let legs = first.legs.iter().enumerate().map(|(at, leg)| {
        let text = |say: fn(&Leg, Timestamp) -> String| {
            found.text(key, move |it| it.found.legs.get(at).map(|leg| say(leg, it.at)).unwrap_or_default())
        };
        let price = move |price: Decimal| stream.query.with(|query| query.format).say(price);
        let price = found.text(key, move |it| it.found.legs.get(at).map(|leg| price(leg.price)).unwrap_or_default());
        view! {
            <tr>
                <th scope="row">{label(&leg.outcome, leg.point)}</th>
                <td>{at_bookmaker(stream, &leg.bookmaker, leg.region)}</td>
                <td>{price}</td>
                <td><strong>{text(|leg, _| money(leg.stake))}</strong></td>
                <td class="seen">{text(|leg, now| age(leg.seen_at, leg.changed_at, now))}</td>
            </tr>
        }
        .into_any()
    });
    let legs: Vec<AnyView> = legs.collect();
    let won = found.text(key, |At { found, .. }| {
        text::stake_and_win(&percent(found.rate), &money(found.total), &money(found.win))
    });
    view! {
        <li>
            <div>{first.event.link(router, &[&market])}</div>
            <strong>{won}</strong>
            <div class="scrolls" tabindex="0" role="region" aria-label=name>
                <table class="ladder">
                    <thead>
                        <tr>{text::LEG_COLUMNS.map(|title| view! { <th scope="col">{title}</th> }).collect_view()}</tr>
                    </thead>
                    <tbody>{legs}</tbody>
                </table>
            </div>
        </li>
    }
    .into_any()
}

fn values(wanted: Wanted, router: Router) -> AnyView {
    let found = Found::follow(
        move || wanted.path("values", &["commission", "min_edge", "sharp"]),
        |Values { at, values }: Values| {
            let keyed = values.into_iter().map(|found| {
                let Value { event, market, description, outcome, point, bookmaker, .. } = &found;
                let about = description.as_deref().unwrap_or_default();
                let key = [&*event.id, market, about, &label(outcome, *point), bookmaker].join(" ");
                (key, At { at, found })
            });
            keyed.collect()
        },
    );
    let stream = wanted.stream;
    view! {
        <div class="chips">{[2, 3].map(|place| wanted.number(place)).collect_view()} {wanted.sharps()}</div>
        {found.state(text::NO_VALUE)}
        <div class="scrolls" tabindex="0" role="region" aria-label=text::OPPORTUNITIES>
            <table class="ladder" class:hidden=move || found.all.with(Vec::is_empty)>
                <thead>
                    <tr>
                        <th scope="col">{text::EVENT}</th>
                        {text::VALUE_COLUMNS.map(|title| view! { <th scope="col">{title}</th> }).collect_view()}
                    </tr>
                </thead>
                <tbody>{list(move || found.keys(), move |key| value(stream, router, found, &key))}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn value(stream: Stream, router: Router, found: Found<At<Value>>, key: &Key) -> AnyView {
    let Some(first) = found.find(key) else { return ().into_any() };
    let first = &first.found;
    let market = market_of(&first.market, first.description.as_deref());
    let price = move |price: Decimal| stream.query.with(|query| query.format).say(price);
    view! {
        <tr>
            <th scope="row">{first.event.link(router, &[&label(&first.outcome, first.point), &market])}</th>
            <td>{at_bookmaker(stream, &first.bookmaker, first.region)}</td>
            <td>{found.text(key, move |it| price(it.found.price))}</td>
            <td>{found.text(key, |it| percent(it.found.probability))}</td>
            <td><strong>{found.text(key, |it| percent(it.found.edge))}</strong></td>
            <td>{found.text(key, |it| percent(it.found.kelly))}</td>
            <td class="seen">{found.text(key, |it| age(it.found.seen_at, it.found.changed_at, it.at))}</td>
        </tr>
    }
    .into_any()
}

fn at_bookmaker(stream: Stream, bookmaker: &str, region: Region) -> String {
    let (name, region) = (stream.bookmaker(bookmaker), region.key().to_ascii_uppercase());
    if name.ends_with(&*region) { name } else { [&*name, " ", &region].concat() }
}

fn age(seen_at: Timestamp, changed_at: Timestamp, now: Timestamp) -> String {
    text::seen_and_unchanged(now.millis_since(seen_at) / 1_000, now.millis_since(changed_at) / 1_000)
}

/// An amount without needless decimals.
fn money(amount: f64) -> String {
    let text = fixed(amount, 2);
    let whole = text.strip_suffix("00").map(|whole| whole.trim_end_matches(|it: char| !it.is_ascii_digit()).to_owned());
    whole.unwrap_or(text)
}
