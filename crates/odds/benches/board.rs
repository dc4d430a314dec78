//! Benchmarks of a board with a million quotes: its memory, applying a step, and encoding frames and snapshots.
//!
//! `serde_json_alone` is the baseline for `apply_a_step`: it only parses the same records.

#![expect(clippy::unwrap_used, reason = "a panic fails the benchmark")]

mod world;

use std::{fs, hint::black_box};

use divan::{Bencher, counter::ItemsCount};
use odds::{Filter, Image, Region};
use world::{BOOKMAKERS, MARKETS, board, image, step};

/// A million quotes.
const EVENTS: usize = 1_000_000 / (BOOKMAKERS * MARKETS.len());
/// How many events a poll changes.
const CHANGED: [usize; 3] = [1, 10, 100];

fn main() {
    let before = resident();
    let board = board(EVENTS);
    let quotes = board.quote_count();
    let bytes = (resident() - before) as f64 / quotes as f64;
    let text =
        board.snapshot(Region::Us, &Filter::default()).unwrap().iter().map(|part| part.json.len()).sum::<usize>();
    println!("{EVENTS} events, {quotes} quotes: {bytes:.0} bytes a quote in memory, {} as JSON", text / quotes);
    drop(board);
    divan::main();
}

/// The resident memory of this process, in bytes.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
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

/// Parses and applies the records of a step, and reads the new digest. The cost must not grow with the board.
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

/// Encodes what changed since a cursor as a frame.
#[divan::bench(args = CHANGED)]
fn since_and_encode(bencher: Bencher, changed: usize) {
    since(bencher, EVENTS, changed);
}

/// The same on a board of a tenth of the size, which should cost as much.
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
