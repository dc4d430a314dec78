//! A market as it is looked at for one step. What several groups need is worked out once.

use std::{rc::Rc, sync::Arc};

use market::{Line, Move, lines_of, moves};
use odds::{BookmakerKey, Timestamp};

use crate::{
    Regions,
    market_now::{Chosen, MarketNow},
    past::Past,
};

/// Which regions and bookmakers a group looks at.
pub(crate) type Selection = (Regions, Option<Arc<[BookmakerKey]>>);

/// What was worked out, in a list because it is short.
type Known<K, V> = Vec<(K, Rc<V>)>;

pub(crate) struct Sight<'a> {
    pub(crate) now: &'a MarketNow,
    past: Option<&'a Past>,
    at: Timestamp,
    chosen: Known<Selection, Chosen<'a>>,
    lines: Known<Selection, Vec<Line>>,
    moves: Known<(Selection, u32), Vec<Move>>,
}

/// Looks something up, or adds it.
fn known<K: Clone + PartialEq, V>(list: &mut Known<K, V>, key: &K, make: impl FnOnce() -> V) -> Rc<V> {
    if let Some((_, value)) = list.iter().find(|(it, _)| it == key) {
        return value.clone();
    }
    let value = Rc::new(make());
    list.push((key.clone(), value.clone()));
    value
}

impl<'a> Sight<'a> {
    pub(crate) fn new(now: &'a MarketNow, past: Option<&'a Past>, at: Timestamp) -> Self {
        Self { now, past, at, chosen: Vec::new(), lines: Vec::new(), moves: Vec::new() }
    }

    pub(crate) fn chosen(&mut self, selection: &Selection) -> Rc<Chosen<'a>> {
        let now = self.now;
        known(&mut self.chosen, selection, || now.choose(selection.0, selection.1.as_deref()))
    }

    pub(crate) fn lines(&mut self, selection: &Selection) -> Rc<Vec<Line>> {
        let (chosen, now) = (self.chosen(selection), self.now);
        known(&mut self.lines, selection, || {
            let quotes = chosen.quotes.iter();
            lines_of(&now.details, quotes.map(|(bookmaker, quote)| (*bookmaker, &now.market, quote.outcomes.clone())))
        })
    }

    /// How the consensus of each outcome moved, by the bookmakers with prices at both times.
    pub(crate) fn moves(&mut self, selection: &Selection, minutes: u32) -> Rc<Vec<Move>> {
        let (chosen, now, past, at) = (self.chosen(selection), self.now, self.past, self.at);
        known(&mut self.moves, &(selection.clone(), minutes), || {
            let regions = chosen.quotes.values().map(|quote| quote.region);
            let window = past.and_then(|past| Some((past, past.window_start(regions, at, minutes)?)));
            let Some((past, from)) = window else { return Vec::new() };
            let (mut before, mut after) = (Vec::new(), Vec::new());
            for (bookmaker, quote) in &chosen.quotes {
                if let Some(outcomes) = past.outcomes_at(from, quote.region, bookmaker, &quote.outcomes) {
                    before.push((*bookmaker, &now.market, outcomes));
                    after.push((*bookmaker, &now.market, quote.outcomes.clone()));
                }
            }
            moves(&lines_of(&now.details, before), &lines_of(&now.details, after))
        })
    }
}
