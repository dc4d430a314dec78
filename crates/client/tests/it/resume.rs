//! A client that gets a snapshot and any sequence of frames, under any filter, and resumes on any board, has exactly
//! the filtered board.

use std::collections::BTreeMap;

use client::{Mirror, OutOfStep};
use odds::{
    Board, BookmakerKey, Decimal, Details, Event, EventId, Filter, Frame, FrameKind, Image, Market, MarketKey, Outcome,
    Outcomes, PART_BYTES, Quotes, Region, SnapshotPayload, SportKey, StepId, Term, Timestamp,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const REGION: Region = Region::Uk;
const HISTORIES: u64 = 300;

/// What a step does: a new image of an event, or its removal.
type Changes = Vec<(EventId, Option<Image>)>;

struct Client {
    filter: Filter,
    mirror: Mirror,
}

impl Client {
    /// Brings the client up to date as a gateway does, through the wire format.
    fn catch_up(&mut self, board: &Board) {
        let since = self.mirror.cursor().and_then(|cursor| board.since(REGION, &cursor, &self.filter));
        let frames = since
            .map(|frame| vec![frame])
            .or_else(|| board.snapshot(REGION, &self.filter))
            .expect("the board is verified");
        frames.iter().for_each(|frame| self.take(frame));
        assert_eq!(self.mirror.cursor(), board.cursor(&self.filter));
        assert_eq!(*self.mirror.events(), filtered(board, &self.filter));
    }

    fn take(&mut self, frame: &Frame) {
        match frame.kind {
            FrameKind::Snapshot => drop(self.mirror.snapshot(serde_json::from_str(&frame.json).unwrap())),
            FrameKind::Odds => drop(self.mirror.odds(serde_json::from_str(&frame.json).unwrap()).unwrap()),
        }
    }
}

/// What a client under this filter should have, computed the simple way.
fn filtered(board: &Board, filter: &Filter) -> BTreeMap<EventId, Event> {
    let mut events = BTreeMap::new();
    for id in board.event_ids() {
        let Image { details, mut quotes, .. } = board.image(id, Timestamp::from_millis(0)).unwrap();
        quotes.retain(|(bookmaker, market), _| filter.admits_quote(bookmaker, market));
        if filter.admits_event(id, &details.sport_key) {
            events.insert(id.clone(), Event { details, quotes });
        }
    }
    events
}

fn key<K: std::str::FromStr<Err: std::fmt::Debug>>(prefix: &str, n: u32) -> K {
    format!("{prefix}{n}").parse().unwrap()
}

fn draw_image(random: &mut StdRng) -> Image {
    let mut quotes = Quotes::new();
    for bookmaker in 0..3 {
        for market in 0..2 {
            if random.random_bool(0.6) {
                let outcome = Outcome {
                    name: "x".into(),
                    price: Decimal::new(random.random_range(101..104), 2),
                    point: None,
                    description: None,
                };
                let last_update = Timestamp::from_millis(random.random_range(0..2) * 1000);
                let market_key: MarketKey = key("m", market);
                let bookmaker: BookmakerKey = key("b", bookmaker);
                quotes.insert((bookmaker, market_key), Market { last_update, outcomes: Outcomes::new(vec![outcome]) });
            }
        }
    }
    let details = Details {
        sport_key: key::<SportKey>("s", random.random_range(0..3)),
        sport_title: "S".into(),
        commence_time: Timestamp::from_millis(random.random_range(0..2) * 1000),
        home_team: random.random_bool(0.5).then(|| "Höme \"quoted\"".into()),
        away_team: None,
    };
    Image { polled_at: Timestamp::from_millis(0), details, quotes }
}

fn draw_filter(random: &mut StdRng) -> Filter {
    let mut some = |prefix: &str, of: u32| -> Option<Vec<String>> {
        let drawn = random.random_bool(0.5);
        drawn.then(|| (0..of).filter(|_| random.random_bool(0.5)).map(|n| format!("{prefix}{n}")).collect())
    };
    let value = serde_json::json!({
        "sports": some("s", 3),
        "events": some("e", 4),
        "bookmakers": some("b", 3),
        "markets": some("m", 2),
    });
    Filter::from_value(&value).unwrap()
}

/// Applies the changes of one step to a board, in either order.
fn apply(board: &mut Board, step: &[(EventId, Option<Image>)], backwards: bool, id: StepId) {
    let make = |board: &mut Board, (event, image): &(EventId, Option<Image>)| match image {
        Some(image) => board.set(event, image),
        None => board.remove(event),
    };
    let expected = board.digest_after(step.iter().map(|(event, image)| (event, image.as_ref())));
    let order: Vec<_> = if backwards { step.iter().rev().collect() } else { step.iter().collect() };
    for change in order {
        make(board, change);
    }
    assert_eq!(board.digest(), expected, "the predicted digest is the actual one");
    board.remember(id);
}

#[test]
fn clients_have_exactly_the_board_whatever_happens_to_them() {
    for seed in 0..HISTORIES {
        play(seed);
    }
}

fn play(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    // Two gateways: one remembers little, and the steps reach it in another order, later.
    let mut first = Board::remembering(50);
    let mut second = Board::remembering(random.random_range(1..6));
    let mut behind: Vec<(StepId, Changes)> = Vec::new();
    first.remember(StepId::new(Term::new(1, 0), 1));
    second.remember(StepId::new(Term::new(1, 0), 1));
    let mut clients: Vec<Client> =
        (0..6).map(|_| Client { filter: draw_filter(&mut random), mirror: Mirror::default() }).collect();
    clients.push(Client { filter: Filter::default(), mirror: Mirror::default() });
    for step in 2..60 {
        let mut changes = Changes::new();
        for event in 0..6 {
            if random.random_bool(0.3) {
                let image = random.random_bool(0.75).then(|| draw_image(&mut random));
                changes.push((key("e", event), image));
            }
        }
        let id = StepId::new(Term::new(1 + step / 20, 0), step);
        apply(&mut first, &changes, false, id);
        behind.push((id, changes));
        for (id, changes) in behind.drain(..random.random_range(0..=behind.len())) {
            apply(&mut second, &changes, true, id);
        }
        assert_eq!(
            second.digest() == first.digest(),
            filtered(&first, &Filter::default()) == filtered(&second, &Filter::default())
        );
        for client in &mut clients {
            let board = if random.random_bool(0.3) { &second } else { &first };
            let ahead = client.mirror.cursor().is_some_and(|cursor| board.is_ahead(&cursor, &client.filter));
            if random.random_bool(0.5) && !ahead {
                client.catch_up(board);
            }
            if random.random_bool(0.02) {
                client.filter = draw_filter(&mut random);
            }
        }
    }
}

#[test]
fn a_frame_contains_only_what_changed() {
    let mut random = StdRng::seed_from_u64(1);
    let mut board = Board::default();
    for event in 0..200 {
        board.set(&key("e", event), &draw_image(&mut random));
    }
    board.remember(StepId::new(Term::new(1, 0), 1));
    let all = Filter::default();
    let before = board.cursor(&all).unwrap();
    assert!(!board.differs(&before, &all));
    let mut image = board.image(&key("e", 7), Timestamp::from_millis(0)).unwrap();
    let (_, market) = image.quotes.iter_mut().next().unwrap();
    market.last_update = Timestamp::from_millis(5_000);
    board.set(&key("e", 7), &image);
    board.remember(StepId::new(Term::new(1, 0), 2));
    let json = board.since(REGION, &before, &all).unwrap().json;
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["events"].as_array().unwrap().len(), 1);
    assert_eq!(value["events"][0]["quotes"].as_array().unwrap().len(), 1);
    assert!(value["events"][0].get("sport_key").is_none(), "unchanged details are not repeated: {json}");
}

