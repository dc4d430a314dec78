//! What an earlier version left is good for this one. The files in `tests/upgrade` were written by the programs of that
//! version: an accounts file, the documents of a MongoDB, and the records of `odds.uk`.

use std::{path::Path, sync::Arc};

use accounts::{Store, StoreUrl};
use client::{Client, ServerMessage};
use kafka::{Role, topic_of};
use mongodb::{
    IndexModel,
    bson::{Bson, DateTime, Document, doc},
    options::IndexOptions,
};
use odds::{Cursor, OddsPayload, Region};
use rand::{SeedableRng, rngs::StdRng};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    author::{Author, draw_changes},
    browser::Browser,
    examples::checkout,
    guest::{BEARER, TOKEN},
    http,
    stage::{DEADLINE, Stage, until},
};

const REGION: Region = Region::Uk;
/// Cursors that clients got for this topic: in the middle of it, and at its end.
const EARLIER_CURSOR: &str = "1795782307562.1846271770-3-2226cb3e485ccc438ae298a60dc6088a";
const LAST_CURSOR: &str = "1795782307562.1846271770-9-4e1c9a19d4901520757e80c3c8c5f33c";

const NAME: &str = "vera";
const PASSWORD: &str = "seven wet badgers";

/// What the user got from the earlier version.
struct LeftOver {
    session: &'static str,
    token: &'static str,
    /// When the store was written.
    written_at: i64,
}

const IN_FILE: LeftOver = LeftOver {
    session: "toteboard=8cY-cwg9xMh84Yi1ULOW4A",
    token: "tb_y_NY45ChBFiV6PzewBGGitAFrv-yiIhXVl1aTSxe_64",
    written_at: 1_795_782_251_000,
};
const IN_MONGODB: LeftOver = LeftOver {
    session: "toteboard=JhcUJ-f-23zIrxctVU1sGA",
    token: "tb_TnsFXWEqycvkRffqls5MPuHZDVLVI-0w-ZtBtEh8XdI",
    written_at: 1_795_807_242_000,
};

fn left_over(name: &str) -> String {
    std::fs::read_to_string(checkout().join("gateway/tests/upgrade").join(name)).unwrap()
}

