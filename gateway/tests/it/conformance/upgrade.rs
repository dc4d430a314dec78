//! Upgrades from long polling to websocket, with CONNECT, polls, posts, probe and upgrade in every order. In each case,
//! a connected client gets whole snapshots of both boards, and then frames without a gap.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Follower, Scene, cases, following,
    wire::{Http, POLLING, PROMPTLY, Session, Websocket, quiet, refuses_websocket},
};

/// How long a websocket may be probed.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn upgrade() {
    let scene = Scene::set(&[]).await;
    cases!(scene:
        without_an_upgrade_by_polling,
        without_an_upgrade_by_polling_with_a_poll_that_waited_before_the_connect,
        without_an_upgrade_by_websocket,
        connect_by_polling_then_upgrade,
        connect_by_polling_with_a_poll_that_waited_then_upgrade,
        connect_by_polling_and_its_answer_after_the_upgrade,
        connect_by_polling_and_part_of_the_snapshot_before_the_upgrade,
        what_did_not_fit_into_the_last_poll_comes_after_the_upgrade,
        connect_by_polling_between_probe_and_upgrade,
        connect_by_websocket_after_the_upgrade,
        connect_by_websocket_together_with_the_upgrade,
        connect_by_polling_at_the_same_time_as_the_upgrade,
        a_second_connect_after_the_upgrade_follows_a_refusal_before,
        disconnect_by_polling_then_upgrade_and_connect_again,
        on_the_connection_that_polled_before,
        a_poll_that_waits_is_released_with_a_noop,
        a_poll_while_probing_is_answered_with_a_noop,
        posts_while_probing_are_carried_out,
        probe_and_upgrade_need_not_wait_for_the_answer,
        after_the_upgrade_polling_is_refused,
        after_the_upgrade_a_second_websocket_is_refused,
        while_probing_a_second_websocket_is_refused,
        a_probe_that_fails_leaves_a_session_that_polls,
        a_websocket_that_closes_after_the_upgrade_ends_the_session,
        a_close_packet_by_polling_while_probing_ends_the_session,
    )
    .await;
}

fn connect() -> String {
    format!("40{}", following())
}

async fn follows(session: &mut Session, scene: &Scene) {
    Follower::default().follow(session, scene).await;
}

async fn without_an_upgrade_by_polling(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&following()).await;
    follows(&mut session, &scene).await;
}

/// The official client polls as soon as the session is open.
async fn without_an_upgrade_by_polling_with_a_poll_that_waited_before_the_connect(scene: Arc<Scene>) {
    // It is a race whether the poll carries more than the answer, so this runs several times.
    for _ in 0..5 {
        let mut session = Session::by_polling(&scene.address).await;
        let poll = session.pending_poll().await;
        session.send(connect()).await;
        session.receive_poll(poll).await;
        follows(&mut session, &scene).await;
    }
}

async fn without_an_upgrade_by_websocket(scene: Arc<Scene>) {
    let mut session = Session::by_websocket(&scene.address).await;
    session.connect(&following()).await;
    follows(&mut session, &scene).await;
}

async fn connect_by_polling_then_upgrade(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&following()).await;
    session.upgrade().await;
    follows(&mut session, &scene).await;
}

async fn connect_by_polling_with_a_poll_that_waited_then_upgrade(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let poll = session.pending_poll().await;
    session.send(connect()).await;
    session.receive_poll(poll).await;
    session.upgrade().await;
    follows(&mut session, &scene).await;
}

async fn connect_by_polling_and_its_answer_after_the_upgrade(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.send(connect()).await;
    session.upgrade().await;
    let packet = timeout(PROMPTLY, session.next()).await.expect("it is answered");
    assert!(packet.as_ref().is_some_and(|packet| packet.starts_with("40{")), "{packet:?}");
    follows(&mut session, &scene).await;
}

async fn connect_by_polling_and_part_of_the_snapshot_before_the_upgrade(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&following()).await;
    let mut follower = Follower::default();
    while follower.snapshots.len() < 2 {
        let packet = timeout(PROMPTLY, session.next()).await.expect("something comes").expect("it goes on");
        follower.receive(&packet);
    }
    assert!(!follower.has_all(), "there is something left to upgrade for");
    session.upgrade().await;
    follower.follow(&mut session, &scene).await;
}

/// More than `maxPayload` is queued; the poll gets what fits.
async fn what_did_not_fit_into_the_last_poll_comes_after_the_upgrade(scene: Arc<Scene>) {
    let [mut session, _] = Session::connected_by_both(&scene.address).await;
    let name = "x".repeat(7_000);
    for n in 1..=3 {
        assert_eq!(session.post(format!("40/{n}{name},")).await.status, 200);
    }
    session.until("44/1").await;
    session.until("44/2").await;
    session.upgrade().await;
    session.until("44/3").await;
}

