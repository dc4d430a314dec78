//! Engine.IO: opening a session, its two transports, and closing it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{
    Bytes, Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use super::{
    Scene, cases,
    wire::{Answer, Http, POLLING, PROMPTLY, Session, WEBSOCKET, Websocket, ask, refuses_websocket},
};

/// The gateway's default.
const MAX_PAYLOAD: usize = 16_384;
/// How many bytes a client may send before it signs in.
const STRANGER_BYTES: usize = 4_096;

#[tokio::test(flavor = "multi_thread")]
async fn engine() {
    let scene = Scene::set(&[]).await;
    cases!(scene:
        a_handshake_by_polling_opens_a_session,
        a_handshake_by_websocket_opens_a_session,
        every_session_has_an_id_of_its_own,
        other_parameters_and_their_order_do_not_matter,
        by_polling_a_handshake_without_version_or_transport_is_refused,
        by_websocket_a_handshake_without_version_or_transport_is_refused,
        a_handshake_by_another_method_is_refused,
        a_session_is_spoken_to_by_get_and_post_only,
        an_incomplete_websocket_handshake_is_refused,
        without_its_last_slash_the_path_is_the_same_or_none,
        an_unknown_session_is_refused,
        a_session_by_websocket_is_not_polled,
        what_is_sent_to_one_session_is_not_received_by_another,
        a_post_is_answered_with_ok,
        the_packets_of_a_body_are_taken_in_their_order,
        packets_that_wait_come_in_one_answer,
        a_poll_waits_until_there_is_something,
        a_body_may_come_in_pieces,
        the_content_type_of_a_body_is_ignored,
        a_body_that_is_no_packet_closes_the_session,
        a_frame_that_is_no_packet_closes_the_session,
        by_polling_packets_out_of_place_are_refused,
        by_websocket_packets_out_of_place_close_the_session,
        a_ping_of_the_client_is_ignored,
        by_polling_what_is_larger_than_max_payload_is_refused,
        by_websocket_what_is_larger_than_max_payload_closes_the_session,
        a_stranger_may_send_less,
        two_polls_at_once_close_the_session,
        two_posts_at_once_close_the_session,
        a_poll_that_waits_does_not_hinder_a_post,
        a_close_packet_releases_the_poll_and_ends_the_session,
        a_close_packet_without_a_poll_ends_the_session,
        by_websocket_a_close_packet_ends_the_session,
        a_websocket_that_closes_ends_the_session,
        a_message_in_fragments_is_one_packet,
        the_websockets_own_ping_is_answered,
    )
    .await;
}

async fn get(scene: &Scene, path: &str) -> Answer {
    ask(&scene.address, "GET", path, &[], b"").await
}

