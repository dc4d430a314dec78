//! What operators see, and nobody else.

use std::{collections::BTreeSet, time::Duration};

use accounts::{NewToken, Scope, TokenId, TokenText, UserId};
use clap::Parser;
use client::ServerMessage;
use fleet::Reporter;
use gateway::{AccountArgs, Role, UserCommand};
use kafka::{FLEET, NewRecord, RecordProducer, TopicWriter, WholeTopic};
use serde_json::{Value, json};
use service::{Lifecycle, MetricRegistry, Troubles};
use tokio::time::timeout;

use crate::{
    browser::{Browser, PASSWORD, Socket, refusal},
    conformance::wire::Session,
    guest::{BEARER, TOKEN},
    http,
    stage::{Running, Stage, until},
};

const STATUS: &str = "/api/operator/status";
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "OPTIONS", "DELETE"];
const PATHS: [&str; 13] = [
    STATUS,
    "/api/operator/openapi.json",
    "/api/operator/screen.js",
    "/api/operator/audit",
    "/api/operator/audit?limit=x",
    "/api/operator/audit.csv",
    "/api/operator/accounts",
    "/api/operator/accounts/guest",
    "/api/operator/accounts/guest/password",
    "/api/operator/registration",
    "/api/operator/clients/x",
    "/api/operator/dead-letters",
    "/api/operator/dead-letters/replay",
];

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
        for (path, method) in PATHS.iter().flat_map(|it| METHODS.map(|by| (it, by))) {
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
    let noted = &stage.store.actions(None, 1).await.unwrap()[0];
    assert_eq!((noted.by.as_str(), noted.action.as_str(), noted.about.as_str()), ("console", "grant_operator", "anna"));
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
    lifecycle.wait().await.unwrap();
    reporting.await.unwrap().unwrap();
    until("only the silent one is left", async || {
        let told = status(&gateway, &bearer).await;
        let programs = told["programs"].as_array().unwrap().clone();
        programs.len() == 1 && programs[0]["state"] == "silent"
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

/// What is computed when it is read has no name before.
const OF_COLLECTORS: [&str; 2] = ["producer_poll_age", "producer_poll_interval"];

/// A metric with another name would be missed by nobody.
#[test]
fn every_reported_metric_exists() {
    let mut registry = MetricRegistry::default();
    gateway::Metrics::new(&mut registry);
    alerter::Metrics::new(&mut registry);
    producers::Metrics::new(&mut registry, odds::Region::Uk, service::now);
    historian::Metrics::new(&mut registry, odds::Region::Uk);
    for channel in messages::Channel::ALL {
        notifier::Metrics::new(&mut registry, channel);
    }
    // Families that have no value yet are registered, but not encoded.
    let registered = format!("{registry:?}");
    for name in fleet::REPORTED {
        // The endings are added when they are encoded.
        let name = ["_total", "_bytes", "_seconds"].iter().fold(name, |name, it| name.strip_suffix(it).unwrap_or(name));
        let is_registered = registered.contains(&format!("\"toteboard_{name}\""));
        assert!(
            is_registered
                || registered.contains(&format!("\"toteboard_{name}_seconds\""))
                || OF_COLLECTORS.contains(&name),
            "{name}"
        );
    }
}

/// The newest entries of the audit log: who did what to whom, and whether it failed.
async fn noted(anna: &mut Browser, count: usize) -> Vec<String> {
    let answer = anna.get(&format!("/api/operator/audit?limit={count}")).await.json();
    let entries = answer["entries"].as_array().unwrap().iter();
    let line = |it: &Value| {
        assert_eq!((it["address"].as_str(), it["at"].is_string()), (Some("127.0.0.1"), true), "{it}");
        let text = ["by", "action", "about", "failure"].map(|field| it[field].as_str().unwrap());
        text.join(" ").trim().to_owned()
    };
    entries.map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_handled_and_every_action_is_noted() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &["--registration=open", "--recheck=1"]).await;
    let [mut anna, mut ben] = [Browser::new(&gateway.address), Browser::new(&gateway.address)];
    anna.register("anna").await;
    let id = stage.store.user_and_password(&"anna".parse().unwrap()).await.unwrap().unwrap().0.id;
    assert!(anna.get("/api/site").await.json()["me"]["more"].is_null());
    assert_eq!(anna.get("/api/me/views").await.json(), json!([]));
    stage.store.set_operator(&id, true).await.unwrap();
    assert_eq!(anna.get("/api/site").await.json()["me"]["more"], true);
    let views = anna.get("/api/me/views").await.json();
    assert_eq!(
        (&views[0]["code"], &views[0]["auth"]),
        (&json!("/api/operator/screen.js"), &json!({ "operator": true }))
    );

    let made = anna.post("/api/operator/accounts", &json!({ "name": "ben" })).await;
    assert_eq!(made.status, 201);
    let password = made.json()["password"].as_str().unwrap().to_owned();
    assert_eq!(noted(&mut anna, 1).await, ["anna create_account ben"]);
    assert_eq!(ben.sign_in("ben", &password).await.status, 200);
    let mut socket = ben.socket(None).await.unwrap();
    // A name that is taken: the attempt and its failure are noted. A password in the wrong field is not.
    assert_eq!(anna.post("/api/operator/accounts", &json!({ "name": "ben" })).await.status, 422);
    assert_eq!(
        noted(&mut anna, 2).await,
        ["anna create_account ben name: this name is already taken", "anna create_account ben"]
    );
    assert_eq!(anna.post("/api/operator/accounts", &json!({ "name": "hunter2 hunter2" })).await.status, 422);
    assert_eq!(noted(&mut anna, 1).await, ["anna create_account ben name: this name is already taken"]);

    let listed = anna.get("/api/operator/accounts?begin=B").await.json();
    let account = &listed["accounts"][0];
    assert_eq!(
        (&account["name"], &account["disabled"], &account["connections"]),
        (&json!("ben"), &json!(false), &json!(1))
    );
    let first = anna.get("/api/operator/accounts?limit=1").await.json();
    assert_eq!(first["accounts"][0]["name"], "anna");
    let next = anna.get("/api/operator/accounts?limit=1&after=anna").await.json();
    assert_eq!(next["accounts"][0]["name"], "ben");

    let disabled = anna.ask("PATCH", "/api/operator/accounts/ben", Some(r#"{"disabled":true}"#)).await;
    assert_eq!(disabled.status, 200, "{:?}", String::from_utf8_lossy(&disabled.body));
    assert_eq!(disabled.json()["disabled"], true);
    assert_eq!(socket.ends().await.as_deref(), Some("signed_out"));
    assert_eq!(ben.sign_in("ben", &password).await.status, 403);
    anna.ask("PATCH", "/api/operator/accounts/ben", Some(r#"{"disabled":false,"is_operator":true}"#)).await;
    assert_eq!(ben.sign_in("ben", &password).await.status, 200);
    assert_eq!(ben.get(STATUS).await.status, 200);
    anna.ask("PATCH", "/api/operator/accounts/ben", Some(r#"{"is_operator":false}"#)).await;
    assert_eq!(ben.get(STATUS).await.status, 404);
    assert_eq!(
        noted(&mut anna, 4).await,
        ["anna revoke_operator ben", "anna grant_operator ben", "anna enable_account ben", "anna disable_account ben"]
    );
    let mut socket = ben.socket(None).await.unwrap();
    assert_eq!(anna.delete("/api/operator/accounts/ben/sessions").await.status, 204);
    assert_eq!(socket.ends().await.as_deref(), Some("signed_out"));
    let reset = anna.ask("POST", "/api/operator/accounts/ben/password", None).await.json();
    assert_eq!(ben.sign_in("ben", &password).await.status, 401);
    assert_eq!(ben.sign_in("ben", reset["password"].as_str().unwrap()).await.status, 200);
    assert_eq!(noted(&mut anna, 2).await, ["anna reset_password ben", "anna end_sessions ben"]);
    assert_eq!(anna.delete("/api/operator/accounts/nobody/sessions").await.status, 404);

    // Nobody locks themselves out by mistake.
    for mistake in [r#"{"disabled":true}"#, r#"{"is_operator":false}"#] {
        let refused = anna.ask("PATCH", "/api/operator/accounts/Anna", Some(mistake)).await;
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (422, &json!("invalid")));
    }
    assert_eq!(anna.put("/api/operator/registration", &json!({ "is_open": false })).await.status, 204);
    let mut carl = Browser::new(&gateway.address);
    let new = json!({ "name": "carl", "password": PASSWORD });
    assert_eq!(carl.post("/api/register", &new).await.status, 403);
    assert_eq!(anna.get(STATUS).await.json()["registration_is_open"], false);
    // Another gateway knows it from the store, whatever it was started with.
    let other = stage.gateway("b", &["--registration=open", "--recheck=1"]).await;
    let mut carl_there = Browser::new(&other.address);
    until("registration is closed there, too", async || {
        carl_there.get("/api/site").await.json()["registration"] == "closed"
    })
    .await;
    assert_eq!(anna.put("/api/operator/registration", &json!({ "is_open": true })).await.status, 204);
    until("registration is open there, too", async || {
        carl_there.get("/api/site").await.json()["registration"] == "open"
    })
    .await;
    assert_eq!(carl.post("/api/register", &new).await.status, 201);

    let file = anna.get("/api/operator/audit.csv").await;
    let lines = String::from_utf8(file.body).unwrap();
    assert!(lines.starts_with("id,at,by,address,agent,action,about,failure\n"), "{lines}");
    assert_eq!(lines.lines().count(), 1 + stage.store.actions(None, 100).await.unwrap().len());
    for secret in [password.as_str(), "hunter2"] {
        assert!(!lines.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_socket_sees_what_there_is_until_the_role_is_revoked() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &["--registration=open", "--recheck=1"]).await;
    let there = stage.gateway("b", &[]).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    let id = stage.store.user_and_password(&"anna".parse().unwrap()).await.unwrap().unwrap().0.id;
    let auth = json!({ "regions": [], "operator": true });
    // To others, it is a field like any other that is not known.
    let mut before = anna.socket_with(None, auth.clone()).await.unwrap();
    before.is_alive().await;
    assert!(!gets_status(&mut before, Duration::from_secs(3)).await);
    for strange in [json!("yes"), json!(7), json!({})] {
        anna.socket_with(None, json!({ "regions": [], "operator": strange })).await.unwrap().is_alive().await;
    }
    stage.store.set_operator(&id, true).await.unwrap();
    assert!(gets_status(&mut before, Duration::from_secs(20)).await, "the role is noticed");
    let mut socket = anna.socket_with(None, auth.clone()).await.unwrap();
    assert!(gets_status(&mut socket, Duration::from_secs(20)).await);
    // A token needs the scope, too.
    let [usual, special] = [Scope::Stream, Scope::Operator].map(|scope| token(&stage, &id, scope));
    let (usual, special) = (usual.await, special.await);
    let with = |token: &str| json!({ "token": token.trim_start_matches("Bearer "), "operator": true, "regions": [] });
    assert_eq!(refusal(anna.socket_with(None, with(&special)).await), "unauthenticated");
    let mut by_token = Browser::new(&gateway.address).socket_with(None, with(&usual)).await.unwrap();
    assert!(!gets_status(&mut by_token, Duration::from_secs(3)).await);
    let mut guest = stage.store.user_and_password(&"guest".parse().unwrap()).await.unwrap().unwrap().0;
    guest = stage.store.set_operator(&guest.id, true).await.unwrap().unwrap();
    assert!(guest.is_operator);
    let mut of_guest = Browser::new(&gateway.address).socket_with(None, with(TOKEN)).await.unwrap();
    assert!(gets_status(&mut of_guest, Duration::from_secs(20)).await, "its token has all scopes");

    // A client of another gateway is disconnected, and no other.
    let mut other = Session::by_websocket(&there.address).await;
    other.send(format!("40{}", json!({ "token": TOKEN }))).await;
    let connected: Value = serde_json::from_str(&other.until("40{").await[2..]).unwrap();
    let sid = connected["sid"].as_str().unwrap();
    assert_eq!(anna.delete(&format!("/api/operator/clients/{sid}")).await.status, 204);
    assert!(other.until(r#"42["bye""#).await.contains(r#""code":"disconnected""#));
    assert!(other.is_closed().await);
    assert_eq!(noted(&mut anna, 1).await, [format!("anna disconnect_client {sid}")]);
    of_guest.is_alive().await;
    stage.store.set_operator(&id, false).await.unwrap();
    until("the role is gone", async || !gets_status(&mut socket, Duration::from_secs(5)).await).await;
    socket.is_alive().await;
}

/// Whether the event `operator` comes within a time.
async fn gets_status(socket: &mut Socket, within: Duration) -> bool {
    let coming = async {
        loop {
            if let ServerMessage::Event { name, payload } = socket.client.next().await.unwrap()
                && name == "operator"
            {
                let status: Value = serde_json::from_str(&payload).unwrap();
                assert!(status["programs"].is_array() && status["kafka"]["brokers"].is_array(), "{status}");
                return;
            }
        }
    };
    timeout(within, coming).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_seen_and_produced_again() {
    let stage = Stage::set().await;
    let gateway = stage.gateway("a", &[]).await;
    let user = guest_id(&stage).await;
    stage.store.set_operator(&user, true).await.unwrap();
    let ask = async |method: &str, path: &str, body: Option<&str>| {
        let headers = [BEARER, ("content-type", "application/json")];
        let body: Option<Value> = body.map(|body| serde_json::from_str(body).unwrap());
        http::ask(&gateway.address, method, path, &headers, body.as_ref()).await
    };
    let producer = RecordProducer::new(&stage.kafka()).unwrap();
    let dead = async |number: i64, origin: &str| {
        let headers = [("dead_reason", &b"no JSON"[..]), ("dead_origin", origin.as_bytes()), ("dead_at", b"now")];
        let value = format!("value {number}");
        let (topic, at) = ("transactions.dead", service::now());
        let record = NewRecord { topic, partition: 0, key: None, value: value.as_bytes(), headers: &headers, at };
        producer.send(&record).await.unwrap();
    };
    for number in 0..3 {
        dead(number, &format!("transactions/1/{number}")).await;
    }
    dead(3, "").await;
    let listed = ask("GET", "/api/operator/dead-letters?topic=transactions.dead", None).await.json();
    let letters = listed["letters"].as_array().unwrap();
    assert_eq!(letters.len(), 4);
    assert_eq!((&letters[1]["origin"], &letters[1]["value"]), (&json!("transactions/1/2"), &json!("value 2")));
    assert_eq!((&letters[1]["reason"], &letters[1]["offset"]), (&json!("no JSON"), &json!(2)));
    for wrong in ["?topic=transactions", "?topic=odds.uk", "?topic=fleet.dead"] {
        assert_eq!(ask("GET", &format!("/api/operator/dead-letters{wrong}"), None).await.status, 404, "{wrong}");
    }
    assert_eq!(ask("GET", "/api/operator/dead-letters", None).await.status, 422);

    let replay = "/api/operator/dead-letters/replay";
    let one = r#"{"topic":"transactions.dead","only":{"partition":0,"offset":1}}"#;
    assert_eq!(ask("POST", replay, Some(one)).await.json(), json!({ "produced": 1, "refused": 0 }));
    let all = r#"{"topic":"transactions.dead"}"#;
    assert_eq!(ask("POST", replay, Some(all)).await.json(), json!({ "produced": 3, "refused": 1 }));
    let missing = r#"{"topic":"transactions.dead","only":{"partition":0,"offset":99}}"#;
    assert_eq!(ask("POST", replay, Some(missing)).await.status, 404);
    let other = ask("POST", replay, Some(r#"{"topic":"odds.uk"}"#)).await;
    assert_eq!(other.status, 404);
    let mut topic = WholeTopic::open(&stage.kafka(), "transactions").unwrap().unwrap();
    let mut produced = Vec::new();
    while let Some(record) = topic.next_record().unwrap() {
        assert_eq!(record.partition, 1);
        produced.push((record.header("message_id").unwrap().to_owned(), record.value.unwrap()));
    }
    let expected = [1, 0, 1, 2].map(|n| (format!("transactions-1-{n}"), format!("value {n}").into_bytes()));
    assert_eq!(produced, expected);
    let actions = stage.store.actions(None, 10).await.unwrap();
    let about: Vec<&str> = actions.iter().map(|it| it.about.as_str()).collect();
    assert_eq!(about, ["transactions.dead/0/99", "transactions.dead", "transactions.dead/0/1"]);
}
