//! Which events were on the boards of a region, and what was known of them.

use std::collections::BTreeMap;

use odds::{Details, EventId, Region, Timestamp};

/// Events that were on a region's board at any time between two times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    pub region: Region,
    /// Only this one.
    pub event: Option<EventId>,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// An event that was on a region's board.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    pub id: EventId,
    /// What was known of it, from each time on: `None` while it was not on the board. The first is what was known when
    /// the wanted time began, or when it was first seen.
    pub details: Vec<(Timestamp, Option<Details>)>,
}

impl RecordedEvent {
    /// The newest details.
    pub fn newest(&self) -> Option<&Details> {
        self.details.iter().rev().find_map(|(_, details)| details.as_ref())
    }

    /// When it started, as it was known then: a start that was moved before it came does not count.
    pub fn start(&self) -> Option<Timestamp> {
        let mut known =
            self.details.iter().rev().filter_map(|(at, details)| Some((*at, details.as_ref()?.commence_time)));
        let newest = known.clone().next().map(|(_, start)| start);
        known.find(|(at, start)| at <= start).map(|(_, start)| start).or(newest)
    }

    /// When it was last on the board at or before a time.
    pub fn last_on_board(&self, at: Timestamp) -> Option<Timestamp> {
        let before = self.details.partition_point(|(from, _)| *from <= at);
        let mut until = at;
        for (from, details) in self.details[..before].iter().rev() {
            if details.is_some() {
                return Some(until);
            }
            until = from.plus_millis(-1);
        }
        None
    }
}

/// The most events of one query.
pub(crate) const MOST_EVENTS: usize = 20_000;

/// Collects what was known of events.
#[derive(Debug)]
pub(crate) struct Collector<E, D> {
    events: BTreeMap<E, BTreeMap<Timestamp, Option<D>>>,
    /// The times of boards that were recorded as a whole: an event that is not on one has ended.
    boards: Vec<Timestamp>,
}

impl<E: Ord, D: Clone> Collector<E, D> {
    /// `boards` are the times of the boards that are recorded as a whole.
    pub(crate) fn new(mut boards: Vec<Timestamp>) -> Self {
        boards.sort_unstable();
        Self { events: BTreeMap::new(), boards }
    }

    pub(crate) fn add(&mut self, event: E, at: Timestamp, details: Option<D>) {
        self.events.entry(event).or_default().insert(at, details);
    }

    /// The events that were on the board at `from` or later.
    pub(crate) fn finish(self, from: Timestamp) -> impl Iterator<Item = (E, Vec<(Timestamp, Option<D>)>)> {
        let Self { events, boards } = self;
        events.into_iter().filter_map(move |(event, known)| {
            let mut known: Vec<(Timestamp, Option<D>)> = with_ends(known, &boards);
            let first = known.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
            known.drain(..first);
            known.iter().any(|(_, details)| details.is_some()).then_some((event, known))
        })
    }
}

/// Adds an end at each board that does not have the event.
fn with_ends<D>(mut known: BTreeMap<Timestamp, Option<D>>, boards: &[Timestamp]) -> Vec<(Timestamp, Option<D>)> {
    let Some((first, _)) = known.first_key_value() else { return Vec::new() };
    let first = boards.partition_point(|board| board <= first);
    for board in &boards[first..] {
        let is_on = known.range(..*board).next_back().is_some_and(|(_, details)| details.is_some());
        if is_on && !known.contains_key(board) {
            known.insert(*board, None);
        }
    }
    known.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn event(details: &[(i64, Option<i64>)]) -> RecordedEvent {
        let starting = |start: i64| Details {
            sport_key: "s".parse().unwrap(),
            sport_title: String::new(),
            commence_time: at(start),
            home_team: None,
            away_team: None,
        };
        let details = details.iter().map(|(from, start)| (at(*from), start.map(starting)));
        RecordedEvent { id: "e".parse().unwrap(), details: details.collect() }
    }

    #[test]
    fn a_start_that_was_moved_before_it_came_does_not_count() {
        let start = |details: &[(i64, Option<i64>)]| event(details).start().map(Timestamp::as_millis);
        assert_eq!(start(&[(10, Some(100))]), Some(100));
        assert_eq!(start(&[(10, Some(100)), (90, Some(200)), (150, Some(180))]), Some(180));
        // It had started when another time was published.
        assert_eq!(start(&[(10, Some(100)), (120, Some(110)), (130, None)]), Some(100));
        assert_eq!(start(&[(120, Some(100))]), Some(100));
        assert_eq!(start(&[(10, None)]), None);
    }

    #[test]
    fn an_event_is_on_the_board_until_it_is_removed() {
        let event = event(&[(10, Some(100)), (50, None), (70, Some(100)), (80, None)]);
        let last = |time: i64| event.last_on_board(at(time)).map(Timestamp::as_millis);
        assert_eq!(
            [9, 10, 49, 50, 69, 70, 80, 99].map(last),
            [None, Some(10), Some(49), Some(49), Some(49), Some(70), Some(79), Some(79)]
        );
    }

    #[test]
    fn an_event_that_is_not_on_a_whole_board_has_ended() {
        let mut collector = Collector::new(vec![at(30), at(5)]);
        for (event, from, details) in [("a", 5, 1), ("a", 30, 1), ("b", 5, 2), ("c", 10, 3), ("c", 20, 4), ("d", 40, 5)]
        {
            collector.add(event, at(from), Some(details));
        }
        let found: Vec<_> = collector.finish(at(15)).collect();
        let known = |known: &[(i64, Option<i32>)]| known.iter().map(|(from, it)| (at(*from), *it)).collect::<Vec<_>>();
        let expected = [
            ("a", known(&[(5, Some(1)), (30, Some(1))])),
            ("b", known(&[(5, Some(2)), (30, None)])),
            ("c", known(&[(10, Some(3)), (20, Some(4)), (30, None)])),
            ("d", known(&[(40, Some(5))])),
        ];
        assert_eq!(found, expected);
    }
}
