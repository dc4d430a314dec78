//! The QuestDB store. `TOTEBOARD_TEST_QUESTDB` is the address of a server.

mod faults;
mod restore;
mod server;

use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

use history::{HistoryError, Moment, QuestDbStore, Recorder, Store};
use odds::Region;
use rand::{SeedableRng, rngs::StdRng};

use self::server::Server;
use crate::{contract, region};

/// A store whose tables are dropped at the end of the test.
struct TestStore {
    store: Arc<QuestDbStore>,
    server: Server,
    prefix: String,
}

impl TestStore {
    async fn open(name: &str) -> Self {
        let server = Server::shared();
        let prefix = format!("test_{name}_{}", std::process::id());
        let store = Arc::new(server.open(&prefix).await.unwrap());
        Self { store, server, prefix }
    }

    fn table(&self) -> String {
        format!("{}_uk", self.prefix)
    }

    async fn drop_tables(self) {
        for table in ["us", "uk", "eu", "au", "catalog"] {
            self.server.query(&format!("DROP TABLE {}_{table}", self.prefix)).await.unwrap();
        }
    }
}

impl Deref for TestStore {
    type Target = QuestDbStore;

    fn deref(&self) -> &QuestDbStore {
        &self.store
    }
}

/// Waits until a condition holds.
async fn until(condition: impl AsyncFn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < end, "it took too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn every_recorded_board_comes_back_exactly() {
    for seed in 0..3 {
        let store = TestStore::open(&format!("boards_{seed}")).await;
        contract::every_recorded_board_comes_back_exactly(&*store, seed).await;
        store.drop_tables().await;
    }
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_playback_goes_through_every_step() {
    for seed in 0..3 {
        let store = TestStore::open(&format!("playback_{seed}")).await;
        contract::a_playback_goes_through_every_step(store.store.clone(), seed).await;
        store.drop_tables().await;
    }
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn series_say_what_boards_say() {
    for seed in 0..2 {
        let store = TestStore::open(&format!("series_{seed}")).await;
        contract::series_say_what_boards_say(&*store, seed).await;
        store.drop_tables().await;
    }
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn events_are_those_of_the_boards() {
    for seed in 0..2 {
        let store = TestStore::open(&format!("events_{seed}")).await;
        contract::events_are_those_of_the_boards(&*store, seed).await;
        store.drop_tables().await;
    }
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn what_is_older_is_forgotten() {
    for seed in 0..2 {
        let store = TestStore::open(&format!("forgotten_{seed}")).await;
        contract::what_is_older_is_forgotten(&*store, seed).await;
        store.drop_tables().await;
    }
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_wrong_clock_forgets_nothing() {
    let store = TestStore::open("wrong_clock").await;
    contract::a_wrong_clock_forgets_nothing(&*store).await;
    store.drop_tables().await;
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn what_does_not_follow_is_not_stored() {
    let store = TestStore::open("follow").await;
    contract::what_does_not_follow_is_not_stored(&*store).await;
    store.drop_tables().await;
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn price_changes_are_counted() {
    let store = TestStore::open("counted").await;
    contract::price_changes_are_counted(&*store).await;
    store.drop_tables().await;
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_board_whose_rows_were_changed_is_never_returned() {
    for (n, damage) in [
        "UPDATE {table} SET content = 'AA' WHERE event LIKE 'event%' AND market LIKE 'm%'",
        "UPDATE {table} SET content = 'x' WHERE event = '~step'",
        "UPDATE {table} SET names = '[\"Other\"]' WHERE market LIKE 'm%' AND names IS NOT NULL",
        "UPDATE {table} SET content = 'removed' WHERE market = '~event'",
        "UPDATE {table} SET content = '1 0 {}' WHERE event = '~keyframe'",
        "UPDATE {table} SET content = 'AA' WHERE market = '~board'",
        "INSERT INTO {table} SELECT ts, log, 'event-9', market, bookmaker, names, content FROM {table} WHERE market = 'm1'",
        "TRUNCATE TABLE {table}",
    ]
    .into_iter()
    .enumerate()
    {
        let store = TestStore::open(&format!("damaged_{n}")).await;
        let steps = contract::steps(20);
        faults::append(&*store, &steps).await.unwrap();
        let moment = Moment::At(steps[15].marker.at);
        assert!(store.board_at(Region::Uk, moment).await.is_ok());
        store.server.query(&damage.replace("{table}", &store.table())).await.unwrap();
        until(async || store.board_at(Region::Uk, moment).await.is_err()).await;
        let found = store.board_at(Region::Uk, moment).await;
        let is_gone = damage.starts_with("TRUNCATE") && matches!(found, Err(HistoryError::NotRecorded { .. }));
        let is_named = matches!(found, Err(HistoryError::Damaged(_) | HistoryError::DamagedRow));
        assert!(is_gone || is_named, "{damage}: {found:?}");
        store.drop_tables().await;
    }
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn tables_of_a_newer_version_are_refused() {
    let store = TestStore::open("newer").await;
    let catalog = format!("{}_catalog", store.prefix);
    store.server.query(&format!("INSERT INTO {catalog} VALUES (0, '~', 'format', '99')")).await.unwrap();
    until(async || store.server.open(&store.prefix).await.is_err()).await;
    let error = store.server.open(&store.prefix).await.unwrap_err().to_string();
    assert!(error.contains("its format 99 was made by a newer version"), "{error}");
    store.drop_tables().await;
}

/// Statements quote values as if nothing but a quote were special.
#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_literal_has_no_escapes_but_doubled_quotes() {
    let answer = Server::shared().query(r#"SELECT 'it''s \n \'' %_ "é" ; --'"#).await.unwrap();
    assert_eq!(answer[0][0], r#"it's \n \' %_ "é" ; --"#);
}

/// Whole days that are older are removed, and only those.
#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn forgotten_days_are_removed() {
    let store = TestStore::open("days").await;
    let (mut topic, mut recorder) = (region::Region::new("2026-11-21T12:00:00Z".parse().unwrap()), Recorder::default());
    let mut random = StdRng::seed_from_u64(3);
    let mut steps = Vec::new();
    for _ in 0..120 {
        topic.wait(3_600_000);
        topic.step(&mut random, 6);
        steps.push(recorder.record(&topic.reader).unwrap());
    }
    faults::append(&*store, &steps).await.unwrap();
    let days = format!("table_partitions('{}')", store.table());
    let before = store.server.count(&days).await;
    assert!(before >= 5);
    store.forget(Region::Uk, topic.now(), Duration::from_secs(2 * 86_400)).await.unwrap();
    until(async || store.server.count(&days).await == 3).await;
    let (old, kept) = (&steps[..71], &steps[71..]);
    for (steps, is_kept) in [(old, false), (kept, true)] {
        for step in steps {
            assert_eq!(store.board_at(Region::Uk, Moment::Step(step.id)).await.is_ok(), is_kept, "{}", step.marker.at);
        }
    }
    // What a former leader writes late stays forgotten, and what follows is stored.
    assert_eq!(faults::append(&*store, &steps).await, Ok(history::Append::Stored));
    assert!(store.board_at(Region::Uk, Moment::Step(steps[0].id)).await.is_err());
    store.drop_tables().await;
}
