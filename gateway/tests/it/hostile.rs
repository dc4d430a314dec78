//! Strangers that try to use up resources: each kind has a limit and a timeout.

use std::{net::Ipv4Addr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use crate::{
    author::{Author, draw_board},
    guest::TOKEN,
    http::{self, Answer},
    stage::{DEADLINE, Stage, until},
};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Connects from another address of this machine.
async fn connect_from(host: u8, address: &str) -> TcpStream {
    http::connect_from(Ipv4Addr::new(127, 0, 0, host), address).await
}

/// Opens a long-polling session from this address.
async fn begin(host: u8, address: &str) -> Answer {
    let request = format!("GET {POLLING} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    http::send_over(connect_from(host, address).await, request.as_bytes()).await
}

fn post(path: &str, length: usize, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

fn path_of(open: &Answer) -> String {
    let open: Value = serde_json::from_slice(&open.body[1..]).unwrap();
    format!("{POLLING}&sid={}", open["sid"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_nobody_signs_in_to_are_few_and_end() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("one", &["--max-strangers=15", "--max-strangers-per-address=10"]).await;
    // A client that signs in is no stranger any more.
    for _ in 0..5 {
        let path = path_of(&begin(1, &gateway.address).await);
        let hello = format!("40{}", json!({ "token": TOKEN, "regions": [] }));
        let answer = http::send(&gateway.address, post(&path, hello.len(), &hello).as_bytes()).await;
        assert_eq!(answer.status, 200);
        until("it is let in", async || {
            let answer = http::get(&gateway.address, &path, &[]).await;
            answer.body.starts_with(b"40") || String::from_utf8_lossy(&answer.body).contains("\u{1e}40{")
        })
        .await;
    }
    let mut statuses = Vec::new();
    for (host, count) in [(1, 12), (2, 7)] {
        for _ in 0..count {
            statuses.push((host, begin(host, &gateway.address).await.status));
        }
    }
    let of = |host, status| statuses.iter().filter(|it| **it == (host, status)).count();
    assert_eq!((of(1, 200), of(1, 503)), (10, 2), "from one address");
    assert_eq!((of(2, 200), of(2, 503)), (5, 2), "from all addresses");
    let refused = begin(1, &gateway.address).await;
    assert_eq!((refused.status, refused.headers.get("retry-after").map(String::as_str)), (503, Some("5")));
    until("they are given up", async || begin(1, &gateway.address).await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_address_are_limited() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("one", &["--max-connections-per-address=10"]).await;
    // The limit is 100 above that of clients.
    let mut held = Vec::new();
    for _ in 0..110 {
        held.push(connect_from(3, &gateway.address).await);
    }
    let is_served = async |host| {
        let mut stream = connect_from(host, &gateway.address).await;
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        let mut answer = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap();
        answer.starts_with(b"HTTP/1.1 200")
    };
    until("no more are served", async || !is_served(3).await).await;
    assert!(is_served(4).await, "others are");
    drop(held);
    until("there is room again", async || is_served(3).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_long_is_refused() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("one", &[]).await;
    for (length, status) in [(7_000, 200), (9_000, 431)] {
        let padding = "x".repeat(length);
        let answer = http::get(&gateway.address, "/healthz", &[("x-padding", &padding)]).await;
        assert_eq!(answer.status, status, "{length} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_and_an_answer_that_is_not_read_are_given_up() {
    let stage = Stage::set().await;
    let mut author = Author::start(&stage.kafka(), odds::Region::Uk).await;
    author.step(draw_board(&mut rand::SeedableRng::seed_from_u64(1), 300)).await;
    let gateway = stage.gateway("one", &[]).await;

    let body = async {
        let path = path_of(&begin(1, &gateway.address).await);
        let began = Instant::now();
        let request = post(&path, 1_000, "40");
        let answer = timeout(DEADLINE, http::send(&gateway.address, request.as_bytes())).await.unwrap();
        assert_eq!(answer.status, 408, "after {:?}", began.elapsed());
        assert_eq!(http::get(&gateway.address, &path, &[]).await.status, 400, "its session is over");
    };
    let answer = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut stream = socket.connect(gateway.address.parse().unwrap()).await.unwrap();
        let one = format!("GET /api/odds/uk HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
        let (requests, one_answer) = (50, http::get(&gateway.address, "/api/odds/uk", &[crate::guest::BEARER]).await);
        stream.write_all(one.repeat(requests).as_bytes()).await.unwrap();
        // Longer than a client may stop reading.
        tokio::time::sleep(Duration::from_secs(30)).await;
        let mut read = Vec::new();
        // A reset is fine, too.
        let _ = timeout(DEADLINE, stream.read_to_end(&mut read)).await.expect("it is cut off");
        assert!(read.len() < requests * one_answer.body.len() / 2, "{} bytes were still sent", read.len());
    };
    tokio::join!(body, answer);
}
