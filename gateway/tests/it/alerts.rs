//! Tests of rules and alerts from outside: the REST interface, and alerts on the connections of their users.

use std::time::Duration;

use accounts::{Shard, Unwatched};
use alerter::Alerter;
use client::{Client, ServerMessage};
use odds::{Region, Timestamp};
use serde_json::{Value, json};
use service::MetricRegistry;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    author::{Author, image_with_price},
    guest::{BEARER, OTHER_TOKEN, TOKEN, add_user},
    http,
    stage::{DEADLINE, Running, Stage, until},
};

fn price(more: &Value) -> Value {
    let mut rule = json!({ "kind": "price", "event": "e1", "market": "h2h", "outcome": "A", "at_least": 2.1 });
    for (name, value) in more.as_object().unwrap() {
        rule[name] = value.clone();
    }
    rule
}

async fn ask(gateway: &Running, method: &str, path: &str, body: Option<&Value>) -> http::Answer {
    http::ask(&gateway.address, method, path, &[BEARER], body).await
}

async fn post(gateway: &Running, path: &str, body: &Value) -> http::Answer {
    ask(gateway, "POST", path, Some(body)).await
}

async fn get(gateway: &Running, path: &str) -> http::Answer {
    http::get(&gateway.address, path, &[BEARER]).await
}

