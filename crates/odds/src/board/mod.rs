//! The board: the newest known state of one region, and what changed since any remembered state.
//!
//! Every change of an event gets a revision, a number that means nothing outside this board object. `recent` holds
//! every event once, at its last revision, so the events that changed after a revision are the tail of that map. A
//! cursor names a verified step, and the board knows its revision at that step. Removed events and withdrawn quotes are
//! kept for as long as a client could resume from a state before their removal.

mod cursor;
mod digest;
mod filter;
mod frame_digest;
mod frames;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
};

pub use cursor::{Cursor, InvalidCursor};
pub use digest::Digest;
pub use filter::{Filter, InvalidFilter};
pub use frame_digest::FrameDigest;
pub use frames::{Frame, FrameKind, PART_BYTES};

use crate::{BookmakerKey, Details, EventId, Image, Market, MarketKey, Outcomes, Quotes, SportKey, StepId, Timestamp};

/// How many different states a board remembers for cursors by default.
const REMEMBERED_STATES: usize = 4_096;

/// A point in the history of one board object; meaningless to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(u64);

impl Revision {
    /// How many changes of events the board had applied by then.
    pub fn count(self) -> u64 {
        self.0
    }
}

/// The events and quotes of one region, with what changed since its remembered states.
#[derive(Clone, Debug)]
pub struct Board {
    events: HashMap<EventId, Entry>,
    /// Every event, removed ones included, by the revision of its last change.
    recent: BTreeMap<Revision, EventId>,
    revision: Revision,
    digest: Digest,
    /// Verified states, oldest first.
    remembered: VecDeque<Remembered>,
    memory: usize,
    /// Events with something to purge once no remembered state is older than this revision.
    tombstones: VecDeque<(Revision, EventId)>,
    bookmakers: HashSet<BookmakerKey>,
    markets: HashSet<MarketKey>,
    live_events: usize,
    live_quotes: usize,
}

/// A verified state, with the first and the last step at which the board had it.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    first: StepId,
    last: u64,
    digest: Digest,
    revision: Revision,
}

#[derive(Clone, Debug)]
struct Entry {
    present: bool,
    details: Details,
    details_changed: Revision,
    changed: Revision,
    /// Its former sports, oldest first, each with the revision that ended it; no sport while it was absent.
    former: Vec<(Revision, Option<SportKey>)>,
    /// Sorted by bookmaker and market. Withdrawn quotes have no outcomes.
    quotes: Vec<Quote>,
}

#[derive(Clone, Debug)]
struct Quote {
    bookmaker: BookmakerKey,
    market: MarketKey,
    last_update: Timestamp,
    outcomes: Outcomes,
    digest: Digest,
    changed: Revision,
}

/// The result of looking up a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    At(Revision),
    /// The cursor is from a step that this board has not reached.
    Ahead,
    Unknown,
}

impl Default for Board {
    fn default() -> Self {
        Self::remembering(REMEMBERED_STATES)
    }
}

