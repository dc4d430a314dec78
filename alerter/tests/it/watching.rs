//! What one alerter does.

use std::sync::atomic::{AtomicI64, Ordering};

use accounts::{
    AlertState::{Missed, Notified},
    Unwatched,
};
use odds::{Region, Timestamp};

use crate::scene::{A_WHILE, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_reaches_the_value_is_recorded_and_published_once() {
    let mut scene = Scene::set().await;
    let alerter = scene.alerter();
    let rule = scene.add_rule(r#""at_least":2.1"#).await;
    scene.price(200).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.alerts().await, []);
    scene.price(210).await;
    scene.has_alerts(&[(rule, Notified)]).await;
    let published = scene.published(1).await;
    assert_eq!((published[0].rule, published[0].episode), (rule, 1));
    let facts = &scene.alerts().await[0].content.facts;
    assert_eq!(facts.bookmaker.as_ref().unwrap().as_str(), "b0");
    assert_eq!(facts.price.unwrap().to_string(), "2.1");
    assert!(scene.store.rule(&scene.user.id, rule).await.unwrap().unwrap().ended.is_some());
    alerter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_are_made_edited_or_deleted_meanwhile_count() {
    let mut scene = Scene::set().await;
    scene.price(200).await;
    let alerter = scene.alerter();
    let [edited, deleted] = [scene.add_rule(r#""at_least":3"#).await, scene.add_rule(r#""at_least":2.2"#).await];
    tokio::time::sleep(A_WHILE).await;
    let rule = scene.store.rule(&scene.user.id, edited).await.unwrap().unwrap().rule;
    let json = rule.to_json().to_string().replace(r#""at_least":3"#, r#""at_least":2.1"#);
    let new = alerts::Rule::from_json(&serde_json::from_str(&json).unwrap()).unwrap();
    scene.store.edit_rule(&scene.user.id, edited, &new, service::now()).await.unwrap().unwrap();
    assert!(scene.store.delete_rule(&scene.user.id, deleted).await.unwrap());
    tokio::time::sleep(A_WHILE).await;
    scene.price(230).await;
    scene.has_alerts(&[(edited, Notified)]).await;
    tokio::time::sleep(A_WHILE).await;
    scene.has_alerts(&[(edited, Notified)]).await;
    alerter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_a_disabled_user_do_not_fire() {
    let mut scene = Scene::set().await;
    scene.price(200).await;
    let rule = scene.add_rule(r#""at_least":2.1"#).await;
    let alerter = scene.alerter();
    tokio::time::sleep(A_WHILE).await;
    scene.store.set_disabled(&scene.user.id, true).await.unwrap();
    scene.price(220).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(scene.alerts().await, []);
    scene.store.set_disabled(&scene.user.id, false).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    scene.price(221).await;
    scene.has_alerts(&[(rule, Notified)]).await;
    alerter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_a_deleted_user_do_not_fire() {
    let mut scene = Scene::set().await;
    let bert = scene.add_user("bert").await;
    scene.price(200).await;
    let of_bert = scene.add_rule_of(&bert, r#""at_least":2.1"#).await;
    let of_anna = scene.add_rule(r#""at_least":2.1"#).await;
    let alerter = scene.alerter();
    tokio::time::sleep(A_WHILE).await;
    assert!(scene.store.delete_user(&bert).await.unwrap());
    scene.price(220).await;
    scene.has_alerts(&[(of_anna, Notified)]).await;
    assert_eq!(scene.published(1).await[0].rule, of_anna);
    assert_eq!(scene.store.active_rule(of_bert).await.unwrap(), None);
    assert_eq!(scene.store.alerts_of(&bert, None, 10).await.unwrap(), []);
    alerter.stop().await;
}

/// How far the clock of the next test is ahead, in milliseconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);

fn jumping_clock() -> Timestamp {
    service::now().plus_millis(AHEAD.load(Ordering::Relaxed))
}

/// With the system's clock, prices would be old, the event would start, and the region would be silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_makes_no_price_old_starts_no_event_and_silences_no_region() {
    let mut scene = Scene::set().await;
    scene.price(200).await;
    for kind in [r#""kind":"starts","event":"e1","minutes":30"#, r#""kind":"feed","regions":["uk"],"minutes":5"#] {
        scene.add_any_rule(&format!("{{{kind}}}")).await;
    }
    let [probe, first, second] = [
        scene.add_rule(r#""at_least":1.9"#).await,
        scene.add_rule(r#""at_least":2.1"#).await,
        scene.add_rule(r#""at_least":2.2"#).await,
    ];
    let alerter = scene.alerter_with(jumping_clock);
    // It has begun with the right time.
    scene.price(201).await;
    scene.has_alerts(&[(probe, Notified)]).await;
    // Just before the start of the event; then back, and an hour behind.
    for (minutes, hundredths, fired) in [(55, 210, &[probe, first][..]), (-60, 220, &[probe, first, second][..])] {
        AHEAD.store(minutes * 60_000, Ordering::Relaxed);
        tokio::time::sleep(A_WHILE).await;
        scene.price(hundredths).await;
        let expected: Vec<_> = fired.iter().map(|rule| (*rule, Notified)).collect();
        scene.has_alerts(&expected).await;
    }
    tokio::time::sleep(A_WHILE).await;
    scene.has_alerts(&[(probe, Notified), (first, Notified), (second, Notified)]).await;
    alerter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_absence_what_still_holds_is_notified_and_the_rest_was_missed() {
    let mut scene = Scene::set().await;
    scene.price(200).await;
    let [holds, was, never] = [r#""at_least":2.1"#, r#""at_least":2.3"#, r#""at_least":2.5"#].map(str::to_owned);
    let [holds, was, _] = [scene.add_rule(&holds).await, scene.add_rule(&was).await, scene.add_rule(&never).await];
    scene.price(240).await;
    scene.price(215).await;
    let alerter = scene.alerter();
    scene.has_alerts(&[(holds, Notified), (was, Missed)]).await;
    assert_eq!(scene.published(1).await[0].rule, holds);
    alerter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_of_which_the_topic_keeps_all_steps_is_not_unwatched() {
    let mut scene = Scene::set().await;
    let [first, second] = [scene.add_rule(r#""at_least":2.1"#).await, scene.add_rule(r#""at_least":2.3"#).await];
    let alerter = scene.alerter();
    scene.price(215).await;
    scene.has_alerts(&[(first, Notified)]).await;
    alerter.kill().await;
    for hundredths in 201..240 {
        scene.price(hundredths).await;
    }
    let alerter = scene.alerter();
    scene.has_alerts(&[(first, Notified), (second, Notified)]).await;
    assert_eq!(scene.unwatched().await, []);
    alerter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_that_outlasts_the_topics_steps_is_unwatched() {
    let mut scene = Scene::set().await;
    let [first, second] = [scene.add_rule(r#""at_least":2.1"#).await, scene.add_rule(r#""at_least":2.3"#).await];
    let alerter = scene.alerter();
    scene.price(215).await;
    scene.has_alerts(&[(first, Notified)]).await;
    alerter.stop().await;
    let stopped = service::now();
    scene.price(240).await;
    scene.forget_steps().await;
    let back = service::now();
    scene.price(200).await;
    let alerter = scene.alerter();
    let probe = scene.add_rule(r#""at_least":2.2"#).await;
    scene.price(225).await;
    scene.has_alerts(&[(first, Notified), (probe, Notified)]).await;
    // Nobody can know that the second rule would have fired.
    assert!(scene.store.rule(&scene.user.id, second).await.unwrap().unwrap().ended.is_none());
    let unwatched = scene.unwatched().await;
    assert_eq!(unwatched.iter().map(|it| it.region).collect::<Vec<_>>(), [Region::Uk]);
    let Unwatched { from, until, .. } = unwatched[0];
    assert!(from < stopped && stopped < until && until < back, "{from} to {until}, stopped at {stopped}");
    alerter.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_has_fired_does_not_fire_again_after_a_restart_of_everything() {
    let mut scene = Scene::set().await;
    let rule = scene.add_rule(r#""at_least":2.1,"cooldown_minutes":1"#).await;
    let alerter = scene.alerter();
    scene.price(220).await;
    scene.has_alerts(&[(rule, Notified)]).await;
    alerter.stop().await;
    let mut scene = scene.restart().await;
    let before = service::now();
    let alerter = scene.alerter();
    let later = scene.add_rule(r#""at_least":2.2"#).await;
    scene.price(225).await;
    scene.has_alerts(&[(rule, Notified), (later, Notified)]).await;
    // The steps in between, if there were any, are gone.
    let unwatched = scene.unwatched().await;
    assert_eq!(unwatched.iter().map(|it| it.region).collect::<Vec<_>>(), [Region::Uk]);
    assert!(unwatched[0].from < before && before < unwatched[0].until, "{unwatched:?}");
    alerter.stop().await;
}
