//! The outbox in MongoDB. The tests need a server, whose URL is in `TOTEBOARD_TEST_MONGODB`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use messages::{Outbox, OutboxUrl};

pub struct Open {
    pub outbox: Arc<dyn Outbox>,
}

/// Numbers the databases: each test has its own.
static OPENED: AtomicUsize = AtomicUsize::new(0);

#[expect(clippy::disallowed_methods, reason = "not a setting: the URL of the tests' server")]
async fn open() -> Open {
    let url = std::env::var("TOTEBOARD_TEST_MONGODB").expect("TOTEBOARD_TEST_MONGODB is the URL of a MongoDB");
    let url = format!("{url}-messages-{}", OPENED.fetch_add(1, Ordering::Relaxed));
    Open { outbox: url.parse::<OutboxUrl>().unwrap().open().await.unwrap() }
}

crate::contract!(open(), #[ignore = "needs a MongoDB"]);
