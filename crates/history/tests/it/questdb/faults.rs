//! Servers that go away, refuse, or lose what they were to answer; and two processes that write at once.

use std::{sync::Arc, time::Duration};

use history::{Append, Moment, RecordedStep, Store, StoreError};
use odds::Region;

use super::{
    TestStore,
    server::{OwnServer, Proxy, Responses, Server},
    until,
};
use crate::contract::steps;

pub async fn append(store: &dyn Store, steps: &[RecordedStep]) -> Result<Append, StoreError> {
    store.append(Region::Uk, Arc::from(steps)).await
}

/// Every step is stored once, and its board can be read.
pub async fn check(store: &dyn Store, server: &Server, table: &str, steps: &[RecordedStep]) {
    for step in steps {
        let board = store.board_at(Region::Uk, Moment::Step(step.id)).await.unwrap();
        assert_eq!((board.position, &board.marker), (step.position, &*step.marker));
    }
    assert_eq!(server.count(&format!("{table} WHERE event = '~step'")).await, steps.len() as i64);
    let changes: usize = steps.iter().filter_map(|step| step.difference.as_ref()).map(|it| it.changes.len()).sum();
    let changed = format!("(SELECT DISTINCT ts, event FROM {table} WHERE event NOT LIKE '~%' AND market <> '~board')");
    assert_eq!(server.count(&changed).await, changes as i64);
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let mut own = OwnServer::prepare().await;
    // It need not run when the store is opened.
    let store = own.server().open("killed").await.unwrap();
    let steps = steps(60);
    let error = append(&store, &steps[..1]).await.unwrap_err();
    assert!(error.to_string().contains("can't connect"), "{error}");
    own.start().await;
    let mut stored = 0;
    for kill_after in [3, 20, 40] {
        while stored < kill_after {
            assert_eq!(append(&store, &steps[stored..=stored]).await, Ok(Append::Stored));
            stored += 1;
        }
        // It is killed while it has something to write.
        let rest = &steps[stored..stored + 10];
        let (last, ()) = tokio::join!(append(&store, rest), async {
            tokio::time::sleep(Duration::from_millis(kill_after as u64)).await;
            own.kill();
        });
        if last.is_ok() {
            stored += rest.len();
        }
        assert!(store.last_step(Region::Uk).await.is_err());
        own.start().await;
        let last = store.last_step(Region::Uk).await.unwrap().unwrap();
        assert!(last >= steps[stored - 1].position, "acknowledged and lost: {last:?}");
    }
    assert_eq!(append(&store, &steps).await, Ok(Append::Stored));
    check(&store, &own.server(), "killed_uk", &steps).await;
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_wrong_password_is_refused_with_a_reason() {
    let mut own = OwnServer::prepare().await;
    own.start().await;
    let server = own.server();
    let (begin, address) = server.url.split_once('@').unwrap();
    let (begin, _) = begin.rsplit_once(':').unwrap();
    let wrong = Server { url: format!("{begin}:wrong@{address}") };
    let store = wrong.open("refused").await.unwrap();
    let error = append(&store, &steps(1)).await.unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("check the user and the password"), "{error}");
    assert_eq!(append(&server.open("refused").await.unwrap(), &steps(1)).await, Ok(Append::Stored));
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_step_whose_acknowledgement_was_lost_is_stored_once() {
    let shared = TestStore::open("lost").await;
    let proxy = Proxy::start(&shared.server).await;
    let store = proxy.server().open(&shared.prefix).await.unwrap();
    let steps = steps(40);
    for (n, batch) in steps.chunks(4).enumerate() {
        if n % 2 == 0 {
            proxy.responses.send_replace(Responses::Lose);
            // Which of the requests loses its response depends on the time.
            let release = async {
                tokio::time::sleep(Duration::from_millis(n as u64 * 10)).await;
                proxy.responses.send_replace(Responses::Pass);
            };
            let _ = tokio::join!(append(&store, batch), release);
        }
        assert_eq!(append(&store, batch).await, Ok(Append::Stored));
    }
    check(&store, &shared.server, &shared.table(), &steps).await;
    shared.drop_tables().await;
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_server_that_does_not_answer_is_an_error() {
    let shared = TestStore::open("silent").await;
    let proxy = Proxy::start(&shared.server).await;
    let store = proxy.server().open(&shared.prefix).await.unwrap();
    proxy.responses.send_replace(Responses::Hold);
    let error = append(&store, &steps(1)).await.unwrap_err();
    assert!(error.to_string().contains("no response in time"), "{error}");
    proxy.responses.send_replace(Responses::Pass);
    assert_eq!(append(&store, &steps(1)).await, Ok(Append::Stored));
    shared.drop_tables().await;
}

/// As after a full disk.
#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_suspended_table_is_an_error_that_says_how_to_go_on() {
    let store = TestStore::open("suspended").await;
    let (steps, table) = (steps(6), store.table());
    assert_eq!(append(&*store, &steps[..2]).await, Ok(Append::Stored));
    store.server.query(&format!("ALTER TABLE {table} SUSPEND WAL")).await.unwrap();
    let error = append(&*store, &steps[2..4]).await.unwrap_err().to_string();
    assert!(error.contains(&format!("ALTER TABLE {table} RESUME WAL")), "{error}");
    store.server.query(&format!("ALTER TABLE {table} RESUME WAL")).await.unwrap();
    assert_eq!(append(&*store, &steps[2..]).await, Ok(Append::Stored));
    check(&*store, &store.server, &table, &steps).await;
    store.drop_tables().await;
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn two_processes_write_the_same_steps_once() {
    let first = TestStore::open("two").await;
    let second = first.server.open(&first.prefix).await.unwrap();
    let steps = steps(60);
    let write = async |store: &dyn Store, at_once: usize| {
        for batch in steps.chunks(at_once) {
            // One may be ahead of the other: what it has not written yet is not connected.
            until(async || append(store, batch).await == Ok(Append::Stored)).await;
        }
    };
    tokio::join!(write(&*first, 3), write(&second, 5));
    check(&*first, &first.server, &first.table(), &steps).await;
    first.drop_tables().await;
}
