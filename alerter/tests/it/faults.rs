//! Alerters that are killed, Kafka and the store that can't be used.

use std::time::Duration;

use accounts::AlertState::{Missed, Notified};
use alerts::RuleId;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::scene::{A_WHILE, Running, Scene};

/// A hundred rules, whose values the price passes one by one.
async fn many_rules(scene: &Scene) -> Vec<RuleId> {
    let mut rules = Vec::new();
    for n in 1..=100 {
        rules.push(scene.add_rule(&format!(r#""at_least":{}.{:02}"#, 2 + n / 100, n % 100)).await);
    }
    rules
}

/// No alert is there twice, and all are published. A killed alerter may publish one again.
#[tokio::test(flavor = "multi_thread")]
async fn alerters_that_come_and_are_killed_lose_nothing_and_fire_nothing_twice() {
    let mut scene = Scene::set().await;
    scene.price(200).await;
    let rules = many_rules(&scene).await;
    let mut random = StdRng::seed_from_u64(3);
    let mut running: Vec<Running> = vec![scene.alerter()];
    for hundredths in 201..=300 {
        scene.price(hundredths).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..200))).await;
        match random.random_range(0..12) {
            0 if running.len() < 3 => running.push(scene.alerter()),
            1 if !running.is_empty() => running.swap_remove(random.random_range(0..running.len())).kill().await,
            _ => {}
        }
    }
    running.push(scene.alerter());
    let expected: Vec<_> = rules.iter().map(|rule| (*rule, Notified)).collect();
    // The price stays, so what was found late still holds.
    scene.has_alerts(&expected).await;
    let mut published = scene.published(rules.len()).await;
    published.sort_unstable();
    published.dedup();
    assert!(published.iter().all(|id| id.episode == 1));
    for alerter in running {
        alerter.stop().await;
    }
}

/// A table is missing for a while, so that the change is found and the rule can't be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rule_that_can_not_be_read_is_read_later() {
    let mut scene = Scene::set().await;
    scene.price(220).await;
    let first = scene.add_rule(r#""at_least":2.1"#).await;
    let alerter = scene.alerter();
    scene.price(225).await;
    scene.has_alerts(&[(first, Notified)]).await;
    let other = rusqlite::Connection::open(scene.file()).unwrap();
    other.execute_batch("ALTER TABLE armings RENAME TO hidden").unwrap();
    let rule = scene.add_rule(r#""at_least":2.3"#).await;
    tokio::time::sleep(A_WHILE).await;
    other.execute_batch("ALTER TABLE hidden RENAME TO armings").unwrap();
    tokio::time::sleep(A_WHILE).await;
    scene.price(240).await;
    scene.has_alerts(&[(first, Notified), (rule, Notified)]).await;
    alerter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_store_can_not_be_written() {
    let mut scene = Scene::set().await;
    scene.price(200).await;
    let rule = scene.add_rule(r#""at_least":2.1"#).await;
    let alerter = scene.alerter();
    tokio::time::sleep(A_WHILE).await;
    let holder = rusqlite::Connection::open(scene.file()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    scene.price(220).await;
    // The store's own patience ends meanwhile.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(scene.alerts().await, []);
    holder.execute_batch("COMMIT").unwrap();
    scene.has_alerts(&[(rule, Notified)]).await;
    alerter.stop().await;
}

/// The alerter has read the topic to its end long ago, and then falls behind.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_alerter_reads_late_is_notified_only_if_it_still_holds() {
    let mut scene = Scene::set().await;
    scene.price(200).await;
    let [holds, was] = [scene.add_rule(r#""at_least":2.1"#).await, scene.add_rule(r#""at_least":2.3"#).await];
    let alerter = scene.alerter();
    tokio::time::sleep(A_WHILE).await;
    let holder = rusqlite::Connection::open(scene.file()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    // It waits for the store when it next notes how far it has read.
    tokio::time::sleep(A_WHILE).await;
    scene.price(240).await;
    scene.price(215).await;
    tokio::time::sleep(2 * A_WHILE).await;
    holder.execute_batch("COMMIT").unwrap();
    scene.has_alerts(&[(holds, Notified), (was, Missed)]).await;
    alerter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_can_not_be_published_is_published_later() {
    let mut scene = Scene::set().await;
    scene.price(200).await;
    let rule = scene.add_rule(r#""at_least":2.1"#).await;
    let alerter = scene.alerter();
    tokio::time::sleep(A_WHILE).await;
    scene.price(220).await;
    (1..=3).for_each(|broker| scene.cluster.broker_down(broker).unwrap());
    tokio::time::sleep(A_WHILE).await;
    (1..=3).for_each(|broker| scene.cluster.broker_up(broker).unwrap());
    scene.has_alerts(&[(rule, Notified)]).await;
    assert_eq!(scene.published(1).await[0].rule, rule);
    alerter.stop().await;
}
