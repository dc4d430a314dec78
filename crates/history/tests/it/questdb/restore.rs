//! A backup of a server while no historian writes: docs/scaling.md has the commands, and this test does what they do.

use std::{fs, path::Path};

use history::{Append, Store};
use odds::Region;

use super::{
    faults::{append, check},
    server::OwnServer,
    until,
};
use crate::contract::steps;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test]
#[ignore = "needs a QuestDB"]
async fn a_copy_made_at_a_checkpoint_comes_back_and_recording_goes_on() {
    let mut own = OwnServer::prepare().await;
    own.start().await;
    let store = own.server().open("restored").await.unwrap();
    let steps = steps(90);
    assert_eq!(append(&store, &steps[..30]).await, Ok(Append::Stored));
    until(async || store.last_step(Region::Uk).await.unwrap() == Some(steps[29].position)).await;
    own.server().query("CHECKPOINT CREATE").await.unwrap();
    let backup = tempfile::tempdir().unwrap();
    copy(&own.data(), backup.path());
    own.server().query("CHECKPOINT RELEASE").await.unwrap();
    assert_eq!(append(&store, &steps[30..60]).await, Ok(Append::Stored));

    own.kill();
    fs::remove_dir_all(own.data()).unwrap();
    copy(backup.path(), &own.data());
    fs::write(own.data().join("_restore"), "").unwrap();
    own.start().await;
    check(&store, &own.server(), "restored_uk", &steps[..30]).await;
    assert_eq!(store.last_step(Region::Uk).await.unwrap(), Some(steps[29].position));
    // What Kafka still has is recorded again, without a gap.
    assert_eq!(append(&store, &steps[30..]).await, Ok(Append::Stored));
    check(&store, &own.server(), "restored_uk", &steps).await;
}
