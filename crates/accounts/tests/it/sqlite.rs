//! The SQLite store.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    sync::Arc,
};

use accounts::{Store, StoreUrl};
use odds::Region;
use tempfile::TempDir;

pub struct Open {
    pub store: Arc<dyn Store>,
    _folder: TempDir,
}

async fn open() -> Open {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreUrl::Sqlite(folder.path().join("accounts.db")).open().await.unwrap();
    Open { store, _folder: folder }
}

crate::contract!(open(),);

/// Two processes on one file see each other's changes; here, two stores in one process.
#[tokio::test(flavor = "multi_thread")]
async fn two_stores_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("accounts.db"));
    let (one, other) = (url.open().await.unwrap(), url.open().await.unwrap());
    let user = crate::contract::make(&one).await;
    let regions = BTreeSet::from([Region::Uk]);
    let changes = (0..20).map(|number| {
        let store = [one.clone(), other.clone()][number % 2].clone();
        let (id, regions) = (user.id.clone(), regions.clone());
        tokio::spawn(async move { store.set_regions(&id, &regions).await.unwrap().unwrap().revision })
    });
    let revisions: BTreeSet<u64> = futures::future::join_all(changes).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(revisions.len(), 20);
    assert_eq!(one.user(&user.id).await.unwrap(), other.user(&user.id).await.unwrap());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    std::fs::write(&path, "this is not a database, but it is long enough to be taken for one, at first").unwrap();
    let error = StoreUrl::Sqlite(path.clone()).open().await.unwrap_err();
    assert!(error.to_string().contains("accounts.db"), "{error}");
}

/// A file that was emptied must not pass for a new store.
#[tokio::test]
async fn an_empty_file_is_not_a_store_without_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    drop(StoreUrl::Sqlite(path.clone()).open().await.unwrap());
    // The store's threads end a moment later, and the last of them writes the file once more.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while folder.path().join("accounts.db-wal").exists() {
        assert!(std::time::Instant::now() < end, "the file is still open");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    std::fs::write(&path, "").unwrap();
    let error = StoreUrl::Sqlite(path.clone()).open().await.unwrap_err();
    assert!(error.to_string().contains("accounts.db: the file is empty"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert!(StoreUrl::Sqlite(path).open().await.is_ok());
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_owner_can_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let store = StoreUrl::Sqlite(path.clone()).open().await.unwrap();
    crate::contract::make(&store).await;
    for name in ["accounts.db", "accounts.db-wal", "accounts.db-shm"] {
        assert_eq!(mode(&folder.path().join(name)), 0o600, "{name}");
    }
    drop(store);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(StoreUrl::Sqlite(path.clone()).open().await.unwrap());
    assert_eq!(mode(&path), 0o640, "a file made by an earlier version");
}

/// Another process holds the write lock while a writer waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_writer_does_not_keep_others_from_reading() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let store = StoreUrl::Sqlite(path.clone()).open().await.unwrap();
    let user = crate::contract::make(&store).await;
    let holder = rusqlite::Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (writing, id) = (store.clone(), user.id.clone());
    let write = tokio::spawn(async move { writing.set_regions(&id, &BTreeSet::new()).await });
    tokio::task::yield_now().await;
    for _ in 0..100 {
        assert_eq!(store.user(&user.id).await.unwrap().as_ref(), Some(&user));
    }
    assert!(!write.is_finished(), "it waits for the file");
    holder.execute_batch("COMMIT").unwrap();
    assert!(write.await.unwrap().unwrap().is_some());
}

const WRITER: &str = "TOTEBOARD_TEST_WRITE_TO";

