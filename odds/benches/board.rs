//! What a board costs: 2,000 events × 20 bookmakers × 3 markets, and steps that change a little.
//!
//! `serde_json_alone` is the yardstick for applying: what it takes just to parse the same records.

#![expect(clippy::unwrap_used, reason = "a benchmark that meets the unexpected fails")]

use std::{fs, hint::black_box};

use divan::{Bencher, counter::ItemsCount};
use odds::{
    Board, Decimal, Details, EventId, Filter, Image, Market, Outcome, Outcomes, Quotes, Region, StepId, Term, Timestamp,
};

const EVENTS: usize = 2_000;
const BOOKMAKERS: usize = 20;
const MARKETS: [&str; 3] = ["h2h", "spreads", "totals"];
/// What a poll of a sport changes.
const CHANGED: [usize; 3] = [1, 10, 100];

fn main() {
    let before = resident();
    let board = board(EVENTS);
    let quotes = board.quote_count();
    let bytes = (resident() - before) as f64 / quotes as f64;
    let text =
        board.snapshot(Region::Us, &Filter::default()).unwrap().iter().map(|part| part.json.len()).sum::<usize>();
    println!("{EVENTS} events, {quotes} quotes: {bytes:.0} bytes a quote, its own text {}", text / quotes);
    drop(board);
    divan::main();
}

/// Bytes of memory that this process has in use.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

fn price(seed: usize) -> Decimal {
    format!("{}.{:02}", 1 + seed % 7, 1 + seed % 99).parse().unwrap()
}

fn outcome(name: &str, seed: usize, point: Option<&str>) -> Outcome {
    Outcome {
        name: name.into(),
        price: price(seed),
        point: point.map(|point| point.parse().unwrap()),
        description: None,
    }
}

/// An event with all its quotes; `version` moves the prices of a third of the bookmakers.
fn image(event: usize, version: usize) -> (EventId, Image) {
    let (home, away) = (format!("Home Town {event} United"), format!("Visitors of {event}"));
    let mut quotes = Quotes::new();
    for bookmaker in 0..BOOKMAKERS {
        let moved = if bookmaker % 3 == version % 3 { version } else { 0 };
        for (n, market) in MARKETS.iter().enumerate() {
            let seed = event * 31 + bookmaker * 7 + n * 3 + moved;
            let outcomes = match n {
                0 => vec![outcome(&home, seed, None), outcome("Draw", seed + 1, None), outcome(&away, seed + 2, None)],
                1 => vec![outcome(&home, seed, Some("-1.5")), outcome(&away, seed + 2, Some("1.5"))],
                _ => vec![outcome("Over", seed, Some("2.5")), outcome("Under", seed + 2, Some("2.5"))],
            };
            let quote = Market { last_update: at(moved as i64), outcomes: Outcomes::new(outcomes) };
            quotes.insert((format!("bookmaker_{bookmaker}").parse().unwrap(), market.parse().unwrap()), quote);
        }
    }
    let details = Details {
        sport_key: format!("soccer_league_{}", event % 12).parse().unwrap(),
        sport_title: format!("League {}", event % 12),
        commence_time: at(3_600),
        home_team: Some(home),
        away_team: Some(away),
    };
    (format!("{event:032x}").parse().unwrap(), Image { polled_at: at(version as i64), details, quotes })
}

fn step(number: u64) -> StepId {
    StepId::new(Term::new(1, 1), number)
}

fn board(events: usize) -> Board {
    let mut board = Board::default();
    for event in 0..events {
        let (id, image) = image(event, 0);
        board.set(&id, &image);
    }
    board.remember(step(1));
    board
}

/// The values of a step's records.
fn records(changed: usize, version: usize) -> Vec<String> {
    (0..changed)
        .map(|event| {
            let (id, image) = image(event * (EVENTS / changed), version);
            image.to_json(&id)
        })
        .collect()
}

/// From records to the next verified state, digest included: nothing here grows with the board.
#[divan::bench(args = CHANGED)]
fn apply_a_step(bencher: Bencher, changed: usize) {
    let mut board = board(EVENTS);
    let versions: Vec<Vec<String>> = (1..=3).map(|version| records(changed, version)).collect();
    let mut number = 1;
    bencher.counter(ItemsCount::new(changed)).bench_local(|| {
        number += 1;
        for record in &versions[number as usize % 3] {
            let (id, image) = Image::from_json(record.as_bytes()).unwrap();
            board.set(&id, &image);
        }
        board.remember(step(number));
        board.digest()
    });
}

#[divan::bench(args = CHANGED)]
fn serde_json_alone(bencher: Bencher, changed: usize) {
    let records = records(changed, 1);
    bencher.counter(ItemsCount::new(changed)).bench_local(|| {
        for record in &records {
            black_box(serde_json::from_str::<serde_json::Value>(record).unwrap());
        }
    });
}

/// What changed since a cursor, as the text of a frame.
#[divan::bench(args = CHANGED)]
fn since_and_encode(bencher: Bencher, changed: usize) {
    since(bencher, EVENTS, changed);
}

/// The same on a board of a tenth: the same cost.
#[divan::bench(args = CHANGED)]
fn since_on_a_small_board(bencher: Bencher, changed: usize) {
    since(bencher, EVENTS / 10, changed);
}

fn since(bencher: Bencher, events: usize, changed: usize) {
    let mut board = board(events);
    let all = Filter::default();
    let cursor = board.cursor(&all).unwrap();
    for event in 0..changed {
        let (id, image) = image(event * (events / changed), 1);
        board.set(&id, &image);
    }
    board.remember(step(2));
    bencher.counter(ItemsCount::new(changed)).bench_local(|| board.since(Region::Us, &cursor, &all).unwrap());
}

#[divan::bench]
fn snapshot_and_encode(bencher: Bencher) {
    let board = board(EVENTS);
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| board.snapshot(Region::Us, &Filter::default()).unwrap());
}
