//! A gateway whose MongoDB goes away and comes back. `TOTEBOARD_TEST_MONGODB` is its address.

use std::{net::SocketAddr, sync::Arc};

use accounts::StoreUrl;
use odds::Region;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{
    author::{Author, draw_changes},
    browser::{Browser, PASSWORD, refusal},
    stage::{Stage, until},
};

/// A proxy between the gateway and MongoDB that can cut the connections.
struct Proxy {
    address: SocketAddr,
    up: Arc<watch::Sender<bool>>,
}

impl Proxy {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let up = Arc::new(watch::channel(true).0);
        let state = up.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (server, mut up) = (server.clone(), state.subscribe());
                if !*up.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = up.wait_for(|up| !up) => {}
                    }
                });
            }
        });
        Self { address, up }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a MongoDB"]
#[expect(clippy::disallowed_methods, reason = "not a setting: the address of the tests' server")]
async fn a_store_that_goes_away_stops_nobody_who_is_connected() {
    let url = std::env::var("TOTEBOARD_TEST_MONGODB").expect("TOTEBOARD_TEST_MONGODB is the address of a MongoDB");
    let server = url.strip_prefix("mongodb://").unwrap().split('/').next().unwrap().to_owned();
    let proxy = Proxy::start(server).await;
    let store: StoreUrl =
        format!("mongodb://{}/toteboard-test-away?directConnection=true", proxy.address).parse().unwrap();

    let mut stage = Stage::set().await;
    stage.store = store.open().await.unwrap();
    let mut author = Author::start(&stage.kafka(), Region::Uk).await;
    let mut random = StdRng::seed_from_u64(3);
    author.step(draw_changes(&mut random, 8)).await;
    let gateway = stage.gateway("one", &["--registration=open", "--recheck=1"]).await;
    let mut anna = Browser::new(&gateway.address);
    // The database may have an account of an earlier run.
    let name = format!("anna.{}", service::now().millis_since(odds::Timestamp::from_millis(0)));
    anna.register(&name).await;
    anna.put("/api/subscriptions", &json!({ "regions": ["uk"] })).await;
    let mut socket = anna.socket(None).await.unwrap();
    socket.comes_to(&["uk"]).await;

    proxy.up.send_replace(false);
    let away = async || {
        let answer = anna.clone().get("/api/me").await;
        answer.status == 503 && answer.json()["error"]["code"] == "store_unavailable"
    };
    until("what needs the store says that it is away", away).await;
    assert_eq!(refusal(anna.socket(None).await), "store_unavailable");
    assert_eq!(anna.sign_in(&name, PASSWORD).await.status, 503);
    // Long enough for the gateway to try and fail to check the accounts of connected clients.
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        author.step(draw_changes(&mut random, 8)).await;
    }
    let newest = author.history.newest(&odds::Filter::default());
    until("the stream goes on", async || {
        if let Ok(client::ServerMessage::Event { name, payload }) = socket.client.next().await {
            socket.mirrors.take(&name, &payload);
        }
        socket.mirrors.boards.get(&Region::Uk).is_some_and(|board| *board.events() == newest)
    })
    .await;
    // New clients should go to another gateway.
    let answer = anna.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(String::from_utf8_lossy(&answer.body).contains("accounts can't be stored"), "{answer:?}");

    proxy.up.send_replace(true);
    until("it comes back by itself", async || anna.clone().get("/api/me").await.status == 200).await;
    until("it is ready", async || anna.clone().get("/readyz").await.status == 200).await;
    anna.put("/api/subscriptions", &json!({ "regions": [] })).await;
    socket.comes_to(&[]).await;
}
