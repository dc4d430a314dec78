//! Changes that a leader has not published yet: the events that differ from the board.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Board, Details, EventId, Image, SportKey};

/// The changes to publish with the next step. Holds at most one image per event, however long Kafka is unavailable.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    changes: BTreeMap<EventId, Option<Image>>,
    /// Sports whose last answer was empty while the board had events of theirs.
    emptied: BTreeSet<SportKey>,
    /// Events that upstream offers but that are too large for a record.
    left_out: BTreeMap<EventId, LeftOut>,
}

#[derive(Clone, Debug)]
struct LeftOut {
    sport: SportKey,
    max_bytes: usize,
}

impl Pending {
    /// The changed events; those without an image are to be removed.
    pub fn changes(&self) -> impl Iterator<Item = (&EventId, Option<&Image>)> {
        self.changes.iter().map(|(event, image)| (event, image.as_ref()))
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Takes the answer to a poll: all events of one sport. Events missing from it are removed, but an answer that
    /// empties the whole sport is accepted only the second time in a row. Returns whether it is accepted. An answer
    /// that isn't does not confirm the sport's prices, either.
    pub fn poll(
        &mut self,
        board: &Board,
        sport: &SportKey,
        answer: impl IntoIterator<Item = (EventId, Image)>,
    ) -> bool {
        let mut gone = self.events_of(board, |of| of == sport);
        let mut offered = BTreeSet::new();
        for (event, image) in answer {
            gone.remove(&event);
            self.want(board, event.clone(), image);
            offered.insert(event);
        }
        if offered.is_empty() && !gone.is_empty() && self.emptied.insert(sport.clone()) {
            return false;
        }
        self.emptied.remove(sport);
        self.left_out.retain(|event, it| it.sport != *sport || offered.contains(event));
        gone.into_iter().for_each(|event| self.drop_event(board, event));
        true
    }

    /// An event's details, those to be published first.
    pub fn details<'a>(&'a self, board: &'a Board, event: &EventId) -> Option<&'a Details> {
        match self.changes.get(event) {
            Some(wanted) => wanted.as_ref().map(|image| &image.details),
            None => board.details(event),
        }
    }

    /// Removes an event whose record would exceed `max_bytes`, until it no longer does.
    pub fn leave_out(&mut self, board: &Board, event: &EventId, max_bytes: usize) {
        if let Some(Some(image)) = self.changes.get(event) {
            let sport = image.details.sport_key.clone();
            self.left_out.insert(event.clone(), LeftOut { sport, max_bytes });
            self.drop_event(board, event.clone());
        }
    }

    /// Removes the events of all other sports, which are no longer polled.
    pub fn keep_sports(&mut self, board: &Board, sports: &BTreeSet<SportKey>) {
        let others = self.events_of(board, |of| !sports.contains(of));
        others.into_iter().for_each(|event| self.drop_event(board, event));
    }

    /// Drops the changes that are now on the board.
    pub fn settle(&mut self, board: &Board) {
        self.changes.retain(|event, wanted| match wanted {
            Some(wanted) => {
                board.image(event, wanted.polled_at).is_none_or(|shown| !shown.is_equal_except_time(wanted))
            }
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
        if let Some(left_out) = self.left_out.get(&event) {
            if image.to_json(&event).len() > left_out.max_bytes {
                return self.drop_event(board, event);
            }
            self.left_out.remove(&event);
        }
        let shown = board.image(&event, image.polled_at);
        // A pending image is newer than the board, so its times are taken first. The board's apply to prices that
        // changed and changed back before they were published.
        if let Some(Some(pending)) = self.changes.get(&event) {
            image.carry_forward(pending);
        }
        if let Some(shown) = &shown {
            image.carry_forward(shown);
        }
        if shown.is_some_and(|shown| shown.is_equal_except_time(&image)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decimal, Details, Market, Outcome, Outcomes, Quotes, Timestamp};

    fn image(sport: &str, price: i64, at: i64) -> Image {
        let outcome = Outcome { name: "x".into(), price: Decimal::new(price, 2), point: None, description: None };
        let market = Market { last_update: Timestamp::from_millis(at), outcomes: Outcomes::new(vec![outcome]) };
        let details = Details {
            sport_key: sport.parse().unwrap(),
            sport_title: "S".into(),
            commence_time: Timestamp::from_millis(0),
            home_team: None,
            away_team: None,
        };
        let quotes = Quotes::from([(("b".parse().unwrap(), "m".parse().unwrap()), market)]);
        Image { polled_at: Timestamp::from_millis(at), details, quotes }
    }

    fn id(text: &str) -> EventId {
        text.parse().unwrap()
    }

    fn sport(text: &str) -> SportKey {
        text.parse().unwrap()
    }

    /// A board with events `a` and `b` of sport `s` and `c` of sport `t`.
    fn board() -> Board {
        let mut board = Board::default();
        board.set(&id("a"), &image("s", 150, 1));
        board.set(&id("b"), &image("s", 150, 1));
        board.set(&id("c"), &image("t", 150, 1));
        board
    }

    fn names(pending: &Pending) -> Vec<(&str, bool)> {
        pending.changes().map(|(event, image)| (event.as_str(), image.is_some())).collect()
    }

    #[test]
    fn only_differences_are_pending() {
        let mut pending = Pending::default();
        let answer = vec![(id("a"), image("s", 150, 9)), (id("b"), image("s", 160, 9))];
        pending.poll(&board(), &sport("s"), answer);
        assert_eq!(names(&pending), [("b", true)]);
    }

    #[test]
    fn a_price_that_changed_back_before_it_was_published_is_no_change() {
        let mut pending = Pending::default();
        let answer = |price| vec![(id("a"), image("s", price, price)), (id("b"), image("s", 150, price))];
        pending.poll(&board(), &sport("s"), answer(160));
        pending.poll(&board(), &sport("s"), answer(150));
        assert!(pending.is_empty());
    }

    #[test]
    fn a_pending_price_keeps_its_time() {
        let mut pending = Pending::default();
        let answer = |at| vec![(id("a"), image("s", 160, at)), (id("b"), image("s", 150, at))];
        pending.poll(&board(), &sport("s"), answer(5));
        pending.poll(&board(), &sport("s"), answer(9));
        let (_, image) = pending.changes().next().unwrap();
        assert_eq!(image.unwrap().quotes.values().next().unwrap().last_update, Timestamp::from_millis(5));
    }

    #[test]
    fn events_missing_from_an_answer_are_removed() {
        let mut pending = Pending::default();
        pending.poll(&board(), &sport("s"), vec![(id("a"), image("s", 150, 9))]);
        assert_eq!(names(&pending), [("b", false)]);
    }

    #[test]
    fn an_empty_answer_is_accepted_the_second_time() {
        let mut pending = Pending::default();
        pending.poll(&board(), &sport("s"), vec![]);
        assert!(pending.is_empty());
        pending.poll(&board(), &sport("s"), vec![]);
        assert_eq!(names(&pending), [("a", false), ("b", false)]);
    }

    #[test]
    fn two_empty_answers_with_odds_between_are_each_the_first() {
        let mut pending = Pending::default();
        let full = || vec![(id("a"), image("s", 150, 9)), (id("b"), image("s", 150, 9))];
        pending.poll(&board(), &sport("s"), vec![]);
        pending.poll(&board(), &sport("s"), full());
        pending.poll(&board(), &sport("s"), vec![]);
        assert!(pending.is_empty());
    }

    #[test]
    fn poll_returns_whether_the_answer_is_accepted() {
        let mut pending = Pending::default();
        assert!(!pending.poll(&board(), &sport("s"), vec![]));
        assert!(pending.poll(&board(), &sport("s"), vec![]));
        assert!(pending.poll(&board(), &sport("s"), vec![(id("a"), image("s", 150, 9))]));
        assert!(pending.poll(&board(), &sport("never_shown"), vec![]));
    }

    #[test]
    fn an_event_that_is_too_large_is_left_out_until_it_fits() {
        let (mut pending, mut board) = (Pending::default(), board());
        let answer = |price| vec![(id("a"), image("s", price, 9)), (id("b"), image("s", 150, 9))];
        let bytes = image("s", 160, 9).to_json(&id("a")).len();
        pending.poll(&board, &sport("s"), answer(160));
        pending.leave_out(&board, &id("a"), bytes - 1);
        assert_eq!(names(&pending), [("a", false)], "its old prices go");
        board.remove(&id("a"));
        pending.settle(&board);
        assert!(pending.is_empty(), "nothing is tried again");
        pending.poll(&board, &sport("s"), answer(170));
        assert!(pending.is_empty(), "nor at the next poll");
        pending.leave_out(&board, &id("b"), 1);
        pending.poll(&board, &sport("s"), answer(200));
        assert_eq!(names(&pending), [("a", true)], "a shorter price fits");
    }

    #[test]
    fn pending_details_come_first() {
        let (mut pending, board) = (Pending::default(), board());
        let mut renamed = image("s", 150, 9);
        renamed.details.sport_title = "T".into();
        pending.poll(&board, &sport("s"), vec![(id("a"), renamed)]);
        let title = |event: &str| pending.details(&board, &id(event)).map(|details| &*details.sport_title);
        assert_eq!((title("a"), title("b"), title("c"), title("d")), (Some("T"), None, Some("S"), None));
    }

    #[test]
    fn sports_that_are_no_longer_polled_are_removed() {
        let mut pending = Pending::default();
        pending.keep_sports(&board(), &BTreeSet::from([sport("t")]));
        assert_eq!(names(&pending), [("a", false), ("b", false)]);
    }

    #[test]
    fn changes_that_are_on_the_board_are_dropped() {
        let mut pending = Pending::default();
        let mut board = board();
        pending.poll(&board, &sport("s"), vec![(id("a"), image("s", 160, 9))]);
        board.set(&id("a"), &image("s", 160, 9));
        board.remove(&id("b"));
        pending.settle(&board);
        assert!(pending.is_empty());
    }
}
