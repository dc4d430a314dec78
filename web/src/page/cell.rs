//! A cell: one bookmaker's price for an outcome. It is updated only when its own price changes.

use leptos::prelude::*;
use odds::{Decimal, Timestamp};

use super::{event_card::Event, stream::Stream, time};
use crate::{
    text,
    view::{EventView, Key, Line, OddsFormat, Offer, OutcomeView},
};

/// Identifies an outcome within a line: its name and point.
pub(crate) type OutcomeKey = (String, Option<Decimal>);

pub(crate) fn find<'a>(view: &'a EventView, market: &str, place: &OutcomeKey) -> Option<(&'a Line, &'a OutcomeView)> {
    let line = view.main_line(market)?;
    let outcome = line.outcomes.iter().find(|it| it.name == place.0 && it.point == place.1)?;
    Some((line, outcome))
}

/// The best price of an outcome, and who offers it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Best {
    pub(crate) price: Decimal,
    pub(crate) bookmakers: Vec<Key>,
    /// Whether the board is up to date. If not, it only was the best price.
    pub(crate) is_live: bool,
}

pub(crate) fn label_of((name, point): &OutcomeKey) -> String {
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
    /// A price of another market is not a move.
    market: String,
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
    fn after(before: Option<&Self>, market: String, offer: Option<Offer>, is_best: bool, now: Timestamp) -> Self {
        let Some(before) = before.filter(|before| before.market == market) else {
            return Self { market, offer, is_best, ..Self::default() };
        };
        let price = |offer: &Option<Offer>| offer.as_ref().map(|offer| offer.price);
        let (moved, gone) = match (price(&before.offer), price(&offer)) {
            (Some(from), Some(to)) if to > from => (if before.moved == "up" { "up again" } else { "up" }, None),
            (Some(from), Some(to)) if to < from => (if before.moved == "down" { "down again" } else { "down" }, None),
            (Some(_), Some(_)) => (before.moved, None),
            (None, Some(_)) => ("", None),
            (Some(_), None) => ("", Some(now)),
            (None, None) => ("", before.gone),
        };
        Self { market, offer, gone, moved, is_best }
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
        let at = match (&self.offer, self.gone) {
            (Some(Offer { since, stale_since: None, .. }), _) => Some(*since),
            (Some(Offer { stale_since, .. }), _) => *stale_since,
            (None, gone) => gone,
        };
        let is_old = self.offer.as_ref().is_some_and(|offer| offer.stale_since.is_some());
        let about = text::about_price(self.offer.is_some(), is_old, self.gone.is_some());
        format!("{bookmaker}: {about}{}", at.map(time::clock_to_the_second).unwrap_or_default())
    }
}

#[component]
pub(crate) fn Cell(
    stream: Stream,
    event: Event,
    place: StoredValue<OutcomeKey>,
    best: Memo<Option<Best>>,
    bookmaker: Key,
) -> impl IntoView {
    let key = bookmaker.clone();
    let look = Memo::new(move |before: Option<&Look>| {
        let market = stream.query.with(|query| query.market.clone());
        let offer = event.with(|view| {
            let (_, outcome) = place.with_value(|place| find(view, &market, place))?;
            outcome.offers.get(&*key).cloned()
        });
        let is_best =
            best.with(|best| best.as_ref().is_some_and(|best| best.is_live && best.bookmakers.contains(&key)));
        Look::after(before, market, offer, is_best, stream.now.get_untracked())
    });
    let class = move || look.with(Look::class);
    let about = move || look.with(|look| look.about(&stream.bookmaker(&bookmaker)));
    let text = move || look.with(|look| look.text(stream.query.with(|query| query.format)));
    view! { <span class=class role="cell" title=about>{text}</span> }
}
