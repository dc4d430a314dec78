//! Tests of the recorded history over REST: any board of the past is exactly what clients had, and a gap is named.

use std::collections::BTreeMap;

use historian::Historian;
use odds::{Change, EventId, Region};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use service::MetricRegistry;
use tokio_util::sync::CancellationToken;

use crate::{
    author::{Author, draw_board, draw_changes},
    guest::BEARER,
    http,
    stage::{Running, Stage, until},
};

const REGION: Region = Region::Uk;
const EVENTS: u32 = 20;

type Events = BTreeMap<EventId, odds::Event>;

/// The events of a snapshot.
fn events(snapshot: &[u8]) -> Events {
    #[derive(serde::Deserialize)]
    struct Snapshot {
        events: Vec<Change>,
    }
    let snapshot: Snapshot = serde_json::from_slice(snapshot).unwrap();
    let mut events = Events::new();
    snapshot.events.into_iter().for_each(|change| change.apply_to(&mut events));
    events
}

async fn get(gateway: &Running, path: &str) -> http::Answer {
    http::get(&gateway.address, path, &[BEARER]).await
}

fn code(answer: &http::Answer) -> (u16, Value) {
    (answer.status, answer.json()["error"]["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_of_the_past_is_what_clients_had_then() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[&stage.history_setting()]).await;
    let store = stage.history_setting().split_once('=').unwrap().1.parse::<history::StoreUrl>().unwrap();
    let mut registry = MetricRegistry::default();
    let metrics = historian::Metrics::new(&mut registry, REGION);
    let historian = Historian::new(REGION, stage.kafka(), store.open().await.unwrap(), service::now, metrics);
    let stop = CancellationToken::new();
    let recording = tokio::spawn(historian.run(stop.clone()));

    let nothing = get(&gateway, "/api/history/board/uk?at=2026-11-21T12:00:00Z").await;
    assert_eq!(code(&nothing), (409, json!("not_recorded")));

    let mut random = StdRng::seed_from_u64(8);
    let mut author = Author::start(&stage.kafka(), REGION).await;
    author.step(draw_board(&mut random, EVENTS)).await;
    // What a client had: the cursor, the events, and the time at which it had them.
    let mut had: Vec<(String, Events, odds::Timestamp)> = Vec::new();
    for _ in 0..12 {
        author.step(draw_changes(&mut random, EVENTS)).await;
        let digest = author.board().digest().to_string();
        until("the gateway has the step", async || {
            let board = get(&gateway, "/api/odds/uk").await;
            let cursor = board.json()["cursor"].as_str().unwrap_or_default().to_owned();
            let is_there = cursor.ends_with(&digest);
            if is_there {
                had.push((cursor, events(&board.body), service::now()));
            }
            is_there
        })
        .await;
        let time = had.last().unwrap().2;
        until("the clock goes on", async || service::now() > time).await;
    }
    let newest = format!("/api/history/board/uk?cursor={}", had.last().unwrap().0);
    until("the newest step is recorded", async || get(&gateway, &newest).await.status == 200).await;
    for (cursor, events_then, time) in &had {
        for path in [format!("cursor={cursor}"), format!("at={time}")] {
            let board = get(&gateway, &format!("/api/history/board/uk?{path}")).await;
            assert_eq!(board.status, 200, "{path}: {}", String::from_utf8_lossy(&board.body));
            assert_eq!((&board.json()["cursor"], &board.json()["verified"]), (&json!(cursor), &json!(true)), "{path}");
            assert_eq!(&events(&board.body), events_then, "{path}");
        }
    }
    let id = had.last().unwrap().1.keys().next().unwrap();
    let recorded = get(&gateway, &format!("/api/history/events/{id}")).await.json();
    assert_eq!((&recorded["id"], &recorded["regions"][0]["region"]), (&json!(id), &json!("uk")));
    assert!(recorded["regions"][0]["price_changes"].is_u64() && recorded["regions"][0]["first_seen"].is_string());
    let zipped = http::get(&gateway.address, &newest, &[BEARER, ("accept-encoding", "gzip")]).await;
    assert_eq!(zipped.headers["content-encoding"], "gzip");

    stop.cancel();
    recording.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_the_history_that_makes_no_sense_is_explained() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[&stage.history_setting()]).await;
    for (path, field) in [
        ("board/uk", "query"),
        ("board/uk?at=yesterday", "at"),
        ("board/uk?cursor=1", "cursor"),
        ("board/uk?at=2026-11-21T12:00:00Z&cursor=1", "query"),
        ("board/uk?from=2026-11-21T12:00:00Z", "query"),
    ] {
        let answer = get(&gateway, &format!("/api/history/{path}")).await;
        assert_eq!(code(&answer), (422, json!("invalid")), "{path}");
        assert!(answer.json()["error"]["fields"][field].is_string(), "{path}: {}", answer.json());
    }
    for path in ["board/fr?at=2026-11-21T12:00:00Z", "events/nobody-knows-it", "events/a%20b"] {
        assert_eq!(code(&get(&gateway, &format!("/api/history/{path}")).await), (404, json!("not_found")), "{path}");
    }
    let path = "/api/history/board/uk?at=2026-11-21T12:00:00Z";
    assert_eq!(code(&http::get(&gateway.address, path, &[]).await), (401, json!("unauthenticated")));
    let without = stage.gateway("b", &[]).await;
    assert_eq!(code(&get(&without, path).await), (501, json!("history_disabled")));
}
