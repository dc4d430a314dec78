//! The MongoDB store. The tests need a server, whose URL is in `TOTEBOARD_TEST_MONGODB`.

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

/// Numbers the databases. Each test has its own, because some of them delete expired sessions of all users.
static OPENED: AtomicUsize = AtomicUsize::new(0);

#[expect(clippy::disallowed_methods, reason = "not a setting: the URL of the tests' server")]
async fn open() -> Open {
    let url = std::env::var("TOTEBOARD_TEST_MONGODB").expect("TOTEBOARD_TEST_MONGODB is the URL of a MongoDB");
    let url = format!("{url}-{}", OPENED.fetch_add(1, Ordering::Relaxed));
    Open { store: url.parse::<StoreUrl>().unwrap().open().await.unwrap() }
}

crate::contract!(open(), #[ignore = "needs a MongoDB"]);

/// A missing server, and one that never answers, lead to errors within seconds, and many requests at once don't queue
/// up.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_silent_server_leads_to_errors_in_time() {
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
