//! The store in one file.

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

/// Two processes on one file see each other's changes; here two connections.
#[tokio::test(flavor = "multi_thread")]
async fn two_of_them_share_a_file() {
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
async fn a_file_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.db");
    std::fs::write(&path, "this is not a database, but it is long enough to be taken for one, at first").unwrap();
    let error = StoreUrl::Sqlite(path.clone()).open().await.unwrap_err();
    assert!(error.to_string().contains("accounts.db"), "{error}");
}

const WRITER: &str = "TOTEBOARD_TEST_WRITE_TO";

/// Started by the test below as a process of its own: writes until it is killed, and says what.
#[tokio::test]
#[ignore = "the other half of another test"]
#[expect(clippy::disallowed_methods, reason = "not a setting: how this process is told its part")]
async fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(WRITER) else { return };
    let store = StoreUrl::Sqlite(path.into()).open().await.unwrap();
    loop {
        let user = crate::contract::make(&store).await;
        println!("made {}", user.name);
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
