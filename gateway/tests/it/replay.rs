//! Tests of replays: a connection gets exactly what clients had, and nothing of the present.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use client::{BoardMirrors, Client, ClientError, MirrorUpdate, ServerMessage};
use odds::{Event, MarketKey, Timestamp};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    conformance::wire::{WEBSOCKET, Websocket},
    guest::TOKEN,
    mirror::is_digest_right,
    past::{Events, Had, Past, REGION},
    stage::{DEADLINE, Stage, until},
};

/// A client of a replay.
struct Watcher {
    client: Client,
    mirrors: BoardMirrors,
    /// Every board it had, by its cursor.
    boards: BTreeMap<String, Events>,
    /// The names and payloads of all events.
    events: Vec<(String, Value)>,
}

impl Watcher {
    async fn connect(past: &Past, auth: Value) -> Self {
        let connecting = async {
            loop {
                match Client::connect(&past.gateway.address, &auth).await {
                    // The replay of a client that has just gone may not have ended.
                    Err(ClientError::Refused(text)) if text.starts_with("too_many_connections") => {
                        sleep(Duration::from_millis(20)).await;
                    }
                    connected => return connected.unwrap(),
                }
            }
        };
        let client = timeout(DEADLINE, connecting).await.expect("it is let in");
        Self { client, mirrors: BoardMirrors::default(), boards: BTreeMap::new(), events: Vec::new() }
    }

    async fn next(&mut self) -> ServerMessage {
        let message = timeout(DEADLINE, self.client.next()).await.expect("something comes").unwrap();
        if let ServerMessage::Event { name, payload } = &message {
            if let MirrorUpdate::Board(region) = self.mirrors.take(name, payload) {
                let board = &self.mirrors.boards[&region];
                assert_eq!(is_digest_right(payload, board), Some(true), "{name}");
                self.boards.insert(board.cursor().unwrap().to_string(), board.events().clone());
            }
            self.events.push((name.clone(), serde_json::from_str(payload).unwrap()));
        }
        message
    }

    /// Receives events until this one has come, and returns its payload.
    async fn until(&mut self, wanted: &str) -> Value {
        loop {
            if let ServerMessage::Event { name, .. } = self.next().await
                && name == wanted
            {
                return self.events.last().unwrap().1.clone();
            }
        }
    }

    async fn answer(&mut self, event: &str, data: &Value) -> Value {
        let wanted = self.client.ask(event, data).await.unwrap();
        loop {
            if let ServerMessage::Answer { number, answer } = self.next().await
                && number == wanted
            {
                return answer;
            }
        }
    }

    fn kinds(&self) -> Vec<&str> {
        self.events.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn feeds(&self) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(|(name, _)| name == "feed").map(|(_, feed)| feed)
    }
}

fn auth(replay: &Value) -> Value {
    json!({ "token": TOKEN, "regions": [REGION], "replay": replay, "digest": true })
}

fn whole(past: &Past) -> Value {
    auth(&json!({ "at": past.had[0].time, "speed": 0 }))
}

async fn recorded(steps: usize) -> Past {
    let mut past = Past::begin().await;
    past.go_on(steps).await;
    past.newest_is_recorded().await;
    past
}