fn keys(session: &Session) -> BTreeSet<&str> {
    session.opened.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn a_handshake_by_polling_opens_a_session(scene: Arc<Scene>) {
    let answer = get(&scene, POLLING).await;
    assert!(answer.headers.contains("content-type: text/plain"), "{}", answer.headers);
    assert_eq!(answer.packets().len(), 1, "{}", answer.body);
    let session = Session::by_polling(&scene.address).await;
    assert_eq!(keys(&session), ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"].into());
    assert_eq!(session.opened["upgrades"], serde_json::json!(["websocket"]));
    assert_eq!(session.opened["pingInterval"], 25_000);
    assert_eq!(session.opened["pingTimeout"], 20_000);
    assert_eq!(session.opened["maxPayload"], MAX_PAYLOAD);
}

async fn a_handshake_by_websocket_opens_a_session(scene: Arc<Scene>) {
    let session = Session::by_websocket(&scene.address).await;
    assert_eq!(keys(&session), ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"].into());
    assert_eq!(session.opened["upgrades"], serde_json::json!([]));
    assert_eq!(session.opened["maxPayload"], MAX_PAYLOAD);
}

async fn every_session_has_an_id_of_its_own(scene: Arc<Scene>) {
    let mut ids = BTreeSet::new();
    for _ in 0..10 {
        for session in Session::by_both(&scene.address).await {
            assert!(!session.sid.is_empty() && ids.insert(session.sid));
        }
    }
}

async fn other_parameters_and_their_order_do_not_matter(scene: Arc<Scene>) {
    for query in ["transport=polling&EIO=4", "t=abc&EIO=4&transport=polling&b64=1", "EIO=4&x&transport=polling&="] {
        assert_eq!(get(&scene, &format!("/socket.io/?{query}")).await.status, 200, "{query}");
    }
}

const BAD_QUERIES: [&str; 12] = [
    "",
    "EIO=4",
    "EIO=4&transport=",
    "EIO=4&transport=abc",
    "EIO=4&transport=webtransport",
    "EIO=4&transport=POLLING",
    "transport=TRANSPORT",
    "EIO=&transport=TRANSPORT",
    "EIO=abc&transport=TRANSPORT",
    "EIO=2&transport=TRANSPORT",
    "EIO=3&transport=TRANSPORT",
    "EIO=5&transport=TRANSPORT",
];

async fn by_polling_a_handshake_without_version_or_transport_is_refused(scene: Arc<Scene>) {
    for query in BAD_QUERIES {
        let path = format!("/socket.io/?{}", query.replace("TRANSPORT", "polling"));
        assert_eq!(get(&scene, &path).await.status, 400, "{path}");
    }
    assert_eq!(get(&scene, "/socket.io/").await.status, 400);
}

async fn by_websocket_a_handshake_without_version_or_transport_is_refused(scene: Arc<Scene>) {
    for query in BAD_QUERIES {
        let path = format!("/socket.io/?{}", query.replace("TRANSPORT", "websocket"));
        assert!(refuses_websocket(&scene.address, &path).await, "{path}");
    }
}

async fn a_handshake_by_another_method_is_refused(scene: Arc<Scene>) {
    for method in ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
        let answer = ask(&scene.address, method, POLLING, &[], b"").await;
        assert_eq!(answer.status, 400, "{method}");
    }
}

async fn a_session_is_spoken_to_by_get_and_post_only(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    for method in ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
        let answer = ask(&scene.address, method, &session.polling(), &[], b"").await;
        assert_eq!(answer.status, 400, "{method}");
    }
    assert!(session.refuses_a_namespace().await, "it goes on");
}

/// RFC 6455: an incomplete handshake, or one of another version, is refused.
async fn an_incomplete_websocket_handshake_is_refused(scene: Arc<Scene>) {
    let whole = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut requests = vec![("nothing", "GET", vec![]), ("by POST", "POST", whole.to_vec())];
    for left_out in 0..whole.len() {
        let mut headers = whole.to_vec();
        requests.push((headers.remove(left_out).0, "GET", headers));
    }
    for (what, at, value) in [("version 8", 2, "8"), ("another upgrade", 1, "h2c"), ("a short key", 3, "x")] {
        let mut headers = whole.to_vec();
        headers[at].1 = value;
        requests.push((what, "GET", headers));
    }
    let mut wrong = Vec::new();
    for (what, method, headers) in requests {
        let mut http = Http::connect(&scene.address).await;
        http.request(method, WEBSOCKET, &headers, b"").await;
        match timeout(PROMPTLY, http.answer(method)).await {
            Ok(Some(answer)) if (400..500).contains(&answer.status) => {}
            Ok(Some(answer)) => wrong.push(format!("{what}: {}", answer.status)),
            Ok(None) => wrong.push(format!("{what}: the connection ends without an answer")),
            Err(_) => wrong.push(format!("{what}: no answer")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The specification's path ends with a slash, and Node's server knows no other. If a path opens a session, that
/// session has to work.
async fn without_its_last_slash_the_path_is_the_same_or_none(scene: Arc<Scene>) {
    let answer = get(&scene, "/socket.io?EIO=4&transport=polling").await;
    if [400, 404].contains(&answer.status) {
        return;
    }
    let opened: serde_json::Value = serde_json::from_str(&answer.body[1..]).unwrap();
    let path = format!("/socket.io?EIO=4&transport=polling&sid={}", opened["sid"].as_str().unwrap());
    let connect = format!("40{}", super::following());
    assert_eq!(ask(&scene.address, "POST", &path, &[], connect.as_bytes()).await.body, "ok");
    let mut follower = super::Follower::default();
    let followed = async {
        while !follower.has_all() {
            let answer = get(&scene, &path).await;
            assert_eq!(answer.status, 200);
            answer.packets().into_iter().for_each(|packet| follower.receive(packet));
        }
    };
    let done = timeout(PROMPTLY, followed).await;
    assert!(done.is_ok(), "a session was opened that gets nothing; {}", follower.progress());
}

async fn an_unknown_session_is_refused(scene: Arc<Scene>) {
    for sid in ["AAAAAAAAAAAAAAHs", "x", "", "a%20b", "AAAAAAAAAAAAAAHsAAAAAAAAAAAAAAHs"] {
        for method in ["GET", "POST"] {
            let answer = ask(&scene.address, method, &format!("{POLLING}&sid={sid}"), &[], b"").await;
            assert_eq!(answer.status, 400, "{method} {sid:?}");
        }
        assert!(refuses_websocket(&scene.address, &format!("{WEBSOCKET}&sid={sid}")).await, "{sid:?}");
    }
}

async fn a_session_by_websocket_is_not_polled(scene: Arc<Scene>) {
    let mut session = Session::by_websocket(&scene.address).await;
    assert_eq!(session.poll().await.status, 400);
    assert_eq!(session.post("40/x,").await.status, 400);
    assert!(refuses_websocket(&scene.address, &session.websocket()).await, "a second websocket");
    assert!(session.refuses_a_namespace().await, "it goes on");
}

async fn what_is_sent_to_one_session_is_not_received_by_another(scene: Arc<Scene>) {
    let mut sessions = [Session::by_polling(&scene.address).await, Session::by_polling(&scene.address).await];
    for (session, name) in sessions.iter_mut().zip(["/a", "/b"]) {
        session.send(format!("40{name},")).await;
    }
    for (session, name) in sessions.iter_mut().zip(["/a", "/b"]) {
        let packet = session.next().await.unwrap();
        assert!(packet.starts_with(&format!("44{name},")), "{packet}");
        // Nothing else follows.
        session.pending_poll().await;
    }
}

async fn a_post_is_answered_with_ok(scene: Arc<Scene>) {
    let session = Session::by_polling(&scene.address).await;
    let answer = session.post("40/x,").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
}

async fn the_packets_of_a_body_are_taken_in_their_order(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let names: Vec<String> = (0..10).map(|n| format!("/n{n},")).collect();
    let body: Vec<String> = names.iter().map(|name| format!("40{name}")).collect();
    assert_eq!(session.post(body.join("\u{1e}")).await.status, 200);
    for name in names {
        let packet = session.next().await.unwrap();
        assert!(packet.starts_with(&format!("44{name}")), "{packet} instead of {name}");
    }
}

async fn packets_that_wait_come_in_one_answer(scene: Arc<Scene>) {
    let session = Session::by_polling(&scene.address).await;
    assert_eq!(session.post("40/a,\u{1e}40/b,\u{1e}40/c,").await.status, 200);
    let answer = session.poll().await;
    let packets: Vec<&str> = answer.packets().into_iter().filter(|packet| *packet != "2").collect();
    assert_eq!(packets.len(), 3, "{packets:?}");
    assert!(answer.headers.contains("content-type: text/plain"), "{}", answer.headers);
}

async fn a_poll_waits_until_there_is_something(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let poll = session.pending_poll().await;
    session.send("40/x,").await;
    session.receive_poll(poll).await;
    let packet = session.next().await.unwrap();
    assert!(packet.starts_with("44/x,"), "{packet}");
}

/// A packet may be split anywhere, even within a character.
async fn a_body_may_come_in_pieces(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let mut http = Http::connect(&scene.address).await;
    let body = "40/é,\u{1e}40/o,".as_bytes();
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", session.polling());
    http.write(head).await;
    for byte in body {
        http.write([b"1\r\n".as_slice(), &[*byte], b"\r\n"].concat()).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    http.write("0\r\n\r\n").await;
    let answer = timeout(PROMPTLY, http.answer("POST")).await.expect("it is answered").unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    for begin in ["44/é,", "44/o,"] {
        let packet = session.next().await.unwrap();
        assert!(packet.starts_with(begin), "{packet}");
    }
}

/// Without a type, a receiver has to assume plain text. Version 4 sends binary as base64 in text, so no body needs
/// another type. Node's server refuses `application/octet-stream` and closes the session, which the specification
/// doesn't require.
async fn the_content_type_of_a_body_is_ignored(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let none = ask(&scene.address, "POST", &session.polling(), &[], b"40/none,").await;
    assert_eq!(none.status, 200, "without a type");
    session.until("44/none,").await;
    for (n, content_type) in
        ["text/plain", "text/plain;charset=UTF-8", "application/octet-stream", "application/json", "nonsense"]
            .into_iter()
            .enumerate()
    {
        assert_eq!(session.post_as(content_type, format!("40/{n},")).await.status, 200, "{content_type}");
        session.until(&format!("44/{n},")).await;
    }
}

async fn a_body_that_is_no_packet_closes_the_session(scene: Arc<Scene>) {
    let bodies: [&[u8]; 13] = [
        b"0",
        b"0{\"sid\":\"x\"}",
        b"abc",
        b"7",
        b"9x",
        b" 4",
        b"\xff\xfe",
        b"4\xff",
        b"b!!!",
        "é".as_bytes(),
        b"\x1e40/x,",
        b"40/x,\x1e\x1e40/y,",
        b"",
    ];
    let mut wrong = Vec::new();
    for body in bodies {
        let session = Session::by_polling(&scene.address).await;
        let status = session.post(body).await.status;
        let after = async { while session.poll().await.status == 200 {} };
        let is_closed = timeout(PROMPTLY, after).await.is_ok();
        if status != 400 || !is_closed {
            wrong.push(format!("{:?}: {status}, closed: {is_closed}", String::from_utf8_lossy(body)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn a_frame_that_is_no_packet_closes_the_session(scene: Arc<Scene>) {
    let text = |bytes: &'static [u8]| {
        Message::Frame(Frame::message(Bytes::from_static(bytes), OpCode::Data(Data::Text), true))
    };
    let frames = [
        text(b"abc"),
        text(b"0"),
        text(b"0{}"),
        text(b""),
        text(b"7"),
        text(b" 4"),
        text("é".as_bytes()),
        text(b"\xff\xfe"),
        text(b"b!!!"),
        Message::binary(vec![1, 2, 3]),
        Message::binary(Vec::new()),
    ];
    let mut wrong = Vec::new();
    for frame in frames {
        let mut session = Session::by_websocket(&scene.address).await;
        let socket = session.socket.as_mut().unwrap();
        let what = format!("{frame:?}");
        socket.send_message(frame).await;
        if !socket.is_closed().await {
            wrong.push(what);
        }
    }
    assert!(wrong.is_empty(), "not closed by {}", wrong.join("\n"));
}

/// Packets that only servers send, and packets of an upgrade.
const OUT_OF_PLACE: [&str; 4] = ["5", "6", "2probe", "3probe"];

/// The specification leaves open what happens to the session. Node's server ignores most of them; this gateway refuses
/// them, and the session goes on.
async fn by_polling_packets_out_of_place_are_refused(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    for packet in OUT_OF_PLACE {
        assert_eq!(session.post(packet).await.status, 400, "{packet}");
        assert!(session.refuses_a_namespace().await, "it goes on after {packet}");
    }
}

/// The specification leaves this open. Node's server ignores them.
async fn by_websocket_packets_out_of_place_close_the_session(scene: Arc<Scene>) {
    for packet in OUT_OF_PLACE {
        let mut session = Session::by_websocket(&scene.address).await;
        session.send(packet).await;
        assert!(session.is_closed().await, "{packet}");
    }
}

/// In version 4 a client doesn't ping. The specification leaves open what happens if it does. Node's server closes the
/// session.
async fn a_ping_of_the_client_is_ignored(scene: Arc<Scene>) {
    for mut session in Session::by_both(&scene.address).await {
        session.send("2").await;
        assert!(session.refuses_a_namespace().await, "it goes on");
    }
}

/// Returns a valid packet of this size.
fn large(bytes: usize) -> String {
    format!("40/{}", "x".repeat(bytes - 3))
}

async fn by_polling_what_is_larger_than_max_payload_is_refused(scene: Arc<Scene>) {
    let [mut session, _] = Session::connected_by_both(&scene.address).await;
    assert_eq!(session.post(large(MAX_PAYLOAD)).await.status, 200);
    session.until("44/xxx").await;
    for bytes in [MAX_PAYLOAD + 1, 10 * MAX_PAYLOAD] {
        let [session, _] = Session::connected_by_both(&scene.address).await;
        let status = session.post(large(bytes)).await.status;
        // The connection may be closed while the rest of the body is being sent.
        assert!(status == 413 || (status == 0 && bytes > MAX_PAYLOAD + 1), "{bytes} bytes: {status}");
    }
}

async fn by_websocket_what_is_larger_than_max_payload_closes_the_session(scene: Arc<Scene>) {
    let [_, mut session] = Session::connected_by_both(&scene.address).await;
    session.send(large(MAX_PAYLOAD)).await;
    session.until("44/xxx").await;
    session.send(large(MAX_PAYLOAD + 1)).await;
    let answered = timeout(PROMPTLY, session.next()).await.expect("it is closed");
    assert_eq!(answered.map(|it| it.len()), None, "a message of more than maxPayload was taken");
}

async fn a_stranger_may_send_less(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    assert_eq!(session.post(large(STRANGER_BYTES)).await.status, 200);
    session.until("44/xxx").await;
    assert_eq!(session.post(large(STRANGER_BYTES + 1)).await.status, 413);
    // By websocket, the limit is for all messages together.
    let mut session = Session::by_websocket(&scene.address).await;
    for _ in 0..2 {
        session.send(large(STRANGER_BYTES / 2 - 50)).await;
        session.until("44/xxx").await;
    }
    session.send(large(200)).await;
    assert!(session.is_closed().await, "more than {STRANGER_BYTES} bytes were taken");
}

async fn two_polls_at_once_close_the_session(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let first = session.pending_poll().await;
    assert_eq!(session.poll().await.status, 400);
    let first = timeout(PROMPTLY, first).await.expect("the first is released").unwrap();
    assert_eq!((first.status, first.body.as_str()), (200, "1"));
    assert_eq!(session.poll().await.status, 400);
    assert_eq!(session.post("40/x,").await.status, 400);
}

async fn two_posts_at_once_close_the_session(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let mut http = Http::connect(&scene.address).await;
    let head = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n40/f", session.polling());
    http.write(head).await;
    // The gateway must receive the first half before the second POST.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(session.post("40/second,").await.status, 400, "the second");
    http.write("irst,,").await;
    assert!(session.is_closed().await, "it is not closed");
}

async fn a_poll_that_waits_does_not_hinder_a_post(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    for round in 0..10 {
        let poll = session.pending_poll().await;
        assert_eq!(session.post(format!("40/r{round},")).await.status, 200);
        session.receive_poll(poll).await;
        let packet = session.next().await.unwrap();
        assert!(packet.starts_with(&format!("44/r{round},")), "{packet}");
    }
}

async fn a_close_packet_releases_the_poll_and_ends_the_session(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let poll = session.pending_poll().await;
    let answer = session.post("1").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    let released = timeout(PROMPTLY, poll).await.expect("the poll is released").unwrap();
    assert_eq!((released.status, released.body.as_str()), (200, "6"));
    assert_eq!(session.poll().await.status, 400);
    assert_eq!(session.post("40/x,").await.status, 400);
}

async fn a_close_packet_without_a_poll_ends_the_session(scene: Arc<Scene>) {
    let session = Session::by_polling(&scene.address).await;
    assert_eq!(session.post("40/x,\u{1e}1").await.status, 200);
    assert_eq!(session.poll().await.status, 400);
    assert!(refuses_websocket(&scene.address, &session.websocket()).await, "by websocket");
}

async fn by_websocket_a_close_packet_ends_the_session(scene: Arc<Scene>) {
    let mut session = Session::by_websocket(&scene.address).await;
    session.send("1").await;
    assert!(session.is_closed().await);
    assert_eq!(session.poll().await.status, 400);
}

async fn a_websocket_that_closes_ends_the_session(scene: Arc<Scene>) {
    let mut session = Session::by_websocket(&scene.address).await;
    let socket = session.socket.as_mut().unwrap();
    socket.send_message(Message::Close(None)).await;
    assert!(socket.is_closed().await);
    assert_eq!(session.poll().await.status, 400);
}

async fn a_message_in_fragments_is_one_packet(scene: Arc<Scene>) {
    let mut session = Session::by_websocket(&scene.address).await;
    let socket: &mut Websocket = session.socket.as_mut().unwrap();
    let parts = [("40/fr", OpCode::Data(Data::Text), false), ("", OpCode::Data(Data::Continue), false)];
    for (text, code, last) in parts.into_iter().chain([("agment,", OpCode::Data(Data::Continue), true)]) {
        socket.send_message(Message::Frame(Frame::message(Bytes::from_static(text.as_bytes()), code, last))).await;
    }
    session.until("44/fragment,").await;
}

async fn the_websockets_own_ping_is_answered(scene: Arc<Scene>) {
    let mut session = Session::by_websocket(&scene.address).await;
    let socket = session.socket.as_mut().unwrap();
    socket.send_message(Message::Ping(Bytes::from_static(b"hello"))).await;
    let answered = async {
        loop {
            if let Message::Pong(payload) = socket.message().await.expect("it goes on") {
                return payload;
            }
        }
    };
    assert_eq!(timeout(PROMPTLY, answered).await.expect("a pong comes"), Bytes::from_static(b"hello"));
}
