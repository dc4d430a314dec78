//! The SQLite store.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use history::{HistoryError, Moment, RecordedStep, Recorder, SqliteStore, Store, Then};
use odds::{Region, Timestamp};
use rand::{RngExt, SeedableRng, rngs::StdRng};
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
async fn a_playback_goes_through_every_step() {
    for seed in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        contract::a_playback_goes_through_every_step(Arc::new(open(folder.path())), seed).await;
    }
}

#[tokio::test]
async fn series_say_what_boards_say() {
    for seed in 0..25 {
        let folder = tempfile::tempdir().unwrap();
        contract::series_say_what_boards_say(&open(folder.path()), seed).await;
    }
}

#[tokio::test]
async fn events_are_those_of_the_boards() {
    for seed in 0..25 {
        let folder = tempfile::tempdir().unwrap();
        contract::events_are_those_of_the_boards(&open(folder.path()), seed).await;
    }
}

#[tokio::test]
async fn what_is_older_is_forgotten() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        contract::what_is_older_is_forgotten(&open(folder.path()), seed).await;
    }
}

/// Rows that only boards before the limit needed are removed, and so is what the charts of ended events needed.
#[tokio::test(flavor = "multi_thread")]
async fn forgotten_rows_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let (mut topic, mut recorder) = (region::Region::new(now), Recorder::default());
    let mut random = StdRng::seed_from_u64(3);
    for _ in 0..3_000 {
        topic.wait(60_000);
        topic.step(&mut random, 6);
        store.append(Region::Uk, [recorder.record(&topic.reader).unwrap()].into()).await.unwrap();
    }
    let count = |rows: &str| -> i64 {
        let connection = Connection::open(folder.path().join("a/history.db")).unwrap();
        connection.query_row(&format!("SELECT count(*) FROM {rows}"), [], |row| row.get(0)).unwrap()
    };
    let (steps, keyframes) = (count("steps"), count("keyframes"));
    assert!(steps == 3_000 && keyframes >= 50 && count("quote_changes") > 3_000);
    let forgetting = tokio::spawn({
        let (store, end) = (store.clone(), topic.now());
        async move { store.forget(Region::Uk, end, Duration::ZERO).await }
    });
    // Boards that are about to be removed are exact until they are not recorded any more.
    let mut removed = 0;
    while !forgetting.is_finished() {
        let moment = Moment::At(now.plus_millis(random.random_range(0..topic.now().millis_since(now))));
        match store.board_at(Region::Uk, moment).await {
            Ok(_) => {}
            Err(HistoryError::NotRecorded { .. }) => removed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(removed > 0, "some were asked for after they had been removed");
    forgetting.await.unwrap().unwrap();
    assert!(count("steps") <= 60 && count("keyframes") == 1, "{} steps are left", count("steps"));
    assert_eq!(count("quotes"), count("(SELECT DISTINCT quote FROM quote_changes)"));
    for charts in ["quote_changes", "event_changes"] {
        assert_eq!(count(&format!("{charts} WHERE at < (SELECT min(at) FROM steps)")), 0, "{charts}");
    }
    let ended = "quotes WHERE event NOT IN (SELECT event FROM event_changes)";
    assert_eq!(count(ended), 0);
}

#[tokio::test]
async fn a_wrong_clock_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    contract::a_wrong_clock_forgets_nothing(&open(folder.path())).await;
}