/// A step of a region in which A has this price, in hundredths.
async fn step(author: &mut Author, hundredths: i64) {
    // Steps count from the millisecond after a rule's edit.
    tokio::time::sleep(Duration::from_millis(2)).await;
    author.step(vec![("e1".parse().unwrap(), Some(image_with_price(hundredths)))]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_made_changed_and_deleted_by_their_users_only() {
    let stage = Stage::set().await;
    add_user(&*stage.store, "other", OTHER_TOKEN).await;
    let gateway = stage.gateway("one", &["--max-rules-per-user=2"]).await;
    assert_eq!(get(&gateway, "/api/rules").await.json(), json!([]));
    let made = post(&gateway, "/api/rules", &price(&json!({ "name": "Leeds" }))).await;
    assert_eq!(made.status, 201);
    let rule = made.json();
    assert_eq!((&rule["at_least"], &rule["revision"], &rule["name"]), (&json!(2.1), &json!(1), &json!("Leeds")));
    assert!(rule["until"].is_string(), "a rule about an event ends with it");
    let path = format!("/api/rules/{}", rule["id"].as_str().unwrap());
    assert_eq!(get(&gateway, &path).await.json(), rule);

    let edited = ask(&gateway, "PATCH", &path, Some(&json!({ "at_least": null, "at_most": 1.5 }))).await;
    assert_eq!(edited.status, 200);
    assert_eq!((&edited.json()["at_most"], &edited.json()["revision"]), (&json!(1.5), &json!(2)));
    assert_eq!(get(&gateway, "/api/rules").await.json(), json!([edited.json()]));

    let other = [("authorization", &*format!("Bearer {OTHER_TOKEN}"))];
    assert_eq!(http::get(&gateway.address, &path, &other).await.status, 404);
    assert_eq!(http::ask(&gateway.address, "DELETE", &path, &other, None).await.status, 404);
    assert_eq!(http::get(&gateway.address, "/api/rules", &[]).await.status, 401);

    assert_eq!(post(&gateway, "/api/rules", &price(&json!({}))).await.status, 201);
    let third = post(&gateway, "/api/rules", &price(&json!({}))).await;
    assert_eq!((third.status, &third.json()["error"]["code"]), (409, &json!("too_many_rules")));
    assert_eq!(ask(&gateway, "DELETE", &path, None).await.status, 204);
    assert_eq!(get(&gateway, &path).await.status, 404);
    assert_eq!(get(&gateway, "/api/rules/nonsense").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_rule_names_the_field() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("one", &[]).await;
    for (field, more) in [
        ("kind", json!({ "kind": "prize" })),
        ("at_least", json!({ "at_least": 0.5 })),
        ("channels", json!({ "channels": ["pigeon"] })),
        ("rule", json!({ "colour": "red" })),
    ] {
        let refused = post(&gateway, "/api/rules", &price(&more)).await;
        assert_eq!(refused.status, 422, "{more}");
        assert!(refused.json()["error"]["fields"][field].is_string(), "{more}: {}", refused.json());
    }
    for path in ["/api/alerts?after=nonsense", "/api/alerts?limit=0"] {
        assert_eq!(get(&gateway, path).await.status, 422, "{path}");
    }
    assert_eq!(post(&gateway, "/api/alerts/read", &json!({ "ids": ["nonsense"] })).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_whether_a_rule_would_fire_and_what_is_missing() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("one", &[]).await;
    let rule = post(&gateway, "/api/rules", &price(&json!({ "regions": ["uk"] }))).await.json();
    let path = format!("/api/rules/{}/test", rule["id"].as_str().unwrap());
    let test = async || ask(&gateway, "POST", &path, None).await.json();
    assert_eq!(test().await, json!({ "would_fire": false, "missing": "no_board" }));
    let mut author = Author::start(&stage.kafka(), Region::Uk).await;
    step(&mut author, 200).await;
    until("the price is there", async || test().await["missing"] == "not_reached").await;
    assert_eq!(test().await["closest"]["price"], json!(2));
    step(&mut author, 215).await;
    until("it would fire", async || test().await["would_fire"] == json!(true)).await;
    assert_eq!(test().await["closest"]["bookmaker"], json!("b0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unwatched_times_are_listed_if_one_of_the_users_rules_may_have_missed_something() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("one", &[]).await;
    let before = service::now();
    let note = async |region, from: Timestamp, until: Timestamp| {
        let shards: Vec<Shard> = Shard::all().collect();
        stage.store.note_unwatched(&shards, &Unwatched { region, from, until }).await.unwrap();
    };
    let listed = async || get(&gateway, "/api/alerts").await.json()["unwatched"].clone();
    note(Region::Uk, before.plus_millis(-5_000), before).await;
    assert_eq!(listed().await, json!([]), "there is no rule");
    tokio::time::sleep(Duration::from_millis(2)).await;
    let rule = post(&gateway, "/api/rules", &price(&json!({ "regions": ["uk"] }))).await.json();
    assert_eq!(listed().await, json!([]), "there was no rule");
    let (from, until) = (service::now(), service::now().plus_millis(5_000));
    note(Region::Eu, from, until).await;
    assert_eq!(listed().await, json!([]), "the rule is about another region");
    note(Region::Uk, from, until).await;
    assert_eq!(listed().await, json!([{ "region": "uk", "from": from, "until": until }]));
    let path = format!("/api/rules/{}", rule["id"].as_str().unwrap());
    assert_eq!(ask(&gateway, "DELETE", &path, None).await.status, 204);
    assert_eq!(listed().await, json!([]), "the rule is gone");
}

/// A connection of the guest.
struct Guest(Client);

impl Guest {
    async fn join(gateway: &Running, more: &Value) -> Self {
        let mut auth = json!({ "v": 1, "token": TOKEN, "regions": [] });
        for (name, value) in more.as_object().unwrap() {
            auth[name] = value.clone();
        }
        Self(Client::connect(&gateway.address, &auth).await.unwrap())
    }

    /// The next alert.
    async fn alert(&mut self) -> Value {
        loop {
            let message = timeout(DEADLINE, self.0.next()).await.expect("an alert").unwrap();
            if let ServerMessage::Event { name, payload } = message
                && name == "alert"
            {
                return serde_json::from_str(&payload).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_reaches_every_connection_of_its_user_and_those_that_come_back() {
    let stage = Stage::set().await;
    let (one, other) = (stage.gateway("one", &[]).await, stage.gateway("other", &[]).await);
    let metrics = alerter::Metrics::new(&mut MetricRegistry::default());
    let stop = CancellationToken::new();
    let alerter = Alerter::new(stage.kafka(), stage.store.clone(), service::now, metrics);
    let alerter = tokio::spawn(alerter.run(stop.clone()));
    let mut author = Author::start(&stage.kafka(), Region::Uk).await;
    step(&mut author, 200).await;
    for at_least in [2.1, 2.2, 2.3] {
        assert_eq!(post(&one, "/api/rules", &price(&json!({ "at_least": at_least }))).await.status, 201);
    }
    let mut guests = [Guest::join(&one, &json!({})).await, Guest::join(&other, &json!({})).await];
    // The rules are announced, and a gateway finds the end of the topic, within moments.
    tokio::time::sleep(Duration::from_secs(3)).await;
    step(&mut author, 210).await;
    let mut last = String::new();
    for guest in &mut guests {
        let alert = guest.alert().await;
        assert_eq!((&alert["kind"], &alert["price"], &alert["missed"]), (&json!("price"), &json!(2.1), &json!(false)));
        alert["id"].as_str().unwrap().clone_into(&mut last);
    }
    drop(guests);
    // Nobody is connected.
    step(&mut author, 235).await;
    until("they are recorded", async || get(&one, "/api/alerts").await.json()["alerts"].as_array().unwrap().len() == 3)
        .await;
    let mut back = Guest::join(&other, &json!({ "alerts": last })).await;
    let missed = [back.alert().await, back.alert().await];
    let listed = get(&other, &format!("/api/alerts?after={last}")).await.json();
    let ids = |alerts: &[Value]| alerts.iter().map(|alert| alert["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&missed), ids(listed["alerts"].as_array().unwrap()));
    assert_eq!(listed["unread"], json!(3));
    assert_eq!(listed["unwatched"], json!([]));
    let read = post(&one, "/api/alerts/read", &json!({ "ids": [last] })).await;
    assert_eq!(read.json(), json!({ "unread": 2 }));
    assert_eq!(post(&one, "/api/alerts/read", &json!({})).await.json(), json!({ "unread": 0 }));
    stop.cancel();
    alerter.await.unwrap().unwrap();
}
