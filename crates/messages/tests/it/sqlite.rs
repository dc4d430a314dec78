//! The outbox in SQLite.

use std::sync::Arc;

use messages::{Outbox, OutboxUrl};
use tempfile::TempDir;

use crate::contract::{self, at, message};

pub struct Open {
    pub outbox: Arc<dyn Outbox>,
    _folder: TempDir,
}

async fn open() -> Open {
    let folder = tempfile::tempdir().unwrap();
    let outbox = OutboxUrl::Sqlite(folder.path().join("new/messages.db")).open().await.unwrap();
    Open { outbox, _folder: folder }
}

crate::contract!(open(),);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_there_after_a_restart_and_in_another_process() {
    let folder = tempfile::tempdir().unwrap();
    let url = OutboxUrl::Sqlite(folder.path().join("messages.db"));
    let (one, two) = (url.open().await.unwrap(), url.open().await.unwrap());
    assert_eq!(one.add(&[message("a", "anna@example.com")], at(1)).await.unwrap(), 1);
    assert_eq!(two.add(&[message("a", "anna@example.com")], at(1)).await.unwrap(), 0);
    drop(one);
    let claims = contract::claim(&two, "w", 1, 10).await;
    assert_eq!(claims.len(), 1);
}
