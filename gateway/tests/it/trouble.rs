//! Topics with invalid or forged records, and partitions that another consumer holds.

use std::{sync::Arc, time::Duration};

use client::{BoardMirrors, Client, ServerMessage};
use kafka::{Publisher, Role, topic_of};
use odds::{Filter, Outgoing, Region, StepId};
use producers::{
    ApiKey, Metrics, PollSettings, Producer, TheOddsApi,
    simulator::{Simulator, SimulatorSettings},
};
use rand::{SeedableRng, rngs::StdRng};
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::json;
use service::MetricRegistry;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    author::{Author, draw_changes},
    guest::{BEARER, TOKEN},
    http,
    stage::{DEADLINE, Stage, until},
};

const REGION: Region = Region::Uk;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cant_be_read_is_skipped_and_counted() {
    let stage = Stage::set().await;
    let mut author = Author::start(&stage.kafka(), REGION).await;
    let gateway = stage.gateway("one", &[]).await;
    let mut random = StdRng::seed_from_u64(2);
    author.step(draw_changes(&mut random, 8)).await;
    let stranger: FutureProducer = stage.kafka().client(Role::Producer, &[]).create().unwrap();
    for value in ["{}", "not JSON"] {
        let record = FutureRecord::to(topic_of(REGION)).partition(1).key("event-1").payload(value);
        stranger.send(record, Duration::from_secs(10)).await.unwrap();
    }
    author.step(draw_changes(&mut random, 8)).await;
    let mut client = Client::connect(&gateway.address, &json!({ "token": TOKEN, "regions": ["uk"] })).await.unwrap();
    let mut mirrors = BoardMirrors::default();
    let newest = author.history.newest(&Filter::default());
    while mirrors.boards.get(&REGION).is_none_or(|board| *board.events() != newest) {
        let received = timeout(DEADLINE, client.next()).await.unwrap().unwrap();
        if let ServerMessage::Event { name, payload } = received {
            mirrors.take(&name, &payload);
        }
    }
    // They are counted at the end of the tick that sends the board.
    let counted = || gateway.metric("toteboard_gateway_unreadable_records_total{region=\"uk\"}");
    until("both are counted", async || (counted() - 2.0).abs() < f64::EPSILON).await;
    let wrong = gateway.metric("toteboard_gateway_digest_mismatches_total{region=\"uk\"}");
    assert!(wrong.abs() < f64::EPSILON, "skipped records are on no board");
}

/// For example, another gateway with the same name holds partitions in this gateway's group.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_reads_every_partition_whatever_its_group_gives_it() {
    let stage = Stage::set().await;
    let mut author = Author::start(&stage.kafka(), REGION).await;
    let mut random = StdRng::seed_from_u64(2);
    let group = [("group.id", "gateway-uk-one"), ("partition.assignment.strategy", "cooperative-sticky")];
    let stranger: BaseConsumer = stage.kafka().client(Role::Consumer, &group).create().unwrap();
    stranger.subscribe(&[topic_of(REGION)]).unwrap();
    let held = || {
        while stranger.poll(Duration::ZERO).is_some() {}
        stranger.assignment().unwrap().count()
    };
    until("a stranger has both partitions", async || held() == 2).await;

    let gateway = stage.gateway("one", &[]).await;
    let mut client = Client::connect(&gateway.address, &json!({ "token": TOKEN, "regions": ["uk"] })).await.unwrap();
    let mut mirrors = BoardMirrors::default();
    // Steps go on while a partition moves from the stranger to the gateway.
    until("the gateway is given a partition", async || {
        author.step(draw_changes(&mut random, 8)).await;
        held() == 1
    })
    .await;
    // Closing a consumer waits for its group, and may do so for long.
    std::thread::spawn(move || drop(stranger));
    author.step(draw_changes(&mut random, 8)).await;
    let newest = author.history.newest(&Filter::default());
    while mirrors.boards.get(&REGION).is_none_or(|board| *board.events() != newest) {
        let received = timeout(DEADLINE, client.next()).await.unwrap().unwrap();
        if let ServerMessage::Event { name, payload } = received {
            mirrors.take(&name, &payload);
        }
    }
    let wrong = gateway.metric("toteboard_gateway_digest_mismatches_total{region=\"uk\"}");
    assert!(wrong.abs() < f64::EPSILON, "a record was missed");
}

