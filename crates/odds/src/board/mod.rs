//! The board: the newest known state of one region, and what changed since any state that is
//! still remembered.
//!
//! Every change of an event gets a revision, a number of this board alone. `recent` holds every
//! event once, at its last revision, so what changed after a revision is the tail of that map. A
//! cursor names a verified step; the board knows the revision it stood at then. What was removed
//! or withdrawn stays as long as a remembered cursor could still need to hear of it.

mod cursor;
mod digest;
mod filter;
mod frames;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
};

pub use cursor::{Cursor, InvalidCursor};
pub use digest::Digest;
pub use filter::{Filter, InvalidFilter};
pub use frames::{Frame, FrameKind, PART_BYTES};

use crate::{BookmakerKey, Details, EventId, Image, Market, MarketKey, Outcomes, Quotes, SportKey, StepId, Timestamp};

/// How many states with changes a board remembers for cursors, unless told otherwise.
const REMEMBERED_STATES: usize = 4_096;

/// A moment in the life of one board object. Means nothing to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(u64);

impl Revision {
    /// How many changes of an event the board has seen until then.
    pub fn count(self) -> u64 {
        self.0
    }
}

#[derive(Clone, Debug)]
pub struct Board {
    events: HashMap<EventId, Entry>,
    /// Every event, gone ones included, at the revision of its last change.
    recent: BTreeMap<Revision, EventId>,
    revision: Revision,
    digest: Digest,
    /// Verified states, oldest first.
    remembered: VecDeque<Remembered>,
    memory: usize,
    /// Where there is something to forget once no remembered state is older.
    tombstones: VecDeque<(Revision, EventId)>,
    bookmakers: HashSet<BookmakerKey>,
    markets: HashSet<MarketKey>,
    live_events: usize,
    live_quotes: usize,
}

/// One state, from the step that made it to the last that left it as it was.
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
    /// Which sport it was under before which revision, oldest first; none where it was absent.
    former: Vec<(Revision, Option<SportKey>)>,
    /// Sorted by bookmaker and market. Without outcomes: withdrawn.
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

/// Where a client's cursor leads on this board.
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

    /// Events it knows, gone ones included.
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

    /// The event as the image that would make it.
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

    /// Sets the event to what the image says. Tells whether anything changed.
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

        // Both are sorted, so one walk meets every quote of either.
        let mut at = 0;
        for (n, (key, new)) in image.quotes.iter().enumerate() {
            // What stands before it is offered no longer.
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
        self.moved(id, before, changed);
        changed
    }

    /// Takes the event off the board. Tells whether it was there.
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
        self.moved(id, before, true);
        true
    }

    fn moved(&mut self, id: &EventId, before: Revision, changed: bool) {
        if changed {
            self.revision.0 += 1;
            self.recent.remove(&before);
            self.recent.insert(self.revision, id.clone());
        }
    }

    /// The digest of the board after these changes, each of another event, without making them.
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

    /// Notes that the board, as it stands, is the verified state of this step.
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

    /// Forgets what no remembered state can still ask for.
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

    /// The cursor of the board as it stands; nothing while it is not verified.
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

    /// How many changes of state ago a cursor's state was; nothing if it is not known.
    pub fn age(&self, cursor: &Cursor, filter: &Filter) -> Option<usize> {
        match self.find(cursor, filter) {
            Found::At(revision) => {
                let at = self.remembered.partition_point(|state| state.revision < revision);
                Some(self.remembered.len() - 1 - at)
            }
            Found::Ahead | Found::Unknown => None,
        }
    }

    /// Whether the cursor is of a state that this board has yet to reach.
    pub fn is_ahead(&self, cursor: &Cursor, filter: &Filter) -> bool {
        self.find(cursor, filter) == Found::Ahead
    }

    /// Whether the cursor is half way to being forgotten.
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

    /// The sport it was under at a revision; nothing where it was not on the board.
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

    /// Takes it off the board, whose digest and count of quotes these are. Tells whether it was there.
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

/// The same key, sharing its text with all others of the board.
fn shared<K: Clone + Eq + std::hash::Hash>(known: &mut HashSet<K>, key: &K) -> K {
    if let Some(known) = known.get(key) {
        return known.clone();
    }
    known.insert(key.clone());
    key.clone()
}