async fn connect_by_polling_between_probe_and_upgrade(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let mut socket = session.probe().await;
    assert_eq!(session.post(connect()).await.status, 200);
    socket.send("5").await;
    session.socket = Some(socket);
    session.until("40{").await;
    follows(&mut session, &scene).await;
}

async fn connect_by_websocket_after_the_upgrade(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.upgrade().await;
    session.connect(&following()).await;
    follows(&mut session, &scene).await;
}

async fn connect_by_websocket_together_with_the_upgrade(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let mut socket = session.probe().await;
    socket.send("5").await;
    socket.send(connect()).await;
    session.socket = Some(socket);
    session.until("40{").await;
    follows(&mut session, &scene).await;
}

async fn connect_by_polling_at_the_same_time_as_the_upgrade(scene: Arc<Scene>) {
    // It is a race which of the two is first, so this runs several times.
    for _ in 0..5 {
        let mut session = Session::by_polling(&scene.address).await;
        let post = tokio::spawn(session.post(connect()));
        session.upgrade().await;
        if post.await.unwrap().status == 400 {
            // The POST came after the upgrade.
            session.send(connect()).await;
        }
        session.until("40{").await;
        follows(&mut session, &scene).await;
    }
}

async fn a_second_connect_after_the_upgrade_follows_a_refusal_before(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.send("40").await;
    session.until("44{").await;
    session.upgrade().await;
    session.connect(&following()).await;
    follows(&mut session, &scene).await;
}

async fn disconnect_by_polling_then_upgrade_and_connect_again(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&following()).await;
    session.send("41").await;
    session.upgrade().await;
    session.connect(&following()).await;
    follows(&mut session, &scene).await;
}

/// A proxy may use one connection for all requests.
async fn on_the_connection_that_polled_before(scene: Arc<Scene>) {
    let mut http = Http::connect(&scene.address).await;
    http.request("GET", POLLING, &[], b"").await;
    let opened = http.answer("GET").await.unwrap();
    let sid = serde_json::from_str::<serde_json::Value>(&opened.body[1..]).unwrap()["sid"].clone();
    let mut session = Session::by_polling(&scene.address).await;
    session.sid = sid.as_str().unwrap().to_owned();
    http.request("POST", &session.polling(), &[], connect().as_bytes()).await;
    assert_eq!(http.answer("POST").await.unwrap().body, "ok");
    let mut follower = Follower::default();
    while follower.snapshots.is_empty() {
        http.request("GET", &session.polling(), &[], b"").await;
        let answer = timeout(PROMPTLY, http.answer("GET")).await.expect("something comes").unwrap();
        answer.packets().into_iter().for_each(|packet| follower.receive(packet));
    }
    let mut socket = Websocket::upgrade(http, &session.websocket()).await;
    socket.send("2probe").await;
    assert_eq!(socket.packet().await.as_deref(), Some("3probe"));
    socket.send("5").await;
    session.socket = Some(socket);
    follower.follow(&mut session, &scene).await;
}

async fn a_poll_that_waits_is_released_with_a_noop(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&quiet()).await;
    let poll = session.pending_poll().await;
    let mut socket = session.probe().await;
    let answer = timeout(PROMPTLY, poll).await.expect("it is released").unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "6"));
    socket.send("5").await;
    session.socket = Some(socket);
    assert!(session.answers().await, "it goes on by websocket");
}

async fn a_poll_while_probing_is_answered_with_a_noop(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&quiet()).await;
    let mut socket = session.probe().await;
    for _ in 0..2 {
        let answer = timeout(PROMPTLY, session.poll()).await.expect("it doesn't wait");
        assert_eq!((answer.status, answer.body.as_str()), (200, "6"));
    }
    socket.send("5").await;
    session.socket = Some(socket);
    assert!(session.answers().await, "it goes on by websocket");
}

async fn posts_while_probing_are_carried_out(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&quiet()).await;
    let mut socket = session.probe().await;
    let body = "421[\"resync\",{}]\u{1e}422[\"resync\",{}]";
    assert_eq!(session.post(body).await.status, 200);
    assert_eq!(session.post("423[\"resync\",{}]").await.status, 200);
    socket.send("5").await;
    session.socket = Some(socket);
    for begin in ["431[", "432[", "433["] {
        session.until(begin).await;
    }
}

async fn probe_and_upgrade_need_not_wait_for_the_answer(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    let mut socket = Websocket::open(&scene.address, &session.websocket()).await.unwrap();
    for packet in ["2probe", "5", &connect()] {
        socket.send(packet).await;
    }
    assert_eq!(socket.packet().await.as_deref(), Some("3probe"));
    session.socket = Some(socket);
    session.until("40{").await;
    follows(&mut session, &scene).await;
}

