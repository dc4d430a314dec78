//! The live prices of some regions at one moment, as lines that can be compared.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::Arc,
};

use ::alerts::RegionView;
use ::odds::{
    BookmakerKey, Cursor, EventId, FeedState, Filter, Image, Marker, Market, MarketKey, Region, SportFreshness,
    Timestamp,
};
use futures::future::join_all;
use market::{Consensus, Line, lines_of};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{history::EventHead, subscriptions::RegionKey},
    region::{Excerpt, Wanted},
    session::AppState,
};

/// The live prices of some regions at one moment.
#[derive(Debug)]
pub(crate) struct LiveLines {
    pub(super) at: Timestamp,
    pub(super) regions: Vec<LiveRegion>,
    /// In the order of their ids.
    events: Vec<LiveEvent>,
}

/// Which board of a region the prices are from.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LiveRegion {
    #[schema(value_type = RegionKey)]
    region: Region,
    /// `live`; or `stale` or `down`: then no price of it is used.
    #[schema(value_type = String)]
    state: FeedState,
    /// The board's state; null while there is none.
    #[schema(value_type = Option<String>, required)]
    cursor: Option<Cursor>,
}

#[derive(Debug)]
pub(super) struct LiveEvent {
    pub(super) head: EventHead,
    /// In the order of their markets, descriptions and points. Lay prices are left out.
    lines: Vec<LiveLine>,
    ages: HashMap<(BookmakerKey, MarketKey), Age>,
}

#[derive(Debug)]
pub(super) struct LiveLine {
    pub(super) line: Line,
    /// Of all its bookmakers.
    pub(super) consensus: Option<Consensus>,
}

/// How old a price is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Age {
    #[schema(value_type = RegionKey)]
    region: Region,
    /// Since when the bookmaker has had this price.
    #[schema(value_type = String, format = DateTime)]
    changed_at: Timestamp,
    /// When upstream last said that it has.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
}

impl LiveEvent {
    /// How old a price on one of its lines is.
    pub(super) fn age(&self, bookmaker: &BookmakerKey, market: &MarketKey) -> Age {
        self.ages[&(bookmaker.clone(), market.clone())]
    }
}

impl LiveLines {
    /// The lines that a filter admits, each with its event.
    pub(super) fn admitted(&self, filter: &Filter) -> impl Iterator<Item = (&LiveEvent, &LiveLine)> {
        let events = self.events.iter().filter(|event| filter.admits_event(&event.head.id, &event.head.sport_key));
        let lines = events.flat_map(|event| event.lines.iter().map(move |line| (event, line)));
        lines.filter(|(_, line)| filter.admits_market(&line.line.market))
    }

    /// The live prices of now, or of up to a second ago if somebody else has asked for the same.
    pub(super) async fn now(app: &AppState, regions: &[Region]) -> Arc<Self> {
        let make = async {
            let board = async |region: &Region| {
                let copy = async { Ok::<_, Infallible>(app.regions[*region as usize].excerpt(Wanted::All).await) };
                let Ok(board) = app.live_boards.get(*region, copy).await;
                (*region, board)
            };
            let boards = join_all(regions.iter().map(board)).await;
            let at = (app.clock)();
            // The runtime's threads deliver the stream.
            let made = tokio::task::spawn_blocking(move || Self::of(&boards, at)).await;
            Ok::<_, Infallible>(made.expect("nobody panics with boards"))
        };
        let Ok(lines) = app.live_lines.get(regions.to_vec(), make).await;
        lines
    }

