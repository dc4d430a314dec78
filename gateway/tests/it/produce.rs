//! Producing records: each request once, on any gateway, and only by tokens for that.

use std::time::Duration;

use accounts::{NewToken, Scope, TokenId, TokenText};
use kafka::{ReadFrom, TRANSACTIONS, TopicFollower};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    guest::BEARER,
    http::{self, Answer},
    stage::{DEADLINE, Running, Stage},
};

async fn produce(gateway: &Running, body: &Value) -> Answer {
    http::ask(&gateway.address, "POST", "/api/v1/produce", &[BEARER], Some(body)).await
}

fn body(request_id: &str) -> Value {
    json!({
        "request_id": request_id, "topic_name": "transactions", "message_body": "2 tickets",
        "transaction_id": "t-1", "email": "anna@example.com",
    })
}

fn with(request_id: &str, field: &str, value: Value) -> Value {
    let mut body = body(request_id);
    body[field] = value;
    body
}

/// The values of all records of the topic.
async fn records(stage: &Stage) -> Vec<Value> {
    let mut reader = TopicFollower::<Value>::new(&stage.kafka(), TRANSACTIONS, ReadFrom::Beginning).unwrap();
    let mut records = vec![timeout(DEADLINE, reader.next()).await.expect("a record")];
    while let Ok(record) = timeout(Duration::from_secs(2), reader.next()).await {
        records.push(record);
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_carried_out_once_on_any_gateway() {
    let stage = Stage::set().await;
    let setting = stage.outbox_setting();
    let [one, two] = [stage.gateway("a", &[&setting]).await, stage.gateway("b", &[&setting]).await];
    let first = produce(&one, &body("r-1")).await;
    assert_eq!(first.status, 200, "{}", String::from_utf8_lossy(&first.body));
    let place = first.json();
    assert_eq!(place["topic"], "transactions");
    assert!(
        place["offset"].is_i64() && place["timestamp"].as_str() > Some("2026") && place["latency_ms"].is_u64(),
        "{place}"
    );
    let again = produce(&two, &body("r-1")).await;
    assert_eq!((again.status, again.json()), (200, place), "the same answer");
    let other = produce(&two, &with("r-1", "message_body", json!("3 tickets"))).await;
    assert_eq!((other.status, &other.json()["error"]["code"]), (409, &json!("request_id_reused")));
    let records = records(&stage).await;
    assert_eq!(records, [json!({ "transaction_id": "t-1", "message_body": "2 tickets", "email": "anna@example.com" })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_partitions_decide_where_a_record_goes() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[&stage.outbox_setting()]).await;
    let partition = async |id: &str, field: &str, value: Value| {
        let answer = produce(&gateway, &with(id, field, value)).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["partition"].as_i64().unwrap()
    };
    assert_eq!(partition("a", "partition", json!(2)).await, 2);
    // As Kafka's own clients choose it.
    assert_eq!(partition("b", "key", json!("abc")).await, 0);
    assert_eq!(partition("c", "key", json!("foobar")).await, i64::from(kafka::partition_of_key(b"foobar", 3)));
    let mut in_turn = Vec::new();
    for id in ["d", "e", "f"] {
        in_turn.push(partition(id, "customer_id", json!("c-1")).await);
    }
    in_turn.sort_unstable();
    assert_eq!(in_turn, [0, 1, 2]);
    let refused = produce(&gateway, &with("g", "partition", json!(3))).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &json!("partition_out_of_range")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_said() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[&stage.outbox_setting()]).await;
    for (field, value) in [
        ("request_id", json!("")),
        ("transaction_id", json!("a\nb")),
        ("email", json!("anna@example.com\r\nBcc: eve@example.com")),
        ("phone", json!("0770")),
        ("message_body", json!(7)),
        ("unknown", json!(1)),
    ] {
        let refused = produce(&gateway, &with("r", field, value.clone())).await;
        let error = refused.json();
        assert_eq!(refused.status, 422, "{field}: {error}");
        assert!(error["error"]["fields"][field].is_string(), "{field}: {error}");
    }
    let mut nobody = body("r");
    nobody.as_object_mut().unwrap().remove("email");
    assert_eq!(produce(&gateway, &nobody).await.status, 422);
    let elsewhere = produce(&gateway, &with("r", "topic_name", json!("odds.uk"))).await;
    assert_eq!((elsewhere.status, &elsewhere.json()["error"]["code"]), (404, &json!("unknown_topic")));
    let large = produce(&gateway, &with("r", "message_body", json!("x".repeat(300_000)))).await;
    assert_eq!(large.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_for_it_may_produce_and_such_a_token_sees_nothing() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[&stage.outbox_setting()]).await;
    let (user, _) = stage.store.user_and_password(&"guest".parse().unwrap()).await.unwrap().unwrap();
    let mut tokens = Vec::new();
    for scope in [Scope::Stream, Scope::Produce] {
        let text = TokenText::random();
        let token = NewToken {
            id: TokenId::random(),
            user: user.id.clone(),
            name: scope.key().parse().unwrap(),
            hash: text.hash(),
            created_at: service::now(),
            expires_at: None,
            scopes: [scope].into(),
        };
        stage.store.create_token(&token, 50).await.unwrap();
        tokens.push(format!("Bearer {}", text.reveal()));
    }
    let [stream, only_produce] = <[String; 2]>::try_from(tokens).unwrap();
    let as_token = async |token: &str, method: &str, path: &str, body: Option<&Value>| {
        http::ask(&gateway.address, method, path, &[("authorization", token)], body).await
    };
    let refused = as_token(&stream, "POST", "/api/v1/produce", Some(&body("r"))).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (403, &json!("missing_scope")));
    assert_eq!(as_token(&only_produce, "POST", "/api/v1/produce", Some(&body("r"))).await.status, 200);
    assert_eq!(as_token(&only_produce, "GET", "/api/me", None).await.status, 403);
    assert_eq!(as_token(&only_produce, "GET", "/api/messages", None).await.status, 403);
    let listed = as_token(&stream, "GET", "/api/messages", None).await;
    assert_eq!((listed.status, listed.json()), (200, json!({ "messages": [] })));
    assert_eq!(http::ask(&gateway.address, "POST", "/api/v1/produce", &[], Some(&body("r"))).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_outbox_nothing_is_produced() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[]).await;
    let refused = produce(&gateway, &body("r")).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (501, &json!("messages_disabled")));
}
