//! The live prices of some regions at one moment, as lines that can be compared.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::Arc,
};

use ::alerts::RegionView;
use ::odds::{
    BookmakerKey, Cursor, Details, EventId, FeedState, Filter, Image, Market, MarketKey, Outcome, Region, Timestamp,
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
            let board = async |region: &Region| (*region, app.regions[*region as usize].excerpt(Wanted::All).await);
            let boards = join_all(regions.iter().map(board)).await;
            let at = (app.clock)();
            // The runtime's threads deliver the stream.
            let made = tokio::task::spawn_blocking(move || Self::of(&boards, at)).await;
            Ok::<_, Infallible>(made.expect("nobody panics with boards"))
        };
        let Ok(lines) = app.live_lines.get(regions.to_vec(), make).await;
        lines
    }

    fn of(boards: &[(Region, Option<Excerpt>)], at: Timestamp) -> Self {
        let mut ids: BTreeMap<&EventId, Vec<(Region, &Excerpt)>> = BTreeMap::new();
        let mut regions = Vec::new();
        for (region, excerpt) in boards {
            let (mut state, mut cursor) = (FeedState::Down, None);
            if let Some(excerpt) = excerpt {
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
    let details = images.first()?.2.details.clone();
    // A bookmaker that is in several regions counts once, by its newest price.
    let mut newest: BTreeMap<(&BookmakerKey, &MarketKey), (Region, &Excerpt, &Market)> = BTreeMap::new();
    for (region, excerpt, image) in &images {
        for ((bookmaker, market), quote) in &image.quotes {
            let known = newest.get(&(bookmaker, market));
            if known.is_none_or(|(.., known)| known.last_update < quote.last_update) {
                newest.insert((bookmaker, market), (*region, *excerpt, quote));
            }
        }
    }
    let mut ages = HashMap::new();
    let mut quotes: Vec<(&BookmakerKey, &MarketKey, Vec<Outcome>)> = Vec::new();
    for ((bookmaker, market), (region, excerpt, quote)) in newest {
        let is_lay = market.as_str().ends_with("_lay");
        let Some(seen_at) = seen_live(excerpt, &details, bookmaker, at).filter(|_| !is_lay) else { continue };
        ages.insert((bookmaker.clone(), market.clone()), Age { region, changed_at: quote.last_update, seen_at });
        quotes.push((bookmaker, market, quote.outcomes.to_vec()));
    }
    let lines = lines_of(&details, quotes).into_iter().map(|line| LiveLine { consensus: line.consensus(), line });
    let lines: Vec<LiveLine> = lines.collect();
    (!lines.is_empty()).then(|| LiveEvent { head: EventHead::new(id, &details), lines, ages })
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
