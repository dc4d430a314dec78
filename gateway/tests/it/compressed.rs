//! Compression of frames and of long-polling responses.

use std::{io::Read, time::Duration};

use client::{BoardMirrors, Client, MirrorUpdate};
use flate2::{Compress, Compression, FlushCompress, read::GzDecoder};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use crate::{
    bridge::{Bridge, masked_frame},
    guest::TOKEN,
    http,
    live_board::{REGION, Scene},
    stage::DEADLINE,
};

const HANDSHAKE: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
                         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Begins a websocket with these headers. Returns the connection and the response's head.
async fn upgraded(address: &str, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{HANDSHAKE}{headers}\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap());
    }
    (stream, String::from_utf8(head).unwrap().to_lowercase())
}

fn compressed(message: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(message.len() + 100);
    Compress::new(Compression::best(), false).compress_vec(message, &mut compressed, FlushCompress::Sync).unwrap();
    masked_frame(Data::Text, compressed.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap(), true)
}

#[tokio::test(flavor = "multi_thread")]
async fn boards_are_exact_and_a_fraction_of_their_size() {
    let mut scene = Scene::set(&[], 60).await;
    let bridge = Bridge::start(&scene.gateway.address).await;
    let auth = json!({ "v": 1, "token": TOKEN, "regions": [REGION] });
    let (mut with, mut mirrors) = (Client::connect(&bridge.address, &auth).await.unwrap(), BoardMirrors::default());
    let (mut without, mut others) =
        (Client::connect(&scene.gateway.address, &auth).await.unwrap(), BoardMirrors::default());
    for round in 0..20 {
        scene.board.is_reached_by(&mut with, &mut mirrors).await;
        scene.board.is_reached_by(&mut without, &mut others).await;
        if round % 5 == 4 {
            // The answer comes before the snapshot, which is compressed as well.
            with.ask("resync", &json!({ "region": REGION })).await.unwrap();
        }
        scene.board.steps(5).await;
    }
    let (compressed, inflated) = bridge.traffic.bytes();
    println!("{compressed} bytes became {inflated}");
    assert!(compressed * 10 < inflated * 4, "{compressed} bytes became {inflated}");
    let (json, sent) = (
        scene.gateway.metric(r#"toteboard_gateway_json_bytes_total{region="uk"}"#),
        scene.gateway.metric(r#"toteboard_gateway_sent_bytes_total{region="uk"}"#),
    );
    assert!(sent < json * 0.8, "of {json} bytes of JSON, {sent} were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_is_negotiated() {
    let scene = Scene::set(&[], 60).await;
    let with = |offer: &str| format!("sec-websocket-extensions: {offer}\r\n");
    for (headers, is_accepted) in [
        (with("permessage-deflate; client_max_window_bits"), true),
        (format!("{}{}", with("other"), with("permessage-deflate")), true),
        (with("permessage-deflate; server_max_window_bits=9"), false),
        (with("\u{ff}permessage-deflate"), false),
        (String::new(), false),
    ] {
        let (_, head) = upgraded(&scene.gateway.address, &headers).await;
        assert!(head.starts_with("http/1.1 101"), "{headers}: {head}");
        let answer =
            "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
        assert_eq!(head.contains(answer), is_accepted, "{headers}: {head}");
        assert_eq!(head.contains("extensions"), is_accepted, "{headers}: {head}");
    }
    let without = Scene::set(&["--compression=off"], 60).await;
    let (_, head) = upgraded(&without.gateway.address, &with("permessage-deflate")).await;
    assert!(head.starts_with("http/1.1 101") && !head.contains("extensions"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_inflated_ends_its_connection() {
    let scene = Scene::set(&[], 60).await;
    let connect = format!("40{}", json!({ "v": 1, "token": TOKEN, "regions": [] }));
    let large = format!("42[\"resync\",\"{}\"]", "abcdefgh".repeat(10_000));
    let of_a_stranger = format!("40{}", json!({ "v": 1, "token": TOKEN, "x": "abcdefgh".repeat(1_000) }));
    for (what, frames) in [
        ("a bomb", [compressed(connect.as_bytes()), compressed(large.as_bytes())].concat()),
        ("nonsense", [compressed(connect.as_bytes()), masked_frame(Data::Text, &[0xff; 30], true)].concat()),
        ("more than a stranger may send", compressed(of_a_stranger.as_bytes())),
    ] {
        let offer = "sec-websocket-extensions: permessage-deflate\r\n";
        let (mut stream, _) = upgraded(&scene.gateway.address, offer).await;
        stream.write_all(&frames).await.unwrap();
        let closed =
            timeout(Duration::from_secs(20), async { while matches!(stream.read(&mut [0; 4_096]).await, Ok(1..)) {} });
        assert!(closed.await.is_ok(), "{what} does not end the connection");
    }
    // Others are served.
    let auth = json!({ "v": 1, "token": TOKEN, "regions": [REGION] });
    let mut client = Client::connect(&scene.gateway.address, &auth).await.unwrap();
    scene.board.is_reached_by(&mut client, &mut BoardMirrors::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_polling_responses_are_compressed_for_those_who_ask() {
    for (setting, header, is_compressed) in [
        ("--compression=on", &[("accept-encoding", "gzip, br")][..], true),
        ("--compression=on", &[], false),
        ("--compression=off", &[("accept-encoding", "gzip")], false),
    ] {
        let scene = Scene::set(&[setting], 60).await;
        let address = &scene.gateway.address;
        let path = "/socket.io/?EIO=4&transport=polling";
        let open = http::get(address, path, &[]).await;
        let sid = serde_json::from_slice::<Value>(&open.body[1..]).unwrap()["sid"].as_str().unwrap().to_owned();
        let path = format!("{path}&sid={sid}");
        let connect = format!("40{}", json!({ "token": TOKEN, "regions": [REGION] }));
        http::send(
            address,
            format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{connect}",
                connect.len()
            )
            .as_bytes(),
        )
        .await;
        let (mut mirrors, mut compressed, end) = (BoardMirrors::default(), 0, Instant::now() + DEADLINE);
        while !scene.board.is_shown_by(&mirrors) {
            assert!(Instant::now() < end);
            let answer = http::get(address, &path, header).await;
            assert_eq!(answer.status, 200);
            let mut text = String::new();
            match answer.headers.get("content-encoding").map(String::as_str) {
                Some("gzip") => {
                    compressed += 1;
                    GzDecoder::new(&*answer.body).read_to_string(&mut text).unwrap();
                    assert!(answer.body.len() < text.len());
                }
                coding => {
                    assert_eq!(coding, None);
                    text = String::from_utf8(answer.body).unwrap();
                }
            }
            for (name, payload) in text.split('\u{1e}').filter_map(|it| client::event_of(it.strip_prefix("42")?)) {
                assert!(!matches!(mirrors.take(&name, &payload), MirrorUpdate::Resync(..)), "a frame was lost");
            }
        }
        assert_eq!(compressed > 0, is_compressed, "{setting} {header:?}");
    }
}
