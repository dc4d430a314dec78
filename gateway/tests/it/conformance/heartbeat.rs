//! Ping and pong. Only lower bounds of times are checked, since a busy machine delays everything.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{
    Scene, cases,
    wire::{PROMPTLY, Session},
};

const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);
/// Tolerance: the second of two pings may be delayed less than the first.
const SOME_LATE: Duration = Duration::from_millis(500);
const ROUNDS: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn heartbeat() {
    let scene = Scene::set(&["--ping-interval=1", "--ping-timeout=1"]).await;
    cases!(scene:
        the_handshake_has_interval_and_timeout,
        each_ping_comes_after_the_interval,
        by_polling_pings_and_pongs_keep_a_session,
        by_websocket_pings_and_pongs_keep_a_session,
        by_polling_a_missing_pong_closes_the_session,
        by_websocket_a_missing_pong_closes_the_session,
        a_client_that_never_polls_is_closed,
        after_an_upgrade_pings_come_by_websocket,
        after_an_upgrade_a_missing_pong_closes_the_session,
        a_pong_without_a_ping_changes_nothing,
    )
    .await;
}

async fn the_handshake_has_interval_and_timeout(scene: Arc<Scene>) {
    for session in Session::by_both(&scene.address).await {
        assert_eq!((&session.opened["pingInterval"], &session.opened["pingTimeout"]), (&1_000.into(), &1_000.into()));
    }
}

/// Returns the next packet, including pings.
async fn packet(session: &mut Session) -> Option<String> {
    let packet = async {
        match &mut session.socket {
            Some(socket) => socket.packet().await,
            None => Some(session.poll().await).filter(|answer| answer.status == 200).map(|answer| answer.body),
        }
    };
    timeout(PROMPTLY, packet).await.expect("something comes")
}

async fn each_ping_comes_after_the_interval(scene: Arc<Scene>) {
    let opened = Instant::now();
    let [polling, websocket] = Session::by_both(&scene.address).await.map(|mut session| async move {
        assert_eq!(packet(&mut session).await.as_deref(), Some("2"));
        assert!(opened.elapsed() >= INTERVAL, "the first comes after the interval");
        session.send("3").await;
        let answered = Instant::now();
        assert_eq!(packet(&mut session).await.as_deref(), Some("2"));
        assert!(answered.elapsed() >= INTERVAL - SOME_LATE, "the second comes after the interval");
    });
    tokio::join!(polling, websocket);
}

async fn pings_and_pongs_keep(session: &mut Session) {
    let mut last = None;
    for round in 0..ROUNDS {
        assert_eq!(packet(session).await.as_deref(), Some("2"), "round {round}");
        let now = Instant::now();
        if let Some(last) = last.replace(now) {
            assert!(now - last >= INTERVAL - SOME_LATE, "round {round}: {:?} after the last", now - last);
        }
        session.send("3").await;
    }
}

async fn by_polling_pings_and_pongs_keep_a_session(scene: Arc<Scene>) {
    pings_and_pongs_keep(&mut Session::by_polling(&scene.address).await).await;
}

async fn by_websocket_pings_and_pongs_keep_a_session(scene: Arc<Scene>) {
    pings_and_pongs_keep(&mut Session::by_websocket(&scene.address).await).await;
}

/// Checks that the session is closed, but not before the timeout since the first ping.
async fn missing_pong_closes(began: Instant, mut session: Session) {
    let over = async {
        loop {
            match packet(&mut session).await.as_deref() {
                None => return,
                Some("" | "1" | "2") => {}
                Some(other) => panic!("{other}"),
            }
        }
    };
    timeout(PROMPTLY, over).await.expect("it is closed");
    let after = began.elapsed();
    assert!(after >= TIMEOUT, "closed after {after:?} already");
}

async fn by_polling_a_missing_pong_closes_the_session(scene: Arc<Scene>) {
    let began = Instant::now();
    missing_pong_closes(began, Session::by_polling(&scene.address).await).await;
}

async fn by_websocket_a_missing_pong_closes_the_session(scene: Arc<Scene>) {
    let began = Instant::now();
    missing_pong_closes(began, Session::by_websocket(&scene.address).await).await;
}

async fn a_client_that_never_polls_is_closed(scene: Arc<Scene>) {
    let session = Session::by_polling(&scene.address).await;
    tokio::time::sleep(INTERVAL + TIMEOUT).await;
    let forgotten = async { while session.poll().await.status == 200 {} };
    timeout(PROMPTLY, forgotten).await.expect("it is closed");
}

async fn after_an_upgrade_pings_come_by_websocket(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.upgrade().await;
    pings_and_pongs_keep(&mut session).await;
}

async fn after_an_upgrade_a_missing_pong_closes_the_session(scene: Arc<Scene>) {
    let mut session = Session::by_polling(&scene.address).await;
    session.upgrade().await;
    assert!(session.socket.as_mut().unwrap().is_closed().await, "no pong, and it is not closed");
}

/// The specification leaves this open. Such a pong must neither close a session nor keep a silent one open.
async fn a_pong_without_a_ping_changes_nothing(scene: Arc<Scene>) {
    let [polling, websocket] = Session::by_both(&scene.address).await.map(|mut session| async move {
        session.send("3").await;
        session.send("3").await;
        for _ in 0..ROUNDS {
            assert_eq!(packet(&mut session).await.as_deref(), Some("2"));
            session.send("3").await;
        }
        let over = async { while packet(&mut session).await.is_some() {} };
        timeout(PROMPTLY, over).await.expect("it is closed without a pong");
    });
    tokio::join!(polling, websocket);
}