/// Steps, a second in which nothing changes, and more steps. A slow replay of that second takes longer than a test.
async fn recorded_with_a_pause(before: usize, after: usize) -> Past {
    let mut past = Past::begin().await;
    past.go_on(before).await;
    sleep(Duration::from_secs(1)).await;
    past.go_on(after).await;
    past.newest_is_recorded().await;
    past
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_shows_every_board_that_clients_had_and_then_ends() {
    let past = recorded(12).await;
    let mut watcher = Watcher::connect(&past, whole(&past)).await;
    let bye = watcher.until("bye").await;
    assert_eq!((&bye["code"], bye.get("retry_after_ms")), (&json!("replay_over"), None));
    for (n, Had { cursor, events, .. }) in past.had.iter().enumerate() {
        assert_eq!(watcher.boards.get(cursor), Some(events), "board {n}");
    }
    assert_eq!(watcher.kinds()[..2], ["subscriptions", "snapshot"]);
    let snapshots = watcher.events.iter().filter(|(name, _)| name == "snapshot");
    let snapshots: BTreeSet<&str> = snapshots.filter_map(|(_, snapshot)| snapshot["cursor"].as_str()).collect();
    assert_eq!(snapshots, [past.had[0].cursor.as_str()].into());
    let newest: Timestamp = past.had.last().unwrap().time;
    for feed in watcher.feeds() {
        assert_eq!((&feed["source"], &feed["state"]), (&json!("replay:test"), &json!("live")));
        let at: Timestamp = serde_json::from_value(feed["at"].clone()).unwrap();
        assert!(at <= newest, "{feed}");
    }
    past.stop_recording().await;
}

/// At a speed, the same comes in its time. Nothing that happens meanwhile is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_at_a_speed_shows_nothing_of_the_present() {
    let mut past = recorded(6).await;
    let until = past.had.last().unwrap().time;
    let replay = json!({ "at": past.had[0].time, "speed": 0.5, "until": until });
    let mut watcher = Watcher::connect(&past, auth(&replay)).await;
    watcher.until("snapshot").await;
    let had = past.had.len();
    past.go_on(2).await;
    watcher.until("bye").await;
    let known: Vec<&String> = past.had[..had].iter().map(|had| &had.cursor).collect();
    assert!(past.had[..had].iter().all(|had| watcher.boards.get(&had.cursor) == Some(&had.events)));
    assert!(past.had[had..].iter().all(|had| !watcher.boards.contains_key(&had.cursor)));
    let times: Vec<Timestamp> =
        watcher.feeds().map(|feed| serde_json::from_value(feed["at"].clone()).unwrap()).collect();
    assert!(times.is_sorted() && !known.is_empty(), "{times:?}");
    past.stop_recording().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_goes_on_where_it_was() {
    let past = recorded(10).await;
    for cut in [0, 4, 9] {
        let Had { cursor, events, .. } = &past.had[cut];
        let mut auth = whole(&past);
        auth["resume"] = json!({ REGION.key(): cursor });
        let mut watcher = Watcher::connect(&past, auth).await;
        watcher.mirrors = {
            // It still has its board.
            let mut before = Watcher::connect(&past, whole(&past)).await;
            while !before.boards.contains_key(cursor) {
                before.next().await;
            }
            assert_eq!(&before.boards[cursor], events);
            before.mirrors
        };
        watcher.until("bye").await;
        assert!(!watcher.kinds().contains(&"snapshot"), "{:?}", watcher.kinds());
        for had in &past.had[cut + 1..] {
            assert_eq!(watcher.boards.get(&had.cursor), Some(&had.events));
        }
    }
    past.stop_recording().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_recorded_is_named_and_left_out() {
    let past = recorded(3).await;
    let long_ago = json!({ "at": "2026-11-21T12:00:00Z", "speed": 1 });
    let mut watcher = Watcher::connect(&past, auth(&long_ago)).await;
    watcher.until("snapshot").await;
    assert_eq!(watcher.kinds()[..3], ["subscriptions", "feed", "snapshot"]);
    let feed = &watcher.events[1].1;
    assert_eq!(feed["state"], "down");
    assert!(feed["reason"].as_str().unwrap().starts_with("nothing is recorded until 2"), "{feed}");

    let nothing = json!({ "at": "2026-11-21T12:00:00Z", "until": "2026-11-21T13:00:00Z" });
    let mut watcher = Watcher::connect(&past, auth(&nothing)).await;
    assert_eq!(watcher.until("bye").await["code"], "replay_over");
    assert_eq!(watcher.events[1].1["reason"], "nothing is recorded from here on");
    past.stop_recording().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_replay_asks_as_it_does_live() {
    let past = recorded_with_a_pause(2, 2).await;
    let slow = json!({ "at": past.had[1].time, "speed": 0.01 });
    let mut watcher = Watcher::connect(&past, auth(&slow)).await;
    watcher.until("snapshot").await;
    let snapshot = |watcher: &Watcher| watcher.events.last().unwrap().1.clone();
    let first = snapshot(&watcher);
    assert_eq!(first["cursor"], past.had[1].cursor);
    // A cursor that it has, and one that nobody knows.
    assert_eq!(watcher.answer("resync", &json!({ "region": REGION, "cursor": first["cursor"] })).await["ok"], true);
    assert_eq!(watcher.until("odds").await["events"], json!([]));
    assert_eq!(watcher.answer("resync", &json!({ "region": REGION })).await["ok"], true);
    assert_eq!(watcher.until("snapshot").await, first);
    // A filter begins with a snapshot at the same time.
    assert_eq!(watcher.answer("filter", &json!({ "markets": ["m1"] })).await["ok"], true);
    let admits = |market: &MarketKey| market.as_str() == "m1";
    let of_market = |event: &Event| {
        let quotes = event.quotes.iter().filter(|((_, market), _)| admits(market));
        Event { quotes: quotes.map(|(key, quote)| (key.clone(), quote.clone())).collect(), ..event.clone() }
    };
    let filtered: Events = past.had[1].events.iter().map(|(id, event)| (id.clone(), of_market(event))).collect();
    while !watcher.boards.values().any(|board| *board == filtered) {
        watcher.next().await;
    }
    // Other regions, of which nothing is recorded.
    assert_eq!(watcher.answer("subscribe", &json!({ "regions": ["eu", REGION] })).await["ok"], true);
    // The feed may come before the answer.
    let eu_is_down = |feed: &Value| feed["region"] == "eu" && feed["state"] == "down";
    while !watcher.feeds().any(eu_is_down) {
        watcher.next().await;
    }
    // Without regions, the replay waits.
    assert_eq!(watcher.answer("subscribe", &json!({ "regions": [] })).await["regions"], json!([]));
    let again = watcher.events.len();
    assert_eq!(watcher.answer("subscribe", &json!({ "regions": [REGION] })).await["ok"], true);
    while !watcher.events[again..].iter().any(|(name, _)| name == "snapshot") {
        watcher.next().await;
    }
    past.stop_recording().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_can_not_be_is_refused_with_the_reason() {
    let past = recorded_with_a_pause(1, 1).await;
    let refused = async |auth: Value| match Client::connect(&past.gateway.address, &auth).await {
        Err(ClientError::Refused(reason)) => reason,
        other => panic!("{auth}: {other:?}"),
    };
    for replay in [json!({}), json!({ "at": "yesterday" }), json!({ "at": past.had[0].time, "speed": -1 })] {
        let reason = refused(auth(&replay)).await;
        assert!(reason.starts_with("bad_auth: replay: "), "{reason}");
    }
    // Two of a user are allowed, and a third when one of them is over.
    let slow = auth(&json!({ "at": past.had[0].time, "speed": 0.01 }));
    let mut two = vec![Watcher::connect(&past, slow.clone()).await, Watcher::connect(&past, slow.clone()).await];
    for watcher in &mut two {
        watcher.until("snapshot").await;
    }
    assert!(refused(slow.clone()).await.starts_with("too_many_connections: you already have 2 "));
    two.pop();
    until("a turn is free", async || Client::connect(&past.gateway.address, &slow).await.is_ok()).await;

    let stage = Stage::set().await;
    let without = stage.gateway("b", &[]).await;
    match Client::connect(&without.address, &slow).await {
        Err(ClientError::Refused(reason)) => assert!(reason.starts_with("history_disabled: "), "{reason}"),
        other => panic!("{other:?}"),
    }
    past.stop_recording().await;
}

/// A client whose `auth` can't be changed gets a replay by its address.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_can_ask_for_a_replay() {
    let past = recorded(2).await;
    let address = format!("{WEBSOCKET}&replay={}&speed=0", past.had[0].time);
    let mut socket = Websocket::open(&past.gateway.address, &address).await.unwrap();
    socket.send(format!("40{}", json!({ "token": TOKEN, "regions": [REGION] }))).await;
    let over = async { while !socket.packet().await.unwrap().contains("replay_over") {} };
    timeout(DEADLINE, over).await.expect("the replay comes to its end");
    past.stop_recording().await;
}
