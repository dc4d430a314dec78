//! The SQLite store.

use std::path::Path;

use history::{HistoryError, Moment, Recorder, SqliteStore, Store};
use odds::{Region, Timestamp};
use rand::{SeedableRng, rngs::StdRng};
use rusqlite::Connection;

use crate::{contract, region};

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("a/history.db")).unwrap()
}

#[tokio::test]
async fn every_recorded_board_comes_back_exactly() {
    for seed in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        contract::every_recorded_board_comes_back_exactly(&open(folder.path()), seed).await;
    }
}

#[tokio::test]
async fn what_does_not_follow_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    contract::what_does_not_follow_is_not_stored(&open(folder.path())).await;
}

#[tokio::test]
async fn price_changes_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    contract::price_changes_are_counted(&open(folder.path())).await;
}

#[tokio::test]
async fn a_board_whose_rows_were_changed_is_never_returned() {
    for damage in [
        "UPDATE steps SET changes = x'00' WHERE length(changes) > 1",
        "UPDATE steps SET changes = x'ff' WHERE seq = 10",
        "UPDATE steps SET changes = NULL WHERE seq = 10",
        "UPDATE steps SET marker = 'x' WHERE seq = 10",
        "DELETE FROM steps WHERE seq = 10",
        "UPDATE keyframes SET content = x'00'",
        "DELETE FROM keyframes",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let (mut topic, mut recorder) = (region::Region::new(now), Recorder::default());
        let mut random = StdRng::seed_from_u64(3);
        let mut times = Vec::new();
        for _ in 0..20 {
            topic.wait(1_000);
            topic.step(&mut random, 6);
            let step = recorder.record(&topic.reader).unwrap();
            times.push(step.marker.at);
            store.append(Region::Uk, [step].into()).await.unwrap();
        }
        let moment = Moment::At(times[15]);
        assert!(store.board_at(Region::Uk, moment).await.is_ok());
        let changed = Connection::open(folder.path().join("a/history.db")).unwrap().execute(damage, []).unwrap();
        assert!(changed > 0, "{damage}");
        let found = store.board_at(Region::Uk, moment).await;
        assert!(matches!(found, Err(HistoryError::Damaged(_))), "{damage}: {found:?}");
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let path = folder.path().join("a/history.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = SqliteStore::open(&path).unwrap_err();
    assert!(error.to_string().contains("made by a newer version"), "{error}");
}
