//! The `mirror` program against a fake gateway that sends only the test's packets.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use tokio::{net::TcpListener, process::Command, time::timeout};
use tokio_tungstenite::{accept_async, tungstenite::Message};

const WITHIN: Duration = Duration::from_secs(30);

/// Waits for the next connection, sends these packets, and ends it.
async fn meet(gateway: &TcpListener, packets: &[&str]) {
    let meeting = async {
        let (stream, _) = gateway.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        socket.send(Message::text(r#"0{"pingInterval":25000,"pingTimeout":20000}"#)).await.unwrap();
        let auth = socket.next().await.unwrap().unwrap();
        assert!(auth.to_string().starts_with("40{"), "{auth}");
        for packet in packets {
            socket.send(Message::text(*packet)).await.unwrap();
        }
        socket.close(None).await.unwrap();
        // The client may have closed it first.
        while let Some(Ok(_)) = socket.next().await {}
    };
    timeout(WITHIN, meeting).await.expect("a connection");
}

#[tokio::test]
async fn mirror_comes_back_when_the_gateway_wants_it_back_and_not_before() {
    let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gateway.local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirror"));
    command.args(["--gateway", &address]).stdout(Stdio::null()).kill_on_drop(true);
    let mut mirror = command.spawn().unwrap();
    meet(&gateway, &[r#"44{"message":"too_many_connections: this gateway is full"}"#]).await;
    let began = Instant::now();
    meet(&gateway, &["40{}", r#"42["bye",{"code":"stopping","message":"it stops","retry_after_ms":2500}]"#]).await;
    meet(&gateway, &["40{}", r#"42["bye",{"code":"signed_out","message":"the token is over"}]"#]).await;
    assert!(began.elapsed() >= Duration::from_millis(2_500), "it was asked to stay away for longer");
    let status = timeout(WITHIN, mirror.wait()).await.expect("it ends").unwrap();
    assert!(!status.success());
    assert!(timeout(Duration::from_millis(100), gateway.accept()).await.is_err(), "it doesn't come back");
}
