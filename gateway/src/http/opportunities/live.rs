//! The live prices of some regions at one moment, as lines that can be compared.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::Arc,
};

use ::alerts::RegionView;
use ::odds::{BookmakerKey, Cursor, Details, EventId, FeedState, Filter, Image, Market, MarketKey, Region, Timestamp};
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
    pub(super) events: Vec<LiveEvent>,
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
    pub(super) lines: Vec<LiveLine>,
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
    let images: Vec<(Region, &Excerpt, Image)> =
        found.iter().filter_map(|(region, excerpt)| Some((*region, *excerpt, excerpt.board.image(id, at)?))).collect();
    let is_live = |(_, excerpt, image): &&(Region, &Excerpt, Image)| {
        let view = RegionView { board: &excerpt.board, marker: &excerpt.marker };
        view.is_sport_live(&image.details.sport_key, at)
    };
    let details = images.iter().find(is_live)?.2.details.clone();
    // A bookmaker that is in several regions counts once: by its newest live price, if there is one.
    let mut chosen: BTreeMap<(&BookmakerKey, &MarketKey), (Option<Age>, &Market)> = BTreeMap::new();
    for (region, excerpt, image) in &images {
        for ((bookmaker, market), quote) in &image.quotes {
            let seen = seen_live(excerpt, &image.details, bookmaker, at);
            let age = seen.map(|seen_at| Age { region: *region, changed_at: quote.last_update, seen_at });
            let rank = |age: &Option<Age>, quote: &Market| (age.is_some(), quote.last_update);
            let known = chosen.get(&(bookmaker, market));
            if known.is_none_or(|(known_age, known)| rank(known_age, known) < rank(&age, quote)) {
                chosen.insert((bookmaker, market), (age, quote));
            }
        }
    }
    chosen.retain(|(_, market), (_, quote)| !market.as_str().ends_with("_lay") && has_prices(quote));
    // Also of prices that are not live: they tell which outcomes there are.
    let all = chosen.iter().map(|((bookmaker, market), (_, quote))| (*bookmaker, *market, quote.outcomes.to_vec()));
    let mut lines = lines_of(&details, all);
    let ages: HashMap<(BookmakerKey, MarketKey), Age> = chosen
        .into_iter()
        .filter_map(|((bookmaker, market), (age, _))| Some(((bookmaker.clone(), market.clone()), age?)))
        .collect();
    for line in &mut lines {
        for outcome in &mut line.outcomes {
            outcome.prices.retain(|bookmaker, _| ages.contains_key(&(bookmaker.clone(), line.market.clone())));
        }
    }
    let lines = lines.into_iter().filter(|line| line.outcomes.iter().all(|outcome| !outcome.prices.is_empty()));
    let lines: Vec<LiveLine> = lines.map(|line| LiveLine { consensus: line.consensus(), line }).collect();
    (!lines.is_empty()).then(|| LiveEvent { head: EventHead::new(id, &details), lines, ages })
}

/// Whether all of them are odds at which something can be won.
fn has_prices(quote: &Market) -> bool {
    quote.outcomes.to_vec().iter().all(|outcome| outcome.price.to_f64() > 1.0)
}

/// When a bookmaker's prices of a sport were last seen, if they are live.
fn seen_live(excerpt: &Excerpt, details: &Details, bookmaker: &BookmakerKey, at: Timestamp) -> Option<Timestamp> {
    let marker = &excerpt.marker;
    let view = RegionView { board: &excerpt.board, marker };
    let sport = marker.sports.get(&details.sport_key).filter(|_| view.is_sport_live(&details.sport_key, at))?;
    match marker.bookmakers.get(bookmaker) {
        Some(seen) if sport.leaves_behind(*seen) => None,
        Some(seen) => Some(sport.polled_at.min(*seen)),
        None => Some(sport.polled_at),
    }
}
