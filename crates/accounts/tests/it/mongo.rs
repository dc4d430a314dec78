//! The store in MongoDB, where there is one: `TOTEBOARD_TEST_MONGODB` says where.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use accounts::{Store, StoreUrl};
use tokio::{net::TcpListener, time::Instant};

pub struct Open {
    pub store: Arc<dyn Store>,
}

/// A database for each test: one of them forgets what is expired, of everybody.
static OPENED: AtomicUsize = AtomicUsize::new(0);

#[expect(clippy::disallowed_methods, reason = "not a setting: where the tests' server is")]
async fn open() -> Open {
    let url = std::env::var("TOTEBOARD_TEST_MONGODB").expect("TOTEBOARD_TEST_MONGODB says where a MongoDB is");
    let url = format!("{url}-{}", OPENED.fetch_add(1, Ordering::Relaxed));
    Open { store: url.parse::<StoreUrl>().unwrap().open().await.unwrap() }
}

crate::contract!(open(), #[ignore = "needs a MongoDB"]);

/// A server that isn't there, and one that never answers, are told within seconds; and who asks all
/// at once isn't piled up.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_or_silent_is_told_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for address in ["127.0.0.1:1".to_owned(), silent.local_addr().unwrap().to_string()] {
        let store = format!("mongodb://{address}/x").parse::<StoreUrl>().unwrap().open().await.unwrap();
        let began = Instant::now();
        let crowd = (0..1_000).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.users().await.is_err() })
        });
        for failed in futures::future::join_all(crowd).await {
            assert!(failed.unwrap());
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}