fn large_board(random: &mut StdRng, step: u64) -> Board {
    let mut board = Board::default();
    for event in 0..5_000 {
        board.set(&key("e", event), &draw_image(random));
    }
    board.remember(StepId::new(Term::new(1, 0), step));
    board
}

fn parts_of(board: &Board) -> Vec<SnapshotPayload> {
    let frames = board.snapshot(REGION, &Filter::default()).unwrap();
    // A part ends with the event that fills it.
    let (last, full) = frames.split_last().unwrap();
    assert!(full.len() > 3 && full.iter().all(|frame| (PART_BYTES..2 * PART_BYTES).contains(&frame.json.len())));
    assert!(last.json.len() < 2 * PART_BYTES);
    frames.iter().map(|frame| serde_json::from_str(&frame.json).unwrap()).collect()
}

#[test]
fn a_large_snapshot_comes_in_parts_and_is_shown_when_it_is_complete() {
    let mut random = StdRng::seed_from_u64(2);
    let boards = [1, 2].map(|step| large_board(&mut random, step));
    let mut mirror = Mirror::default();
    let mut shown = (None, BTreeMap::new());
    for board in &boards {
        let mut parts = parts_of(board);
        let last = parts.pop().unwrap();
        for part in parts {
            assert_eq!(mirror.snapshot(part), Ok(false));
            assert_eq!((mirror.cursor(), mirror.events()), (shown.0, &shown.1), "the previous board stays");
        }
        assert_eq!(mirror.snapshot(last), Ok(true));
        assert_eq!(*mirror.events(), filtered(board, &Filter::default()));
        shown = (mirror.cursor(), mirror.events().clone());
    }
}

