//! Verification: what is whole is counted, what is damaged is named, and what is behind it is verified, too.

use historian::{Progress, Verified, VerifySettings};
use odds::{Region, Timestamp};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use crate::histories::{REGION, Scene};

async fn verify(scene: &Scene, from: Option<Timestamp>, to: Option<Timestamp>) -> (Verified, String) {
    let settings = VerifySettings { regions: vec![REGION], from, to };
    let mut said = Vec::new();
    let stop = CancellationToken::new();
    let found = settings.verify(&scene.store, &stop, Progress::hidden(), &mut said).await.unwrap();
    (found.unwrap(), String::from_utf8(said).unwrap())
}

fn damage(scene: &Scene, statement: &str) {
    let connection = Connection::open(scene.folder.path().join("history.db")).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    assert!(connection.execute(statement, []).unwrap() > 0, "{statement}");
}

#[tokio::test]
async fn every_step_of_a_whole_history_matches_and_every_gap_is_named() {
    for seed in 0..20 {
        let scene = Scene::random(seed, 80).await;
        let steps = scene.steps().await;
        let gaps: Vec<_> = steps.windows(2).filter(|pair| pair[1].2).collect();
        let (found, said) = verify(&scene, None, None).await;
        assert_eq!(found, Verified { steps: steps.len() as u64, gaps: gaps.len() as u64, damages: 0 }, "seed {seed}");
        for pair in gaps {
            let line = format!("uk: gap from {} until {}\n", pair[0].0.min(pair[1].0), pair[1].0);
            assert!(said.contains(&line), "{line} is not in {said}");
        }
        assert!(said.ends_with("nothing is damaged\n"), "{said}");
    }
}

#[tokio::test]
async fn a_range_is_verified_alone() {
    let scene = Scene::regular(1, 100).await;
    damage(&scene, "UPDATE steps SET changes = x'ff' WHERE seq = 90");
    let steps = scene.steps_until_damage().await;
    let (found, _) = verify(&scene, Some(steps[10]), Some(steps[30])).await;
    assert_eq!(found, Verified { steps: 21, gaps: 0, damages: 0 });
}

/// The keyframes of a regular history: one at the first step, and one each hour.
#[tokio::test]
async fn verification_goes_on_behind_damage_at_the_next_keyframe() {
    for (statement, lost, places) in [
        // The difference of a step in the first hour: the rest of the hour can't be rebuilt.
        ("UPDATE steps SET changes = x'ff' WHERE seq = 21", 40, 1),
        ("UPDATE steps SET changes = x'01ffffffffffffffff7f00' WHERE seq = 21", 40, 1),
        ("UPDATE steps SET changes = NULL WHERE seq = 21", 40, 1),
        ("UPDATE steps SET marker = 'x' WHERE seq = 21", 40, 1),
        ("UPDATE steps SET step = x'00' WHERE seq = 21", 40, 1),
        ("DELETE FROM steps WHERE seq = 21", 40, 1),
        // In two hours.
        ("UPDATE steps SET changes = x'ff' WHERE seq IN (21, 22, 100)", 40 + 21, 2),
        // In the last one.
        ("UPDATE steps SET changes = x'ff' WHERE seq = 190", 11, 1),
        // A keyframe on the way: no board of its hour can be retrieved, but each can be verified.
        ("UPDATE keyframes SET content = x'00' WHERE seq = 61", 0, 1),
        (
            "UPDATE keyframes SET marker = replace(marker, '\"source\":\"test\"', '\"source\":\"tset\"') WHERE seq = 61",
            0,
            1,
        ),
        // All keyframes: there is nothing to begin with.
        ("UPDATE keyframes SET content = x'00'", 200, 1),
        ("DELETE FROM keyframes", 200, 1),
    ] {
        let scene = Scene::regular(2, 200).await;
        assert_eq!(verify(&scene, None, None).await.0, Verified { steps: 200, gaps: 0, damages: 0 });
        damage(&scene, statement);
        let (found, said) = verify(&scene, None, None).await;
        assert_eq!((200 - found.steps, found.damages), (lost, places), "{statement}: {said}");
        assert!(said.contains(" damaged"), "{said}");
        assert!(said.ends_with(&format!("damaged in {places} places\n")), "{said}");
    }
}

#[tokio::test]
async fn each_wanted_region_is_verified() {
    let scene = Scene::regular(3, 10).await;
    for (regions, lines) in [(Vec::new(), 4), (vec![REGION], 1), (vec![Region::Us, REGION], 2)] {
        let settings = VerifySettings { regions, from: None, to: None };
        let mut said = Vec::new();
        let stop = CancellationToken::new();
        let found = settings.verify(&scene.store, &stop, Progress::hidden(), &mut said).await.unwrap();
        assert_eq!(found.unwrap().steps, 10);
        assert_eq!(String::from_utf8(said).unwrap().lines().count(), lines);
    }
}
