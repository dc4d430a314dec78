//! Boards of two regions, step by step.

use std::collections::BTreeMap;

use alerts::{Boards, RegionView};
use odds::{
    Board, Change, Decimal, Details, EventId, FeedState, Image, LogPosition, Marker, Market, Outcome, Outcomes, Quotes,
    Region, SportFreshness, SportKey, StepId, Term, Timestamp,
};

pub const REGIONS: [Region; 2] = [Region::Uk, Region::Eu];
pub const MINUTE: i64 = 60_000;

/// What a bookmaker offers for an event: the prices of A and B in hundredths, and the point of its total in halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub a: i64,
    pub b: i64,
    pub half_points: i64,
}

/// Everything that a region offers, by event and bookmaker.
pub type Offers = BTreeMap<(u8, u8), Offer>;

/// How good a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    Live,
    /// The feed has a problem.
    Stale,
    /// The sport was not polled again in time.
    Old,
    Replay,
}

/// A step of one region.
#[derive(Clone, Debug)]
pub struct WorldStep {
    pub region: Region,
    pub at: Timestamp,
    pub quality: Quality,
    /// What is offered after it.
    pub offers: Offers,
    /// The events and markets of which a quote changed.
    pub changed: Vec<(u8, &'static str)>,
    pub changes: Vec<Change>,
    pub board: Board,
    pub marker: Marker,
}

#[derive(Default)]
pub struct World {
    pub steps: Vec<WorldStep>,
}

pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

pub fn event(number: u8) -> EventId {
    format!("event-{number}").parse().unwrap()
}

pub fn sport() -> SportKey {
    "soccer".parse().unwrap()
}

/// When all events start.
pub fn start() -> Timestamp {
    at(40 * MINUTE)
}

impl World {
    /// Makes a step with these changes of what is offered.
    pub fn step(
        &mut self,
        region: Region,
        millis: i64,
        quality: Quality,
        changes: &[(u8, u8, Option<Offer>)],
    ) -> &WorldStep {
        let last = self.steps.iter().rev().find(|step| step.region == region);
        let before = last.map(|it| it.offers.clone()).unwrap_or_default();
        let (mut offers, mut board) = last.map_or_else(Default::default, |it| (it.offers.clone(), it.board.clone()));
        let seq = last.map_or(1, |it| it.marker.position.unwrap().seq + 1);
        for (event, bookmaker, offer) in changes {
            match offer {
                Some(offer) => drop(offers.insert((*event, *bookmaker), *offer)),
                None => drop(offers.remove(&(*event, *bookmaker))),
            }
        }
        let mut changed: Vec<u8> = changes.iter().map(|(event, ..)| *event).collect();
        changed.sort_unstable();
        changed.dedup();
        let revision = board.revision();
        for number in &changed {
            let image = image(*number, &offers);
            match image.quotes.is_empty() {
                true => drop(board.remove(&event(*number))),
                false => drop(board.set(&event(*number), &image)),
            }
        }
        let step = StepId::new(Term::new(1, 0), seq);
        board.remember(step);
        let all = board.changes_since(revision).filter(|_| last.is_some()).unwrap_or_else(|| board.content());
        let marker = marker(region, at(millis), quality, seq);
        let changed = differences(&before, &offers);
        self.steps.push(WorldStep { region, at: at(millis), quality, offers, changed, changes: all, board, marker });
        self.steps.last().unwrap()
    }

    /// The steps of a region, in order.
    pub fn of(&self, region: Region) -> Vec<&WorldStep> {
        self.steps.iter().filter(|step| step.region == region).collect()
    }
}

fn differences(before: &Offers, after: &Offers) -> Vec<(u8, &'static str)> {
    let keys = before.keys().chain(after.keys());
    let differs = |key: &(u8, u8), of: fn(&Offer) -> (i64, i64)| before.get(key).map(of) != after.get(key).map(of);
    let of_key = |key: &(u8, u8)| {
        let prices = differs(key, |offer| (offer.a, offer.b)).then_some((key.0, "h2h"));
        let points = differs(key, |offer| (offer.half_points, 0)).then_some((key.0, "totals"));
        prices.into_iter().chain(points)
    };
    keys.flat_map(of_key).collect()
}

/// The boards at these steps.
pub fn boards<'a>(steps: impl IntoIterator<Item = &'a WorldStep>) -> Boards<'a> {
    let mut boards = Boards::default();
    for step in steps {
        boards.set(step.region, Some(RegionView { board: &step.board, marker: &step.marker }));
    }
    boards
}

fn image(number: u8, offers: &Offers) -> Image {
    let outcome = |name: &str, hundredths: i64, point: Option<i64>| Outcome {
        name: name.to_owned(),
        price: Decimal::new(hundredths, 2),
        point: point.map(|halves| Decimal::new(halves * 5, 1)),
        description: None,
    };
    let mut quotes = Quotes::new();
    for ((_, bookmaker), offer) in offers.iter().filter(|((event, _), _)| *event == number) {
        let key = |market: &str| (format!("b{bookmaker}").parse().unwrap(), market.parse().unwrap());
        let quote = |outcomes| Market { last_update: at(0), outcomes: Outcomes::new(outcomes) };
        quotes.insert(key("h2h"), quote(vec![outcome("A", offer.a, None), outcome("B", offer.b, None)]));
        let point = Some(offer.half_points);
        quotes.insert(key("totals"), quote(vec![outcome("Over", 190, point), outcome("Under", 190, point)]));
    }
    let details = Details {
        sport_key: sport(),
        sport_title: "Soccer".into(),
        commence_time: start(),
        home_team: Some("A".into()),
        away_team: Some("B".into()),
    };
    Image { polled_at: at(0), details, quotes }
}

fn marker(region: Region, at: Timestamp, quality: Quality, seq: u64) -> Marker {
    let stale_after = at.plus_millis(if quality == Quality::Old { -1 } else { 2 * MINUTE });
    Marker {
        digest: odds::Digest::default(),
        at,
        position: Some(LogPosition { log: format!("{}.0/1", 1 + region as u64).parse().unwrap(), seq }),
        next_by: at.plus_millis(3 * MINUTE),
        state: if quality == Quality::Stale { FeedState::Stale } else { FeedState::Live },
        reason: None,
        source: if quality == Quality::Replay { "replay:test".into() } else { "test".into() },
        credits: odds::Credits::default(),
        sports: [(sport(), SportFreshness { polled_at: at, stale_after })].into(),
        bookmakers: BTreeMap::new(),
        bookmaker_names: BTreeMap::new(),
        spent_today: None,
    }
}