async fn after_the_upgrade_polling_is_refused(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.upgrade().await;
    session.connect(&following()).await;
    for _ in 0..3 {
        assert_eq!(session.poll().await.status, 400);
        assert_eq!(session.post("421[\"resync\",{}]").await.status, 400);
    }
    follows(&mut session, &scene).await;
}

async fn after_the_upgrade_a_second_websocket_is_refused(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&following()).await;
    session.upgrade().await;
    let mut follower = Follower::default();
    // A packet on the first websocket shows that it has taken over.
    follower.receive(&timeout(PROMPTLY, session.next()).await.expect("something comes").expect("it goes on"));
    assert!(refuses_websocket(&scene.address, &session.websocket()).await);
    follower.follow(&mut session, &scene).await;
}

async fn while_probing_a_second_websocket_is_refused(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&following()).await;
    let mut socket = session.probe().await;
    let second = Websocket::open(&scene.address, &session.websocket()).await;
    if let Ok(second) = &mut { second } {
        second.send("2probe").await;
        assert!(second.is_closed().await, "two websockets probe at once");
    }
    socket.send("5").await;
    session.socket = Some(socket);
    follows(&mut session, &scene).await;
}

/// How a websocket fails to take over.
#[derive(Clone, Copy, Debug)]
enum FailedProbe {
    Closes,
    BreaksOff,
    /// It sends these packets, the last of which is not allowed.
    Sends(&'static [&'static str]),
    /// It sends these packets, and then nothing until the upgrade times out.
    Waits(&'static [&'static str]),
}

impl FailedProbe {
    async fn run(self, session: &Session) {
        let mut socket = Websocket::open(&session.address, &session.websocket()).await.unwrap();
        let packets = match self {
            Self::Closes | Self::BreaksOff => &["2probe"],
            Self::Sends(packets) | Self::Waits(packets) => packets,
        };
        for packet in packets {
            socket.send(*packet).await;
        }
        match self {
            Self::Closes => {
                assert_eq!(socket.packet().await.as_deref(), Some("3probe"));
                socket.send_message(Message::Close(None)).await;
                assert!(socket.is_closed().await, "it is not closed");
            }
            Self::BreaksOff => assert_eq!(socket.packet().await.as_deref(), Some("3probe")),
            Self::Sends(_) => assert!(socket.is_closed().await, "it is not closed"),
            Self::Waits(_) => {
                let closed = async { while socket.message().await.is_some() {} };
                timeout(UPGRADE_WITHIN + PROMPTLY, closed).await.expect("it is closed at last");
            }
        }
    }
}

/// Sends a request with this number, and waits for the answer.
async fn is_answered(session: &mut Session, number: u8) {
    session.send(format!(r#"42{number}["unknown"]"#)).await;
    let answered = async {
        let begin = format!("43{number}[");
        while !session.next().await.expect("it goes on").starts_with(&begin) {}
    };
    timeout(PROMPTLY, answered).await.expect("it is answered");
}

/// Polling ends only with the upgrade packet, and another websocket may be probed.
async fn a_probe_that_fails_leaves_a_session_that_polls(scene: Arc<Scene>) {
    let sent: [&[&str]; 5] = [&["42[\"resync\"]"], &["5"], &["nonsense"], &["2probe", "2probe"], &["2probe", "4x"]];
    let waits = [FailedProbe::Waits(&[]), FailedProbe::Waits(&["2probe"])];
    let failed_probes = sent.map(FailedProbe::Sends).into_iter().chain(waits);
    let mut running = JoinSet::new();
    for failed_probe in failed_probes.chain([FailedProbe::Closes, FailedProbe::BreaksOff]) {
        let scene = scene.clone();
        running.spawn(async move {
            let mut session = Session::by_polling(&scene.address).await;
            session.connect(&following()).await;
            failed_probe.run(&session).await;
            is_answered(&mut session, 1).await;
            session.upgrade().await;
            is_answered(&mut session, 2).await;
        });
    }
    running.join_all().await;
}

async fn a_websocket_that_closes_after_the_upgrade_ends_the_session(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&following()).await;
    session.upgrade().await;
    session.next().await.expect("it goes on");
    session.socket.take().unwrap().break_off();
    assert!(session.is_closed().await, "there is no way back to polling");
}

async fn a_close_packet_by_polling_while_probing_ends_the_session(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.connect(&following()).await;
    let mut socket = session.probe().await;
    assert_eq!(session.post("1").await.status, 200);
    assert!(socket.is_closed().await, "its websocket stays open");
    assert!(session.is_closed().await);
}