#[test]
fn a_missing_part_is_noticed_and_the_previous_board_stays() {
    let mut random = StdRng::seed_from_u64(3);
    let [before, after] = [1, 2].map(|step| large_board(&mut random, step));
    for lost in 0..parts_of(&after).len() {
        let mut mirror = Mirror::default();
        parts_of(&before).into_iter().for_each(|part| assert!(mirror.snapshot(part).is_ok()));
        let cursor = mirror.cursor();
        for (n, part) in parts_of(&after).into_iter().enumerate().filter(|(n, _)| *n != lost) {
            assert_eq!(mirror.snapshot(part), if n < lost { Ok(false) } else { Err(OutOfStep) }, "{lost} is lost, {n}");
        }
        assert_eq!(mirror.cursor(), cursor);
        assert_eq!(*mirror.events(), filtered(&before, &Filter::default()));
    }
}

#[test]
fn parts_of_two_snapshots_do_not_mix() {
    let mut random = StdRng::seed_from_u64(4);
    let [one, two] = [1, 2].map(|step| parts_of(&large_board(&mut random, step)));
    let mut mirror = Mirror::default();
    assert_eq!(mirror.snapshot(one[0].clone()), Ok(false));
    assert_eq!(mirror.snapshot(two[1].clone()), Err(OutOfStep));
    assert_eq!(mirror.snapshot(one[1].clone()), Err(OutOfStep), "the earlier parts are dropped");
    assert_eq!(mirror.snapshot(one[0].clone()), Ok(false));
    mirror.drop_incoming();
    assert_eq!(mirror.snapshot(one[1].clone()), Err(OutOfStep));
    assert_eq!(mirror.cursor(), None);
}

#[test]
fn a_cursor_of_another_history_gets_a_snapshot() {
    let mut random = StdRng::seed_from_u64(3);
    let all = Filter::default();
    let mut board = Board::default();
    let mut other = Board::default();
    board.set(&key("e", 1), &draw_image(&mut random));
    other.set(&key("e", 2), &draw_image(&mut random));
    let id = StepId::new(Term::new(1, 0), 1);
    board.remember(id);
    other.remember(id);
    let cursor = other.cursor(&all).unwrap();
    assert!(board.since(REGION, &cursor, &all).is_none());
    assert!(!board.is_ahead(&cursor, &all));
    // An unverified board has no cursor, and is not sent.
    board.set(&key("e", 3), &draw_image(&mut random));
    assert_eq!(board.cursor(&all), None);
    assert_eq!(board.snapshot(REGION, &all), None);
}

#[test]
fn removed_events_are_dropped_with_the_last_cursor_that_needs_them() {
    let mut random = StdRng::seed_from_u64(4);
    let mut board = Board::remembering(3);
    for step in 1..200 {
        // Each step adds an event and removes the previous one.
        board.set(&key("e", step), &draw_image(&mut random));
        board.remove(&key("e", step - 1));
        board.remember(StepId::new(Term::new(1, 0), u64::from(step)));
    }
    assert_eq!(board.event_count(), 1);
    assert!(board.entries() < 10, "{} entries are kept", board.entries());
}
