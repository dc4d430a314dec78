//! Clients that use long polling.

use std::net::Ipv4Addr;

use client::{BoardMirrors, MirrorUpdate};
use odds::Region;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    guest::TOKEN,
    http::{self, Answer},
    live_board::{REGION, Scene},
    stage::DEADLINE,
};

/// A session that uses long polling.
pub struct Poller {
    source: Ipv4Addr,
    address: String,
    path: String,
    polls: u32,
    pub mirrors: BoardMirrors,
    byes: Vec<String>,
}

impl Poller {
    pub async fn connect(address: &str, regions: &[Region]) -> Self {
        Self::connect_from(Ipv4Addr::LOCALHOST, address, regions).await
    }

    pub async fn connect_from(source: Ipv4Addr, address: &str, regions: &[Region]) -> Self {
        let path = "/socket.io/?EIO=4&transport=polling";
        let open = http::get_from(source, address, path, &[]).await;
        let sid = serde_json::from_slice::<Value>(&open.body[1..]).unwrap()["sid"].as_str().unwrap().to_owned();
        let path = format!("{path}&sid={sid}");
        let address = address.to_owned();
        let mut this = Self { source, address, path, polls: 0, mirrors: BoardMirrors::default(), byes: Vec::new() };
        let answer = this.post(&format!("40{}", json!({ "token": TOKEN, "regions": regions }))).await;
        assert_eq!(answer.status, 200);
        this
    }

    async fn post(&mut self, body: &str) -> Answer {
        let Self { source, address, path, .. } = self;
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        http::send_over(http::connect_from(*source, address).await, request.as_bytes()).await
    }

    /// Sends the next poll with a new `t`. Returns the response's status.
    pub async fn poll(&mut self) -> u16 {
        self.polls += 1;
        self.poll_again().await
    }

    /// Repeats the last poll with the same `t`.
    async fn poll_again(&mut self) -> u16 {
        let path = format!("{}&t={}", self.path, self.polls);
        let answer = http::get_from(self.source, &self.address, &path, &[]).await;
        if answer.status == 200 {
            let text = String::from_utf8(answer.body).unwrap();
            for (name, payload) in text.split('\u{1e}').filter_map(|it| client::event_of(it.strip_prefix("42")?)) {
                if name == "bye" {
                    self.byes.push(payload);
                } else if let MirrorUpdate::Resync(..) = self.mirrors.take(&name, &payload) {
                    panic!("a frame was lost before {payload}");
                }
            }
        }
        answer.status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_polling_gets_the_same_board() {
    let mut scene = Scene::set(&[], 8).await;
    let mut poller = Poller::connect(&scene.gateway.address, &[REGION]).await;
    for round in 0..4 {
        let end = Instant::now() + DEADLINE;
        while !scene.board.is_shown_by(&poller.mirrors) {
            assert!(Instant::now() < end, "round {round}");
            assert_eq!(poller.poll().await, 200);
        }
        // Without a poll, many steps become one frame.
        scene.board.steps(30).await;
    }
}

/// A client or proxy repeats a request whose response it did not get. The events in that response are lost, so the
/// session must not go on as if they had arrived.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_was_lost_ends_the_session() {
    let mut scene = Scene::set(&[], 8).await;
    let mut poller = Poller::connect(&scene.gateway.address, &[REGION]).await;
    while !scene.board.is_shown_by(&poller.mirrors) {
        assert_eq!(poller.poll().await, 200);
    }
    scene.board.steps(1).await;
    assert_eq!(poller.poll_again().await, 400);
    assert_eq!(poller.poll().await, 400, "the session is over");
    let mut again = Poller::connect(&scene.gateway.address, &[REGION]).await;
    while !scene.board.is_shown_by(&again.mirrors) {
        assert_eq!(again.poll().await, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_polls_is_told_why_it_is_sent_away() {
    let scene = Scene::set(&[], 8).await;
    let mut poller = Poller::connect(&scene.gateway.address, &[REGION]).await;
    while poller.mirrors.regions.is_empty() {
        assert_eq!(poller.poll().await, 200);
    }
    let requests = vec![r#"42["resync",{"region":"uk"}]"#; 400].join("\u{1e}");
    let end = Instant::now() + DEADLINE;
    // Repeated, since a fast machine processes some requests as fast as they come.
    loop {
        poller.post(&requests).await;
        if poller.poll().await != 200 {
            break;
        }
        assert!(Instant::now() < end, "it is not cut off");
    }
    assert!(matches!(&poller.byes[..], [bye] if bye.contains("too_many_requests")), "{:?}", poller.byes);
}