impl Board {
    /// A board that remembers at most `states` states for cursors.
    pub fn remembering(states: usize) -> Self {
        Self {
            events: HashMap::new(),
            recent: BTreeMap::new(),
            revision: Revision(0),
            digest: Digest::default(),
            remembered: VecDeque::new(),
            memory: states.max(1),
            tombstones: VecDeque::new(),
            bookmakers: HashSet::new(),
            markets: HashSet::new(),
            live_events: 0,
            live_quotes: 0,
        }
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub fn event_count(&self) -> usize {
        self.live_events
    }

    /// How many events it holds, including removed ones that are not purged yet.
    pub fn entries(&self) -> usize {
        self.events.len()
    }

    pub fn quote_count(&self) -> usize {
        self.live_quotes
    }

    pub fn event_ids(&self) -> impl Iterator<Item = &EventId> {
        self.events.iter().filter(|(_, entry)| entry.present).map(|(id, _)| id)
    }

    pub fn details(&self, id: &EventId) -> Option<&Details> {
        self.events.get(id).filter(|entry| entry.present).map(|entry| &entry.details)
    }

    /// The event's quotes, without withdrawn ones, in the order of their bookmakers and markets.
    pub fn quotes_of(&self, id: &EventId) -> impl Iterator<Item = (&BookmakerKey, &MarketKey, &Outcomes)> {
        let entry = self.events.get(id).filter(|entry| entry.present);
        entry.into_iter().flat_map(Entry::live_quotes).map(|quote| (&quote.bookmaker, &quote.market, &quote.outcomes))
    }

    /// The event as an image; `None` if it is not on the board.
    pub fn image(&self, id: &EventId, polled_at: Timestamp) -> Option<Image> {
        let entry = self.events.get(id).filter(|entry| entry.present)?;
        let quotes: Quotes = entry
            .live_quotes()
            .map(|quote| {
                let market = Market { last_update: quote.last_update, outcomes: quote.outcomes.clone() };
                ((quote.bookmaker.clone(), quote.market.clone()), market)
            })
            .collect();
        Some(Image { polled_at, details: entry.details.clone(), quotes })
    }

    /// Replaces the event by the image. Returns whether anything changed.
    pub fn set(&mut self, id: &EventId, image: &Image) -> bool {
        let now = Revision(self.revision.0 + 1);
        let entry = self.events.entry(id.clone()).or_insert_with(|| Entry::absent(image.details.clone()));
        let before = entry.changed;
        let mut gone = false;
        let mut has_removal = false;

        if !entry.present || entry.details != image.details {
            if entry.present {
                self.digest.remove(Digest::of_details(id, &entry.details));
                if entry.details.sport_key != image.details.sport_key {
                    entry.former.push((now, Some(entry.details.sport_key.clone())));
                    has_removal = true;
                }
            } else {
                entry.former.push((now, None));
                has_removal = true;
                self.live_events += 1;
            }
            entry.present = true;
            entry.details = image.details.clone();
            entry.details_changed = now;
            entry.changed = now;
            self.digest.add(Digest::of_details(id, &entry.details));
        }

        // Both lists are sorted, so one pass covers them.
        let mut at = 0;
        for (n, (key, new)) in image.quotes.iter().enumerate() {
            // The image has no quote for the keys in between.
            while entry.quotes.get(at).is_some_and(|quote| quote.compare(key) == Ordering::Less) {
                gone |= entry.quotes[at].withdraw(now, &mut self.digest, &mut self.live_quotes);
                at += 1;
            }
            let (bookmaker, market) = key;
            match entry.quotes.get_mut(at).filter(|quote| quote.compare(key) == Ordering::Equal) {
                Some(quote) if quote.outcomes == new.outcomes && quote.last_update == new.last_update => {}
                Some(quote) => {
                    if quote.is_live() {
                        self.digest.remove(quote.digest);
                    } else {
                        self.live_quotes += 1;
                    }
                    quote.outcomes.clone_from(&new.outcomes);
                    quote.last_update = new.last_update;
                    quote.digest = Digest::of_quote(id, bookmaker, market, new);
                    quote.changed = now;
                    self.digest.add(quote.digest);
                    entry.changed = now;
                }
                None => {
                    let quote = Quote {
                        bookmaker: shared(&mut self.bookmakers, bookmaker),
                        market: shared(&mut self.markets, market),
                        last_update: new.last_update,
                        outcomes: new.outcomes.clone(),
                        digest: Digest::of_quote(id, bookmaker, market, new),
                        changed: now,
                    };
                    self.digest.add(quote.digest);
                    self.live_quotes += 1;
                    if entry.quotes.len() == entry.quotes.capacity() {
                        entry.quotes.reserve_exact(image.quotes.len() - n);
                    }
                    entry.quotes.insert(at, quote);
                    entry.changed = now;
                }
            }
            at += 1;
        }
        for quote in &mut entry.quotes[at..] {
            gone |= quote.withdraw(now, &mut self.digest, &mut self.live_quotes);
        }
        if gone {
            entry.changed = now;
            has_removal = true;
        }

        let changed = entry.changed == now;
        if has_removal {
            self.tombstones.push_back((now, id.clone()));
        }
        self.index_change(id, before, changed);
        changed
    }

    /// Removes the event. Returns whether it was on the board.
    pub fn remove(&mut self, id: &EventId) -> bool {
        let now = Revision(self.revision.0 + 1);
        let Some(entry) = self.events.get_mut(id).filter(|entry| entry.present) else {
            return false;
        };
        let before = entry.changed;
        self.digest.remove(Digest::of_details(id, &entry.details));
        for quote in &mut entry.quotes {
            quote.withdraw(now, &mut self.digest, &mut self.live_quotes);
        }
        entry.present = false;
        entry.former.push((now, Some(entry.details.sport_key.clone())));
        entry.changed = now;
        self.live_events -= 1;
        self.tombstones.push_back((now, id.clone()));
        self.index_change(id, before, true);
        true
    }

    fn index_change(&mut self, id: &EventId, before: Revision, changed: bool) {
        if changed {
            self.revision.0 += 1;
            self.recent.remove(&before);
            self.recent.insert(self.revision, id.clone());
        }
    }

    /// The digest that the board would have after these changes, each of a different event.
    pub fn digest_after<'a>(&self, changes: impl IntoIterator<Item = (&'a EventId, Option<&'a Image>)>) -> Digest {
        let mut digest = self.digest;
        for (id, image) in changes {
            if let Some(entry) = self.events.get(id).filter(|entry| entry.present) {
                digest.remove(Digest::of_details(id, &entry.details));
                entry.live_quotes().for_each(|quote| digest.remove(quote.digest));
            }
            if let Some(image) = image {
                digest.add(Digest::of_details(id, &image.details));
                for ((bookmaker, market), quote) in &image.quotes {
                    digest.add(Digest::of_quote(id, bookmaker, market, quote));
                }
            }
        }
        digest
    }

