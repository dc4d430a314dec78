//! A region whose prices move, for benchmarks.

use std::collections::BTreeMap;

use alerts::{Boards, Decision, Matcher, RegionView, Step};
use odds::{
    Board, Credits, Decimal, Digest, EventId, FeedState, Image, LogPosition, Marker, Outcome, Outcomes, Region,
    SportFreshness, Timestamp,
};

use crate::world;

pub const EVENTS: usize = 500;
const LEAGUES: usize = 12;
const REGION: Region = Region::Uk;
/// Steps in a second, and the events that each of them changes: 7 outcomes of one bookmaker.
pub const STEPS: usize = 10;
const CHANGED: usize = 15;

/// A small generator, so that every run has the same rules and prices.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, most: usize) -> usize {
        self.next() as usize % most
    }

    pub fn fraction(&mut self) -> f64 {
        self.next() as f64 / (1u64 << 31) as f64
    }
}

/// A region whose prices move.
pub struct Scene {
    pub events: Vec<(EventId, Image)>,
    /// How far the prices of each event are from where they began.
    drift: Vec<f64>,
    board: Board,
    marker: Marker,
    changes: Vec<odds::Change>,
}

impl Scene {
    pub fn new() -> Self {
        let mut events: Vec<_> = (0..EVENTS).map(|event| world::image(event, 0)).collect();
        let mut board = Board::default();
        for (id, image) in &mut events {
            for quote in image.quotes.values_mut() {
                quote.outcomes = repriced(&quote.outcomes, 0.0, 0.0);
            }
            board.set(id, image);
        }
        board.remember(world::step(1));
        let (drift, marker) = (vec![0.0; EVENTS], marker(1));
        Self { events, drift, board, marker, changes: Vec::new() }
    }

    pub fn boards(&self) -> Boards<'_> {
        let mut boards = Boards::default();
        boards.set(REGION, Some(RegionView { board: &self.board, marker: &self.marker }));
        boards
    }

    /// The next step. Returns how many outcomes changed.
    pub fn next(&mut self, random: &mut Random) -> usize {
        let revision = self.board.revision();
        let seq = self.marker.position.unwrap().seq + 1;
        for _ in 0..CHANGED {
            let event = random.below(EVENTS);
            self.drift[event] = (self.drift[event] + (random.fraction() - 0.5) * 0.02).clamp(-0.2, 0.2);
            let bookmaker = format!("bookmaker_{}", random.below(world::BOOKMAKERS));
            let (id, image) = &mut self.events[event];
            let noise = (random.fraction() - 0.5) * 0.04;
            for (_, quote) in image.quotes.iter_mut().filter(|((of, _), _)| of.as_str() == bookmaker) {
                quote.outcomes = repriced(&quote.outcomes, self.drift[event], noise);
            }
            self.board.set(id, image);
        }
        self.board.remember(world::step(seq));
        self.changes = self.board.changes_since(revision).unwrap();
        self.marker = marker(seq);
        let outcomes = self.changes.iter().flat_map(odds::Change::quotes).map(|quote| quote.outcomes.to_vec().len());
        outcomes.sum()
    }

    pub fn evaluate(&self, matcher: &mut Matcher) -> Vec<Decision> {
        let boards = self.boards();
        let step = Step { region: REGION, changes: &self.changes, is_whole: false, is_newest: true, boards };
        matcher.step(&step, self.marker.at)
    }
}

/// Prices around those of a fair market, in the order of the outcomes.
fn repriced(outcomes: &Outcomes, drift: f64, noise: f64) -> Outcomes {
    let all = outcomes.to_vec();
    let fair = all.len() as f64;
    let price = |(n, outcome): (usize, Outcome)| {
        let direction = if n == 0 { 1.0 } else { -1.0 };
        let price = fair * (1.0 + direction * drift + noise) * 0.96;
        Outcome { price: Decimal::new((price * 100.0).round() as i64, 2), ..outcome }
    };
    Outcomes::new(all.into_iter().enumerate().map(price).collect())
}

pub fn at(seq: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seq as i64 * 1_000 / STEPS as i64)
}

fn marker(seq: u64) -> Marker {
    let at = at(seq);
    let fresh = SportFreshness { polled_at: at, stale_after: at.plus_millis(60_000) };
    let sport = |league| (format!("soccer_league_{league}").parse().unwrap(), fresh);
    Marker {
        digest: Digest::default(),
        at,
        position: Some(LogPosition { log: "1.1/1".parse().unwrap(), seq }),
        next_by: at.plus_millis(60_000),
        state: FeedState::Live,
        reason: None,
        source: "test".into(),
        credits: Credits::default(),
        sports: (0..LEAGUES).map(sport).collect(),
        bookmakers: BTreeMap::new(),
        bookmaker_names: BTreeMap::new(),
        spent_today: None,
    }
}