    fn of(boards: &[(Region, Arc<Option<Excerpt>>)], at: Timestamp) -> Self {
        let mut ids: BTreeMap<&EventId, Vec<(Region, &Excerpt)>> = BTreeMap::new();
        let mut regions = Vec::new();
        for (region, excerpt) in boards {
            let (mut state, mut cursor) = (FeedState::Down, None);
            if let Some(excerpt) = &**excerpt {
                let view = RegionView { board: &excerpt.board, marker: &excerpt.marker };
                let is_live = view.is_live(at);
                state = if is_live { FeedState::Live } else { FeedState::Stale };
                cursor = excerpt.board.cursor(&Filter::default());
                excerpt.board.event_ids().for_each(|id| ids.entry(id).or_default().push((*region, excerpt)));
            }
            regions.push(LiveRegion { region: *region, state, cursor });
        }
        let events = ids.into_iter().filter_map(|(id, found)| event(id, &found, at));
        Self { at, regions, events: events.collect() }
    }
}

/// The live lines of an event. `None` if it has none.
fn event(id: &EventId, found: &[(Region, &Excerpt)], at: Timestamp) -> Option<LiveEvent> {
    let found = found.iter().filter_map(|(region, Excerpt { board, marker })| {
        let image = board.image(id, at)?;
        let sport = &image.details.sport_key;
        let is_live = RegionView { board, marker }.is_sport_live(sport, at);
        let polled = marker.sports.get(sport).filter(|_| is_live).copied();
        Some((*region, marker, polled, image))
    });
    let images: Vec<(Region, &Marker, Option<SportFreshness>, Image)> = found.collect();
    let details = images.iter().find(|(_, _, polled, _)| polled.is_some())?.3.details.clone();
    // A bookmaker that is in several regions counts once: by its newest live price, if there is one.
    let mut chosen: BTreeMap<(&BookmakerKey, &MarketKey), (Option<Age>, &Market)> = BTreeMap::new();
    for (region, marker, polled, image) in &images {
        for ((bookmaker, market), quote) in &image.quotes {
            let seen = polled.and_then(|polled| seen_live(marker, polled, bookmaker));
            let age = seen.map(|seen_at| Age { region: *region, changed_at: quote.last_update, seen_at });
            let rank = |age: &Option<Age>, quote: &Market| (age.is_some(), quote.last_update);
            let known = chosen.get(&(bookmaker, market));
            if known.is_none_or(|(known_age, known)| rank(known_age, known) < rank(&age, quote)) {
                chosen.insert((bookmaker, market), (age, quote));
            }
        }
    }
    // Also those that are not live: they tell which outcomes there are.
    let (mut quotes, mut ages) = (Vec::new(), HashMap::new());
    for ((bookmaker, market), (age, quote)) in chosen {
        let outcomes = quote.outcomes.to_vec();
        // At other odds, nothing can be won.
        let has_prices = outcomes.iter().all(|outcome| outcome.price.to_f64() > 1.0);
        if market.as_str().ends_with("_lay") || !has_prices {
            continue;
        }
        ages.extend(age.map(|age| ((bookmaker.clone(), market.clone()), age)));
        quotes.push((bookmaker, market, outcomes));
    }
    let mut lines = lines_of(&details, quotes);
    for line in &mut lines {
        for outcome in &mut line.outcomes {
            outcome.prices.retain(|bookmaker, _| ages.contains_key(&(bookmaker.clone(), line.market.clone())));
        }
    }
    let lines = lines.into_iter().filter(|line| line.outcomes.iter().all(|outcome| !outcome.prices.is_empty()));
    let lines: Vec<LiveLine> = lines.map(|line| LiveLine { consensus: line.consensus(), line }).collect();
    (!lines.is_empty()).then(|| LiveEvent { head: EventHead::new(id, &details), lines, ages })
}

/// When a bookmaker was last seen with a live sport, unless it was left behind.
fn seen_live(marker: &Marker, polled: SportFreshness, bookmaker: &BookmakerKey) -> Option<Timestamp> {
    match marker.bookmakers.get(bookmaker) {
        Some(seen) if polled.leaves_behind(*seen) => None,
        Some(seen) => Some(polled.polled_at.min(*seen)),
        None => Some(polled.polled_at),
    }
}
