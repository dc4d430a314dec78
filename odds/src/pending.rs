//! What a leader wants on the board that is not there yet: per event, only what differs.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Board, EventId, Image, SportKey};

/// However long Kafka is away, this holds one image per event at most.
#[derive(Debug, Default)]
pub struct Pending {
    changes: BTreeMap<EventId, Option<Image>>,
    /// Sports whose last answer was empty while the board had events of theirs.
    emptied: BTreeSet<SportKey>,
}

impl Pending {
    /// An event with nothing: to be removed.
    pub fn changes(&self) -> impl Iterator<Item = (&EventId, Option<&Image>)> {
        self.changes.iter().map(|(event, image)| (event, image.as_ref()))
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Takes the answer to a poll of one sport: all its events. What the answer lacks is gone, but
    /// an answer that empties the whole sport is believed only the second time, and events that
    /// could not be read (without an id: any event) are taken to be there as they were.
    pub fn poll(
        &mut self,
        board: &Board,
        sport: &SportKey,
        answer: impl IntoIterator<Item = (EventId, Image)>,
        unreadable: &[Option<EventId>],
    ) {
        let mut gone = self.events_of(board, |of| of == sport);
        let mut empty = unreadable.is_empty();
        for (event, image) in answer {
            empty = false;
            gone.remove(&event);
            self.want(board, event, image);
        }
        if empty && !gone.is_empty() && self.emptied.insert(sport.clone()) {
            return;
        }
        for event in unreadable {
            match event {
                Some(event) => drop(gone.remove(event)),
                None => gone.clear(),
            }
        }
        self.emptied.remove(sport);
        gone.into_iter().for_each(|event| self.drop_event(board, event));
    }

    /// Takes off what is of other sports than these: they are not polled any longer.
    pub fn keep_sports(&mut self, board: &Board, sports: &BTreeSet<SportKey>) {
        let others = self.events_of(board, |of| !sports.contains(of));
        others.into_iter().for_each(|event| self.drop_event(board, event));
    }

    /// Forgets what the board now shows.
    pub fn settle(&mut self, board: &Board) {
        self.changes.retain(|event, wanted| match wanted {
            Some(wanted) => board.image(event, wanted.polled_at).is_none_or(|shown| !shown.says_the_same(wanted)),
            None => board.details(event).is_some(),
        });
    }

    fn events_of(&self, board: &Board, is_meant: impl Fn(&SportKey) -> bool) -> BTreeSet<EventId> {
        let shown = board
            .event_ids()
            .filter(|event| !self.changes.contains_key(*event))
            .filter(|event| board.details(event).is_some_and(|details| is_meant(&details.sport_key)));
        let wanted = self.changes.iter().filter_map(|(event, image)| {
            image.as_ref().filter(|image| is_meant(&image.details.sport_key)).map(|_| event)
        });
        shown.chain(wanted).cloned().collect()
    }

    fn want(&mut self, board: &Board, event: EventId, mut image: Image) {
        let shown = board.image(&event, image.polled_at);
        // What waits to be sent is newer than what is shown: its times go first, then the board's,
        // for a price that went and came back before anybody saw it.
        if let Some(Some(waiting)) = self.changes.get(&event) {
            image.carry_forward(waiting);
        }
        if let Some(shown) = &shown {
            image.carry_forward(shown);
        }
        if shown.is_some_and(|shown| shown.says_the_same(&image)) {
            self.changes.remove(&event);
        } else {
            self.changes.insert(event, Some(image));
        }
    }

    fn drop_event(&mut self, board: &Board, event: EventId) {
        if board.details(&event).is_some() {
            self.changes.insert(event, None);
        } else {
            self.changes.remove(&event);
        }
    }
}