/// Started by the tests below as a separate process: writes until it is killed or can't write any more, and prints what
/// was acknowledged.
#[tokio::test]
#[ignore = "other tests run it as a separate process"]
#[expect(clippy::disallowed_methods, reason = "not a setting: the file that this process writes to")]
async fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(WRITER) else { return };
    let store = StoreUrl::Sqlite(path.into()).open().await.unwrap();
    let regions = BTreeSet::from([Region::Uk]);
    for number in 0.. {
        let Ok(user) = crate::contract::try_to_make(&store).await else { break };
        println!("made {}", user.name);
        if store.set_regions(&user.id, &regions).await.is_ok() {
            println!("subscribed {}", user.name);
        }
        let (token, _) = crate::contract::token(&user, &format!("token {number}"));
        if store.create_token(&token, 10).await.is_ok() {
            println!("token {}", user.name);
        }
    }
}

/// A limit on the size of files stands in for a full disk.
#[cfg(unix)]
#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_disk_was_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    // The file is close to the limit, which neither the log nor the first few writes reach.
    drop(StoreUrl::Sqlite(path.clone()).open().await.unwrap());
    let ballast = rusqlite::Connection::open(&path).unwrap();
    ballast.execute_batch("CREATE TABLE ballast AS SELECT zeroblob(4200000)").unwrap();
    drop(ballast);
    let limited = r#"trap '' XFSZ; ulimit -f 8800; exec "$0" "$@""#;
    let output = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "sqlite::writes_until_it_is_killed"])
        .env(WRITER, &path)
        .output()
        .unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let acknowledged = |what: &str| -> Vec<String> {
        lines.lines().filter_map(|line| Some(line.split_once(what)?.1.to_owned())).collect()
    };
    let (made, subscribed, tokens) = (acknowledged("made "), acknowledged("subscribed "), acknowledged("token "));
    let all = made.len() + subscribed.len() + tokens.len();
    assert!(all >= 1_000, "{all} were acknowledged: {}", String::from_utf8_lossy(&output.stderr));
    let store = StoreUrl::Sqlite(path).open().await.unwrap();
    let user =
        async |name: &String| store.user_and_password(&name.parse().unwrap()).await.unwrap().map(|(user, _)| user);
    for name in &made {
        assert!(user(name).await.is_some(), "{name} was made");
    }
    for name in &subscribed {
        assert_eq!(user(name).await.unwrap().regions, [Region::Uk].into(), "{name} subscribed");
    }
    for name in &tokens {
        assert_eq!(store.tokens_of(&user(name).await.unwrap().id).await.unwrap().len(), 1, "{name} has a token");
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "sqlite::writes_until_it_is_killed"])
        .env(WRITER, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut made = Vec::new();
    for line in lines {
        let Ok(line) = line else { break };
        if let Some((_, name)) = line.split_once("made ") {
            made.push(name.to_owned());
        }
        if made.len() == 50 {
            // SIGKILL, in the middle of the next one.
            writer.kill().unwrap();
        }
    }
    writer.wait().unwrap();
    assert!(made.len() >= 50, "{} were made", made.len());
    let store = StoreUrl::Sqlite(path).open().await.unwrap();
    for name in made {
        assert!(store.user_and_password(&name.parse().unwrap()).await.unwrap().is_some(), "{name}");
    }
}

/// A file of version 3, which has no rules.
#[tokio::test]
async fn a_file_of_an_earlier_version_keeps_its_users_and_can_keep_rules() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    let store = StoreUrl::Sqlite(path.clone()).open().await.unwrap();
    let user = crate::contract::make(&store).await;
    drop(store);
    let former = rusqlite::Connection::open(&path).unwrap();
    let later = ["alerts", "armings", "rules", "rule_changes", "alerter_progress", "unwatched", "contacts"];
    for table in later.into_iter().chain(["actions", "site"]) {
        former.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    former.execute_batch("ALTER TABLE tokens DROP COLUMN scopes").unwrap();
    former.execute_batch("ALTER TABLE users DROP COLUMN is_operator").unwrap();
    former.pragma_update(None, "user_version", 3).unwrap();
    drop(former);
    let store = StoreUrl::Sqlite(path).open().await.unwrap();
    assert_eq!(store.user(&user.id).await.unwrap().as_ref(), Some(&user));
    crate::contract::the_number_of_rules_is_limited(store).await;
}
