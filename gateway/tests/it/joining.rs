//! Tests of a client's first board, in a region that never rests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use client::{BoardMirrors, Client, MirrorUpdate, ServerMessage};
use odds::Region;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    author::{Author, draw_board},
    browser::Socket,
    guest::TOKEN,
    stage::{DEADLINE, Stage},
};

/// A board of so many events has far more parts than steps are written until the client has it.
const EVENTS: u32 = 1_000;
const FEWEST_PARTS: usize = 25;
const STEP_EVERY: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_joins_a_region_that_changes_at_every_tick_is_soon_up_to_date() {
    let stage = Stage::set().await;
    let mut random = StdRng::seed_from_u64(4);
    let mut author = Author::start(&stage.kafka(), Region::Uk).await;
    author.step(draw_board(&mut random, EVENTS)).await;
    let gateway = stage.gateway("a", &[]).await;
    let (stop, written) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
    let writing = {
        let (stop, written) = (stop.clone(), written.clone());
        tokio::spawn(async move {
            while !stop.is_cancelled() {
                let changes = author.draw_move(&mut random).into_iter().collect();
                author.step(changes).await;
                written.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(STEP_EVERY).await;
            }
        })
    };
    while written.load(Ordering::Relaxed) < 10 {
        tokio::time::sleep(STEP_EVERY).await;
    }
    let mut client = Client::connect(&gateway.address, &json!({ "token": TOKEN, "regions": ["uk"] })).await.unwrap();
    let (mut mirrors, mut parts, mut before) = (BoardMirrors::default(), 0, 0);
    loop {
        let message = timeout(DEADLINE, client.next()).await.unwrap().unwrap();
        let ServerMessage::Event { name, payload } = message else { continue };
        let update = mirrors.take(&name, &payload);
        match name.as_str() {
            "snapshot" if parts == 0 => (parts, before) = (1, written.load(Ordering::Relaxed)),
            "snapshot" => parts += 1,
            // The first change after the whole board.
            "odds" if matches!(update, MirrorUpdate::Board(_)) => break,
            _ => {}
        }
    }
    let steps = written.load(Ordering::Relaxed) - before;
    assert!(parts >= FEWEST_PARTS, "{parts} parts");
    assert!(steps < parts as u64, "{steps} steps were written while {parts} parts came");
    stop.cancel();
    writing.await.unwrap();
}

/// How many clients connect one after the other, and how many do so at once.
const CONNECTS: usize = 2_000;
const AT_ONCE: usize = 8;

/// The answer to CONNECT can be read, and the first request written, before the thread that wrote the answer goes on.
/// This happens about once in 5,000 connects if there are more threads than processors.
#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn a_request_that_comes_as_soon_as_its_client_is_connected_is_answered() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[]).await;
    let mut clients = JoinSet::new();
    for _ in 0..AT_ONCE {
        let address = gateway.address.clone();
        clients.spawn(async move {
            for _ in 0..CONNECTS {
                let mut socket = Socket::with_token(&address, TOKEN).await.unwrap();
                socket.is_alive().await;
            }
        });
    }
    clients.join_all().await;
}