/// Writes the records to the topic, each with its key, value and headers.
async fn write_records(stage: &Stage) {
    let producer: FutureProducer = stage.kafka().client(Role::Producer, &[]).create().unwrap();
    for line in left_over("odds.uk.tsv").lines() {
        let [partition, headers, key, value] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let headers = headers.split(' ').fold(OwnedHeaders::new(), |headers, header| {
            let (key, value) = header.split_once('=').unwrap();
            headers.insert(Header { key, value: Some(value) })
        });
        let record = FutureRecord::to(topic_of(REGION)).partition(partition.parse().unwrap()).headers(headers);
        producer.send(record.key(key).payload(value), DEADLINE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_cursors_of_an_earlier_version_are_good() {
    let stage = Stage::set().await;
    write_records(&stage).await;
    let gateway = stage.gateway("one", &[]).await;
    let board = http::get(&gateway.address, "/api/odds/uk", &[BEARER]).await.json();
    assert_eq!((board["cursor"].as_str(), board["events"].as_array().map(Vec::len)), (Some(LAST_CURSOR), Some(6)));

    // A leader of this version goes on where the last one stopped, and clients from their cursors.
    let mut author = Author::start(&stage.kafka(), REGION).await;
    let step = author.step(draw_changes(&mut StdRng::seed_from_u64(1), 3)).await;
    let at = |cursor: &str| cursor.parse::<Cursor>().unwrap().step();
    let rest = async || http::get(&gateway.address, "/api/odds/uk", &[BEARER]).await.json();
    until("the new step is there", async || at(rest().await["cursor"].as_str().unwrap()) == step).await;
    for cursor in [EARLIER_CURSOR, LAST_CURSOR] {
        let auth = json!({ "token": TOKEN, "regions": [REGION], "resume": { "uk": cursor } });
        let mut client = Client::connect(&gateway.address, &auth).await.unwrap();
        let first = loop {
            match timeout(DEADLINE, client.next()).await.expect("a frame comes").unwrap() {
                ServerMessage::Event { name, payload } if name == "odds" || name == "snapshot" => {
                    break (name, payload);
                }
                _ => {}
            }
        };
        let odds: OddsPayload = serde_json::from_str(&first.1).unwrap_or_else(|error| panic!("{error}: {first:?}"));
        assert_eq!((odds.prev.to_string().as_str(), odds.cursor.step()), (cursor, step));
    }
    gateway.ends().await.unwrap();
}

/// Opens the accounts file, as if it had been written just now: sessions and tokens end some time after that.
async fn open_file(folder: &Path) -> Arc<dyn Store> {
    let file = folder.join("accounts.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    // Tables may refer to those that are created later.
    database.pragma_update(None, "foreign_keys", false).unwrap();
    database.execute_batch(&left_over("accounts.sql")).unwrap();
    let age = service::now().as_millis() - IN_FILE.written_at;
    database
        .execute_batch(&format!(
            "UPDATE sessions SET since = since + {age}, expires_at = expires_at + {age};
             UPDATE tokens SET created_at = created_at + {age}, expires_at = expires_at + {age};"
        ))
        .unwrap();
    drop(database);
    StoreUrl::Sqlite(file).open().await.unwrap()
}

/// Opens the MongoDB, with the indexes of the earlier version and its documents, as if they had been written just now.
async fn open_mongodb(url: &str) -> Arc<dyn Store> {
    let client = mongodb::Client::with_uri_str(url).await.unwrap();
    let database = client.default_database().unwrap();
    database.drop().await.unwrap();
    let unique = IndexOptions::builder().unique(true).build();
    let expires = IndexOptions::builder().expire_after(std::time::Duration::ZERO).build();
    for (collection, field, options) in [
        ("places", "user", None),
        ("sessions", "user", None),
        ("sessions", "expires_at", Some(expires)),
        ("tokens", "hash", Some(unique.clone())),
        ("tokens", "user", None),
        ("users", "name_key", Some(unique)),
    ] {
        let index = IndexModel::builder().keys(doc! { field: 1 }).options(options).build();
        database.collection::<Document>(collection).create_index(index).await.unwrap();
    }
    let age = service::now().as_millis() - IN_MONGODB.written_at;
    for line in left_over("accounts.mongodb.jsonl").lines() {
        let mut line: Document = serde_json::from_str(line).unwrap();
        let document = line.get_document_mut("document").unwrap();
        for (_, value) in document.iter_mut() {
            if let Bson::DateTime(at) = value {
                *at = DateTime::from_millis(at.timestamp_millis() + age);
            }
        }
        let document = document.clone();
        database.collection(line.get_str("collection").unwrap()).insert_one(document).await.unwrap();
    }
    url.parse::<StoreUrl>().unwrap().open().await.unwrap()
}

async fn are_good(store: Arc<dyn Store>, earlier: &LeftOver) {
    let mut stage = Stage::set().await;
    stage.store = store;
    let gateway = stage.gateway("one", &[]).await;
    let mut vera = Browser::new(&gateway.address);
    assert_eq!(vera.sign_in(NAME, PASSWORD).await.status, 200);
    assert_eq!(vera.get("/api/subscriptions").await.json()["regions"], json!(["uk", "eu"]));
    let mut open_page = Browser::new(&gateway.address);
    open_page.cookie = Some(earlier.session.into());
    assert_eq!(open_page.get("/api/me").await.json()["name"], NAME);
    let bearer = format!("Bearer {}", earlier.token);
    let feeds = http::get(&gateway.address, "/api/regions", &[("authorization", &bearer)]).await;
    assert_eq!(feeds.status, 200);
    gateway.ends().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_sessions_and_tokens_of_an_earlier_version_are_good() {
    let folder = tempfile::tempdir().unwrap();
    are_good(open_file(folder.path()).await, &IN_FILE).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a MongoDB"]
#[expect(clippy::disallowed_methods, reason = "not a setting: the URL of the tests' server")]
async fn accounts_sessions_and_tokens_of_an_earlier_version_in_mongodb_are_good() {
    let url = std::env::var("TOTEBOARD_TEST_MONGODB").expect("TOTEBOARD_TEST_MONGODB is the URL of a MongoDB");
    are_good(open_mongodb(&format!("{url}-upgrade")).await, &IN_MONGODB).await;
}
