//! What operators see, and nobody else.

use std::collections::BTreeSet;

use accounts::{NewToken, Scope, TokenId, TokenText, UserId};
use clap::Parser;
use fleet::Reporter;
use gateway::{AccountArgs, Role, UserCommand};
use kafka::{FLEET, TopicWriter};
use serde_json::{Value, json};
use service::{Lifecycle, MetricRegistry, Troubles};

use crate::{
    browser::{Browser, PASSWORD},
    guest::BEARER,
    http,
    stage::{Running, Stage, until},
};

const STATUS: &str = "/api/operator/status";
const METHODS: [&str; 4] = ["GET", "POST", "OPTIONS", "DELETE"];

/// A new token of the guest, for this scope.
async fn token(stage: &Stage, user: &UserId, scope: Scope) -> String {
    let text = TokenText::random();
    let token = NewToken {
        id: TokenId::random(),
        user: user.clone(),
        name: "test".parse().unwrap(),
        hash: text.hash(),
        created_at: service::now(),
        expires_at: None,
        scopes: BTreeSet::from([scope]),
    };
    stage.store.create_token(&token, 10).await.unwrap();
    format!("Bearer {}", text.reveal())
}

async fn guest_id(stage: &Stage) -> UserId {
    stage.store.users().await.unwrap()[0].id.clone()
}

async fn status(gateway: &Running, bearer: &str) -> Value {
    http::get(&gateway.address, STATUS, &[("authorization", bearer)]).await.json()
}

