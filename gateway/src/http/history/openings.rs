//! The prices with which events were first on the board. They never change, so each is read once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use ::history::{EventQuery, HistoryError, PriceQuery, Store};
use futures::{StreamExt, TryStreamExt, stream};
use market::{Line, lines_of};
use odds::{BookmakerKey, Details, EventId, Filter, MarketKey, Outcome, Region, Timestamp};

/// How many events are read at once.
const AT_ONCE: usize = 3;

/// The prices of an event when it was first seen.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) at: Timestamp,
    details: Details,
    quotes: BTreeMap<(BookmakerKey, MarketKey), Vec<Outcome>>,
}

/// The openings of events that are on a board, as far as they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Openings(Mutex<HashMap<Key, Arc<Opening>>>);

/// Without a market, it is the opening of all of them.
type Key = (Region, EventId, Option<MarketKey>);

impl Opening {
    /// The lines of the quotes that a filter admits.
    pub(super) fn lines(&self, filter: &Filter) -> Vec<Line> {
        let quotes = self.quotes.iter().filter(|((bookmaker, market), _)| filter.admits_quote(bookmaker, market));
        lines_of(&self.details, quotes.map(|((bookmaker, market), outcomes)| (bookmaker, market, outcomes.clone())))
    }
}

impl Openings {
    /// The openings of these events, which are those on the region's board; of these markets, or of all.
    pub(super) async fn of(
        &self,
        store: &dyn Store,
        region: Region,
        events: &[EventId],
        markets: Option<&BTreeSet<MarketKey>>,
        now: Timestamp,
    ) -> Result<HashMap<EventId, Vec<Arc<Opening>>>, HistoryError> {
        let markets: Vec<Option<MarketKey>> =
            markets.map_or_else(|| vec![None], |markets| markets.iter().cloned().map(Some).collect());
        let wanted = || events.iter().flat_map(|id| markets.iter().map(move |it| (region, id.clone(), it.clone())));
        let missing: Vec<Key> = {
            let mut known = self.lock();
            let on_board: HashSet<&EventId> = events.iter().collect();
            known.retain(|(of, id, _), _| *of != region || on_board.contains(id));
            wanted().filter(|key| !known.contains_key(key)).collect()
        };
        let read = missing.into_iter().map(async |key| {
            let opening = read(store, &key, now).await?;
            Ok::<_, HistoryError>(opening.map(|it| (key, Arc::new(it))))
        });
        let read: Vec<_> = stream::iter(read).buffer_unordered(AT_ONCE).try_collect().await?;
        let mut known = self.lock();
        known.extend(read.into_iter().flatten());
        let mut found: HashMap<EventId, Vec<Arc<Opening>>> = HashMap::new();
        for key in wanted() {
            if let Some(opening) = known.get(&key) {
                found.entry(key.1).or_default().push(opening.clone());
            }
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Opening>>> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

/// `None` if the event is not recorded yet.
async fn read(
    store: &dyn Store,
    (region, event, market): &Key,
    now: Timestamp,
) -> Result<Option<Opening>, HistoryError> {
    let query = EventQuery { region: *region, event: Some(event.clone()), from: Timestamp::default(), to: now };
    let recorded = store.events(query).await?.pop();
    let Some((at, Some(details))) = recorded.and_then(|event| event.details.into_iter().next()) else {
        return Ok(None);
    };
    let query = PriceQuery {
        event: event.clone(),
        market: market.clone(),
        outcome: None,
        regions: vec![*region],
        bookmakers: Vec::new(),
        from: at,
        to: at,
    };
    let mut quotes: BTreeMap<(BookmakerKey, MarketKey), Vec<Outcome>> = BTreeMap::new();
    for series in store.price_history(query).await?.series(at, usize::MAX) {
        if let Some((_, Some(price))) = series.prices.first() {
            let key = series.outcome;
            let outcome = Outcome { name: key.name, price: *price, point: key.point, description: key.description };
            quotes.entry((series.bookmaker, series.market)).or_default().push(outcome);
        }
    }
    Ok(Some(Opening { at, details, quotes }))
}
