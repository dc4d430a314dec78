//! The prices with which events were first on the board. They never change, so each is read once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use ::history::{EventQuery, HistoryError, PriceQuery, Store};
use futures::{StreamExt, TryStreamExt, stream};
use market::{Line, lines_of};
use odds::{Board, BookmakerKey, Details, EventId, Filter, MarketKey, Outcome, Region, Timestamp};

/// How many events are read at once.
const AT_ONCE: usize = 3;

/// The prices of a market of an event when the event was first seen.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) at: Timestamp,
    details: Details,
    quotes: BTreeMap<(BookmakerKey, MarketKey), Vec<Outcome>>,
}

/// The openings of events that are on a board, as far as they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Openings(Mutex<HashMap<Key, Arc<Opening>>>);

type Key = (Region, EventId, MarketKey);

impl Opening {
    /// The lines of the quotes that a filter admits.
    pub(super) fn lines(&self, filter: &Filter) -> Vec<Line> {
        let quotes = self.quotes.iter().filter(|((bookmaker, market), _)| filter.admits_quote(bookmaker, market));
        lines_of(&self.details, quotes.map(|((bookmaker, market), outcomes)| (bookmaker, market, outcomes.clone())))
    }
}

impl Openings {
    /// The openings of what a filter admits of a region's board.
    pub(super) async fn of(
        &self,
        store: &dyn Store,
        region: Region,
        board: &Board,
        filter: &Filter,
        now: Timestamp,
    ) -> Result<HashMap<EventId, Vec<Arc<Opening>>>, HistoryError> {
        let (mut found, mut missing) = (HashMap::<EventId, Vec<Arc<Opening>>>::new(), Vec::new());
        {
            let mut known = self.lock();
            known.retain(|(of, id, _), _| *of != region || board.details(id).is_some());
            for key in wanted(region, board, filter) {
                match known.get(&key) {
                    Some(opening) => found.entry(key.1).or_default().push(opening.clone()),
                    None => missing.push(key),
                }
            }
        }
        let read = missing.into_iter().map(async |key| {
            let opening = read(store, &key, now).await?.map(Arc::new);
            // At once: what was read is not read again if another one fails.
            if let Some(opening) = &opening {
                self.lock().insert(key.clone(), opening.clone());
            }
            Ok::<_, HistoryError>(opening.map(|opening| (key.1, opening)))
        });
        let read: Vec<_> = stream::iter(read).buffer_unordered(AT_ONCE).try_collect().await?;
        for (id, opening) in read.into_iter().flatten() {
            found.entry(id).or_default().push(opening);
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Opening>>> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

/// The markets of the board that a filter admits, each of its event.
fn wanted(region: Region, board: &Board, filter: &Filter) -> Vec<Key> {
    let admitted = board
        .event_ids()
        .filter(|id| board.details(id).is_some_and(|details| filter.admits_event(id, &details.sport_key)));
    let mut keys = Vec::new();
    for id in admitted {
        let markets: BTreeSet<&MarketKey> = board.quotes_of(id).map(|(_, market, _)| market).collect();
        let markets = markets.into_iter().filter(|market| filter.admits_market(market));
        keys.extend(markets.map(|market| (region, id.clone(), market.clone())));
    }
    keys
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
        market: Some(market.clone()),
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
