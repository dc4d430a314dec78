//! Small pieces of the board's work, for a tool that counts instructions. Their number is the same on every run and
//! every machine, so it can be compared where times can't. `cargo xtask guard` counts and compares them.
//!
//!     guard <work> <times>

#![expect(clippy::unwrap_used, reason = "a panic fails the benchmark")]

mod world;

use std::hint::black_box;

use odds::{Board, Cursor, Filter, Image, Region};
use world::{board, image, step};

const SMALL: usize = 50;
const LARGE: usize = 10 * SMALL;
/// How many changed events an encoded frame contains.
const CHANGED: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, times] = &arguments[..] else { return println!("guard <work> <times>") };
    let times = times.parse().unwrap();
    match work.as_str() {
        "apply" => apply(LARGE, times),
        "apply-small" => apply(SMALL, times),
        "parse" => parse(times),
        "since" => since(LARGE, times),
        "since-small" => since(SMALL, times),
        "write" => write(times),
        other => panic!("unknown work {other:?}"),
    }
}

/// Parses and applies a step with one image of sixty quotes, of which two thirds changed.
fn apply(events: usize, times: u64) {
    let mut board = board(events);
    let values = [1, 2, 3].map(record);
    for n in 0..times {
        let (id, image) = Image::from_json(values[n as usize % 3].as_bytes()).unwrap();
        board.set(&id, &image);
        board.remember(step(n + 2));
        black_box(board.digest());
    }
}

/// The baseline of `apply`: only parses the same values.
fn parse(times: u64) {
    board(LARGE);
    let values = [1, 2, 3].map(record);
    for n in 0..times {
        black_box(serde_json::from_str::<serde_json::Value>(&values[n as usize % 3]).unwrap());
    }
}

fn record(version: usize) -> String {
    let (id, image) = image(0, version);
    image.to_json(&id)
}

/// Encodes what changed since a cursor as a frame.
fn since(events: usize, times: u64) {
    let (board, cursor) = moved(events);
    for _ in 0..times {
        black_box(board.since(Region::Us, &cursor, &Filter::default()).unwrap());
    }
}

/// The baseline of `since`: serde_json writes the same frame.
fn write(times: u64) {
    let (board, cursor) = moved(LARGE);
    let text = board.since(Region::Us, &cursor, &Filter::default()).unwrap().json;
    let frame: serde_json::Value = serde_json::from_str(&text).unwrap();
    for _ in 0..times {
        black_box(serde_json::to_string(&frame).unwrap());
    }
}

/// A board, and a cursor since which some of its events changed.
fn moved(events: usize) -> (Board, Cursor) {
    let mut board = board(events);
    let cursor = board.cursor(&Filter::default()).unwrap();
    for event in 0..CHANGED {
        let (id, image) = image(event, 1);
        board.set(&id, &image);
    }
    board.remember(step(2));
    (board, cursor)
}