    /// Remembers the current state as the verified state of this step.
    pub fn remember(&mut self, id: StepId) {
        match self.remembered.back_mut() {
            Some(last) if last.revision == self.revision && last.first.term == id.term => last.last = id.step,
            _ => {
                let state = Remembered { first: id, last: id.step, digest: self.digest, revision: self.revision };
                self.remembered.push_back(state);
            }
        }
        while self.remembered.len() > self.memory {
            self.remembered.pop_front();
        }
        self.purge();
    }

    /// Drops removed events, withdrawn quotes and former sports that no remembered state needs.
    pub(crate) fn purge(&mut self) {
        let oldest = self.remembered.front().map_or(self.revision, |state| state.revision);
        while let Some((_, id)) = self.tombstones.pop_front_if(|(revision, _)| *revision <= oldest) {
            let Some(entry) = self.events.get_mut(&id) else { continue };
            entry.former.retain(|(until, _)| *until > oldest);
            entry.quotes.retain(|quote| quote.is_live() || quote.changed > oldest);
            if !entry.present && entry.changed <= oldest {
                self.recent.remove(&entry.changed);
                self.events.remove(&id);
            }
        }
    }

    /// The cursor of the current state; `None` while the board is unverified.
    pub fn cursor(&self, filter: &Filter) -> Option<Cursor> {
        let state = self.remembered.back().filter(|state| state.revision == self.revision)?;
        Some(Cursor::new(StepId::new(state.first.term, state.last), state.digest, filter))
    }

    pub(crate) fn find(&self, cursor: &Cursor, filter: &Filter) -> Found {
        if !cursor.fits(filter) {
            return Found::Unknown;
        }
        let id = cursor.id;
        let after = self.remembered.partition_point(|state| state.first <= id);
        let known = after
            .checked_sub(1)
            .map(|at| self.remembered[at])
            .filter(|state| state.first.term == id.term && id.step <= state.last && state.digest == cursor.digest);
        if let Some(state) = known {
            return Found::At(state.revision);
        }
        match self.remembered.back() {
            Some(newest) if StepId::new(newest.first.term, newest.last) >= id => Found::Unknown,
            _ => Found::Ahead,
        }
    }

    /// How many remembered states are newer than the cursor's; `None` if that one is not remembered.
    pub fn age(&self, cursor: &Cursor, filter: &Filter) -> Option<usize> {
        match self.find(cursor, filter) {
            Found::At(revision) => {
                let at = self.remembered.partition_point(|state| state.revision < revision);
                Some(self.remembered.len() - 1 - at)
            }
            Found::Ahead | Found::Unknown => None,
        }
    }

    /// Whether the cursor names a step that this board has not reached.
    pub fn is_ahead(&self, cursor: &Cursor, filter: &Filter) -> bool {
        self.find(cursor, filter) == Found::Ahead
    }

    /// Whether the cursor's age is more than half of what the board remembers, or its state is not remembered.
    pub fn is_growing_old(&self, cursor: &Cursor, filter: &Filter) -> bool {
        self.age(cursor, filter).is_none_or(|age| age > self.memory / 2)
    }
}

impl Entry {
    fn absent(details: Details) -> Self {
        Self {
            present: false,
            details,
            details_changed: Revision(0),
            changed: Revision(0),
            former: Vec::new(),
            quotes: Vec::new(),
        }
    }

    fn live_quotes(&self) -> impl Iterator<Item = &Quote> {
        self.quotes.iter().filter(|quote| quote.is_live())
    }

    /// Its sport at a revision; `None` if it was not on the board.
    fn sport_at(&self, revision: Revision) -> Option<&SportKey> {
        match self.former.iter().find(|(until, _)| revision < *until) {
            Some((_, sport)) => sport.as_ref(),
            None => self.present.then_some(&self.details.sport_key),
        }
    }
}

impl Quote {
    fn is_live(&self) -> bool {
        !self.outcomes.is_empty()
    }

    fn compare(&self, (bookmaker, market): &(BookmakerKey, MarketKey)) -> Ordering {
        (&self.bookmaker, &self.market).cmp(&(bookmaker, market))
    }

    /// Withdraws the quote and updates the board's digest and number of quotes. Returns whether it was live.
    fn withdraw(&mut self, now: Revision, digest: &mut Digest, live_quotes: &mut usize) -> bool {
        if !self.is_live() {
            return false;
        }
        digest.remove(self.digest);
        *live_quotes -= 1;
        self.outcomes = Outcomes::none();
        self.changed = now;
        true
    }
}

/// The same key, sharing its text with all equal keys of the board.
fn shared<K: Clone + Eq + std::hash::Hash>(known: &mut HashSet<K>, key: &K) -> K {
    if let Some(known) = known.get(key) {
        return known.clone();
    }
    known.insert(key.clone());
    key.clone()
}