/// A stranger writes into the middle of a step, so that readers have a board that the leader did not write. They notice
/// that and read again. The leader writes its whole board again, and its next poll removes events that are not offered.
#[tokio::test(flavor = "multi_thread")]
async fn a_board_that_does_not_fit_is_down_until_all_is_written_anew() {
    service::install_tls_provider();
    let stage = Stage::set().await;
    let settings = SimulatorSettings { seed: 3, speed: 20.0, credits: 1e6, requests_per_hour: 1e6, fault_rate: 0.0 };
    let simulator = Simulator::new(&settings, service::now);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(simulator.clone().serve(listener, std::future::pending()));
    let polling = PollSettings {
        sports: vec!["soccer_epl".parse().unwrap()],
        markets: vec!["h2h".parse().unwrap()],
        credit_share: 1.0,
        max_credits_per_day: None,
        poll_speed: 600.0,
    };
    let api = Arc::new(TheOddsApi::new("simulator", url.parse().unwrap(), ApiKey::new("k".into())).unwrap());
    let metrics = Metrics::new(&mut MetricRegistry::default(), REGION, service::now);
    let producer = Producer::new(REGION, polling, stage.kafka(), api, service::now, metrics);
    let stop = CancellationToken::new();
    let producing = tokio::spawn(producer.run(stop.clone()));
    let gateway = stage.gateway("one", &[]).await;
    let board = async || http::get(&gateway.address, "/api/odds/uk", &[BEARER]).await;
    until("there is a board", async || board().await.status == 200).await;
    let stranger: FutureProducer = stage.kafka().client(Role::Producer, &[]).create().unwrap();
    let record = FutureRecord::to(topic_of(REGION)).partition(1).key("forged").payload("not JSON");
    stranger.send(record, Duration::from_secs(10)).await.unwrap();
    let unreadable = || gateway.metric("toteboard_gateway_unreadable_records_total{region=\"uk\"}");
    until("what can't be read is counted", async || unreadable() >= 1.0).await;

    // Records of the leader's next steps, with an event that the leader doesn't know.
    let cursor: odds::Cursor = board().await.json()["cursor"].as_str().unwrap().parse().unwrap();
    let forger = Publisher::new(&stage.kafka(), REGION).unwrap();
    let value = r#"{"polled_at":"2026-01-01T00:00:00Z","event":{"id":"forged","sport_key":"soccer_epl","sport_title":"EPL","commence_time":"2026-01-01T00:00:00Z","home_team":null,"away_team":null,"bookmakers":[]}}"#;
    let forged = |step| Outgoing {
        partition: 0,
        id: StepId::new(cursor.step().term, step),
        key: "forged".into(),
        value: Some(value.into()),
    };
    let next = cursor.step().step;
    forger.send(&(next + 1..next + 40).map(forged).collect::<Vec<_>>()).await.unwrap();

    let mismatches = || gateway.metric("toteboard_gateway_digest_mismatches_total{region=\"uk\"}");
    until("the mismatch is noticed", async || mismatches() >= 1.0).await;
    until("the board is correct again", async || {
        let answer = board().await;
        let forged = String::from_utf8_lossy(&answer.body).contains("forged");
        let regions = http::get(&gateway.address, "/api/regions", &[BEARER]).await.json();
        let uk = regions.as_array().unwrap().iter().find(|feed| feed["region"] == "uk").unwrap().clone();
        answer.status == 200 && !forged && uk["state"] == "live"
    })
    .await;
    assert!((unreadable() - 1.0).abs() < f64::EPSILON, "it was read again and counted again: {}", unreadable());
    let another = stage.gateway("two", &[]).await;
    let board = async || http::get(&another.address, "/api/odds/uk", &[BEARER]).await;
    until("another gateway has the board", async || board().await.status == 200).await;
    let unreadable = another.metric("toteboard_gateway_unreadable_records_total{region=\"uk\"}");
    assert!(unreadable.abs() < f64::EPSILON, "it is not new to a gateway that starts: {unreadable}");
    stop.cancel();
    producing.await.unwrap().unwrap();
}