/// How a file of this version would have been written by version 1.
const FORMAT_1: &str = "
    DROP INDEX whole_boards;
    CREATE TABLE former_quotes (
        quote INTEGER NOT NULL REFERENCES quotes (id), at INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (quote, at)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO former_quotes SELECT quote, at, value FROM quote_changes;
    DROP TABLE quote_changes;
    ALTER TABLE former_quotes RENAME TO quote_changes;
    CREATE TABLE former_events (
        event INTEGER NOT NULL REFERENCES texts (id), region TEXT NOT NULL, at INTEGER NOT NULL,
        details INTEGER REFERENCES texts (id), PRIMARY KEY (event, region, at)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO former_events SELECT event, region, at, details FROM event_changes JOIN logs ON logs.id = log;
    DROP TABLE event_changes;
    ALTER TABLE former_events RENAME TO event_changes;
    PRAGMA user_version = 1;
";

#[tokio::test]
async fn a_file_of_format_1_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.append(Region::Uk, contract::steps(200).into()).await.unwrap();
    drop(store);
    let path = folder.path().join("a/history.db");
    let rows = |table: &str| -> Vec<(i64, i64, i64)> {
        let connection = Connection::open(&path).unwrap();
        let mut select = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2, 3")).unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let before = (rows("quote_changes"), rows("event_changes"));
    assert!(before.0.len() > 100 && before.1.len() > 10);
    Connection::open(&path).unwrap().execute_batch(FORMAT_1).unwrap();
    drop(open(folder.path()));
    assert_eq!((rows("quote_changes"), rows("event_changes")), before);
}

/// As docs/scaling.md says: `VACUUM INTO`.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_it_is_written_comes_back_and_recording_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let steps = contract::steps(600);
    let (counter, written) = (Arc::new(AtomicUsize::new(0)), steps.clone());
    let writing = tokio::spawn({
        let counter = counter.clone();
        async move {
            for step in written {
                store.append(Region::Uk, [step].into()).await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    while counter.load(Ordering::Relaxed) < 200 {
        tokio::task::yield_now().await;
    }
    let (before, copy) = (counter.load(Ordering::Relaxed), folder.path().join("copy.db"));
    let connection = Connection::open(folder.path().join("a/history.db")).unwrap();
    connection.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    assert!(counter.load(Ordering::Relaxed) < steps.len(), "nothing was written after the copy began");
    writing.await.unwrap();

    let restored = SqliteStore::open(&copy).unwrap();
    let last = restored.last_step(Region::Uk).await.unwrap();
    let count = steps.iter().position(|step| Some(step.position) == last).unwrap() + 1;
    assert!(count >= before, "{count} steps of {before} are there");
    check_steps(&restored, &steps[..count]).await;
    // What Kafka still has is recorded again, without a gap.
    restored.append(Region::Uk, steps[count..].into()).await.unwrap();
    check_steps(&restored, &steps).await;
}

async fn check_steps(store: &SqliteStore, steps: &[RecordedStep]) {
    for step in steps {
        let board = store.board_at(Region::Uk, Moment::Step(step.id)).await.unwrap();
        assert_eq!((board.position, &board.marker), (step.position, &*step.marker));
    }
    let mut at = 0;
    while at + 1 < steps.len() {
        let read = store.steps_after(Region::Uk, steps[at].position, &steps[at].marker).await.unwrap().steps.len();
        assert!(read > 0, "there is a gap after step {at}");
        at += read;
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

/// What is before a damaged step can be read, and a keyframe behind it is found.
#[tokio::test]
async fn steps_before_and_behind_damage_can_be_read() {
    for damage in ["changes = x'ff'", "marker = 'x'", "step = x'00'"] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let (mut topic, mut recorder) = (region::Region::new(now), Recorder::default());
        let mut random = StdRng::seed_from_u64(3);
        let mut steps = Vec::new();
        for _ in 0..100 {
            topic.wait(60_000);
            topic.step(&mut random, 6);
            steps.push(recorder.record(&topic.reader).unwrap());
        }
        store.append(Region::Uk, steps.clone().into()).await.unwrap();
        let keyframes: Vec<_> =
            steps.iter().filter(|it| it.keyframe.is_some()).map(|it| (it.marker.at, it.id)).collect();
        assert_eq!(keyframes.len(), 2);
        let update = format!("UPDATE steps SET {damage} WHERE seq = 21");
        Connection::open(folder.path().join("a/history.db")).unwrap().execute(&update, []).unwrap();

        let read = store.steps_after(Region::Uk, steps[0].position, &steps[0].marker).await.unwrap();
        let ids: Vec<_> = read.steps.iter().map(|step| step.id).collect();
        assert_eq!(ids, steps[1..20].iter().map(|step| step.id).collect::<Vec<_>>(), "{damage}");
        assert_eq!(read.then, Then::More);
        store.steps_after(Region::Uk, steps[19].position, &steps[19].marker).await.unwrap_err();
        let next = |after| store.next_keyframe(Region::Uk, after);
        assert_eq!(next(now).await.unwrap(), Some(keyframes[0]));
        assert_eq!(next(keyframes[0].0).await.unwrap(), Some(keyframes[1]));
        assert_eq!(next(keyframes[1].0).await.unwrap(), None);
        assert_eq!(store.next_keyframe(Region::Us, now).await.unwrap(), None);
        assert!(store.board_at(Region::Uk, Moment::Step(keyframes[1].1)).await.is_ok());
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