fn problems(status: &Value) -> Vec<(&str, &str)> {
    let problems = status["problems"].as_array().unwrap().iter();
    problems.map(|it| (it["name"].as_str().unwrap(), it["about"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn to_others_nothing_of_it_exists() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[]).await;
    let user = guest_id(&stage).await;
    let [usual, special] = [token(&stage, &user, Scope::Stream).await, token(&stage, &user, Scope::Operator).await];
    let unknown = http::get(&gateway.address, "/api/nothing", &[BEARER]).await;
    assert_eq!(unknown.status, 404);
    let same_as_nothing = async |headers: &[(&str, &str)]| {
        for (path, method) in [STATUS, "/api/operator/openapi.json"].iter().flat_map(|it| METHODS.map(|by| (it, by))) {
            let told = async |path: &str| {
                let mut answer = http::ask(&gateway.address, method, path, headers, None).await;
                answer.headers.remove("date");
                (answer.status, answer.headers, answer.body)
            };
            assert_eq!(told(path).await, told("/api/nothing").await, "{method} {path} {headers:?}");
        }
    };
    same_as_nothing(&[]).await;
    same_as_nothing(&[BEARER]).await;
    same_as_nothing(&[("authorization", &usual)]).await;
    same_as_nothing(&[("authorization", "Bearer tb_wrong")]).await;
    same_as_nothing(&[("cookie", "toteboard=AAAAAAAAAAAAAAAAAAAAAA")]).await;
    // A token alone is not enough: its user must be an operator now.
    same_as_nothing(&[("authorization", &special)]).await;
    stage.store.set_operator(&user, true).await.unwrap();
    same_as_nothing(&[("authorization", &usual)]).await;
    assert!(status(&gateway, &special).await["programs"].is_array());
    let document = http::get(&gateway.address, "/api/operator/openapi.json", &[("authorization", &special)]).await;
    assert!(document.json()["paths"][STATUS].is_object());
    stage.store.set_operator(&user, false).await.unwrap();
    same_as_nothing(&[("authorization", &special)]).await;
    for path in ["/api/openapi.json", "/api/asyncapi.json"] {
        let public = http::get(&gateway.address, path, &[]).await;
        assert!(!String::from_utf8_lossy(&public.body).contains("/api/operator"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_make_tokens_of_operators() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &["--registration=open"]).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    let wanted = |scope: &str| json!({ "name": "status", "password": PASSWORD, "scopes": [scope] });
    let refused = anna.post("/api/tokens", &wanted("operator")).await;
    let unknown = anna.post("/api/tokens", &wanted("emperor")).await;
    assert_eq!((refused.status, refused.json()), (422, unknown.json()));
    assert_eq!(anna.get(STATUS).await.status, 404);
    let grant = UserCommand::Grant { name: "anna".into(), role: Role::Operator };
    let settings = Settings::parse_from(["gateway"]).accounts;
    let mut out = Vec::new();
    grant.execute(stage.store.clone(), &settings, service::now, &mut out).await.unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "anna is an operator\n");
    // The session that she has is enough.
    assert_eq!(anna.get(STATUS).await.status, 200);
    let made = anna.post("/api/tokens", &wanted("operator")).await.json();
    assert_eq!(made["scopes"], json!(["operator"]));
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    assert!(status(&gateway, &bearer).await["problems"].is_array());
}

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    accounts: AccountArgs,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_until_it_is_mended() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[]).await;
    let user = guest_id(&stage).await;
    stage.store.set_operator(&user, true).await.unwrap();
    let bearer = token(&stage, &user, Scope::Operator).await;

    // Nobody reports: this test's gateway has no reporter either.
    until("Kafka is blamed", async || {
        problems(&status(&gateway, &bearer).await).first() == Some(&("KafkaDoesNotAnswer", ""))
    })
    .await;
    let told = status(&gateway, &bearer).await;
    assert_eq!((&told["is_well"], told["regions"].as_array().unwrap().len()), (&json!(false), 4));

    let mut registry = MetricRegistry::default();
    let mut scope = registry.scope("toteboard_producer");
    let leading = odds::Region::ALL.map(|region| scope.of_region(region).gauge("leading", "leads"));
    for gauge in &leading {
        gauge.set(1);
    }
    let shards = registry.scope("toteboard_alerter").gauge("shards", "shards");
    shards.set(8);
    let reporter =
        Reporter::new("everything", None, &stage.kafka(), registry.into(), Troubles::default(), service::now).unwrap();
    let lifecycle = Lifecycle::new();
    let reporting = tokio::spawn(reporter.run(lifecycle.clone()));
    // The boards are still empty.
    let only_boards = async || {
        let told = status(&gateway, &bearer).await;
        !told["programs"].as_array().unwrap().is_empty()
            && problems(&told).iter().all(|(name, _)| *name == "PricesAreOld")
    };
    until("nothing else is wrong", only_boards).await;

    leading[odds::Region::Eu as usize].set(0);
    until("a region without a leader", async || {
        problems(&status(&gateway, &bearer).await).contains(&("NobodyLeads", "eu"))
    })
    .await;
    leading[odds::Region::Eu as usize].set(1);
    until("the leader is back", only_boards).await;

    // A program that ends says so, and one that is killed doesn't.
    let writer = TopicWriter::<Value>::new(&stage.kafka(), FLEET).unwrap();
    let at = service::now();
    let killed = json!({ "v": 1, "role": "historian", "instance": "b", "version": "1", "since": at, "at": at });
    writer.send(0, "historian b", &killed).await.unwrap();
    until("a silent program", async || {
        problems(&status(&gateway, &bearer).await).contains(&("ProgramIsSilent", "historian b"))
    })
    .await;
    lifecycle.stop();
    reporting.await.unwrap().unwrap();
    until("only the silent one is left", async || {
        let told = status(&gateway, &bearer).await;
        let programs = told["programs"].as_array().unwrap().clone();
        programs.len() == 1 && programs[0]["is_silent"] == true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_is_wrong_although_accounts_cannot_be_read() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[]).await;
    let user = guest_id(&stage).await;
    stage.store.set_operator(&user, true).await.unwrap();
    let [known, other] = [token(&stage, &user, Scope::Operator).await, token(&stage, &user, Scope::Operator).await];
    assert!(status(&gateway, &known).await["problems"].is_array());
    let file = rusqlite::Connection::open(stage.accounts_file()).unwrap();
    file.execute_batch("ALTER TABLE tokens RENAME TO gone").unwrap();
    assert!(status(&gateway, &known).await["problems"].is_array());
    assert_eq!(http::get(&gateway.address, STATUS, &[("authorization", &other)]).await.status, 404);
}

/// A metric with another name would be missed by nobody.
#[test]
fn every_reported_metric_exists() {
    let mut registry = MetricRegistry::default();
    gateway::Metrics::new(&mut registry);
    alerter::Metrics::new(&mut registry);
    producers::Metrics::new(&mut registry, odds::Region::Uk, service::now);
    historian::Metrics::new(&mut registry, odds::Region::Uk);
    notifier::Metrics::new(&mut registry, messages::Channel::Sms);
    // Families that have no value yet are registered, but not encoded.
    let registered = format!("{registry:?}");
    for name in fleet::REPORTED {
        assert!(registered.contains(&format!("\"toteboard_{name}\"")), "{name}");
    }
}
