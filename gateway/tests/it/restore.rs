//! Backups that are made while people use the system. docs/scaling.md has the commands: these tests do what they do.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use accounts::{Store, StoreUrl, TokenText};
use futures::TryStreamExt;
use mongodb::{
    Client, Database, IndexModel,
    bson::{RawDocumentBuf, doc},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    browser::{Browser, PASSWORD},
    guest,
    http::{self, Answer},
    stage::{Running, Stage, until},
};

const OPEN: &str = "--registration=open";
const EMAIL: &str = "anna@example.com";

async fn gateway(stage: &Stage, instance: &str, outbox: &str) -> Running {
    stage.starting(instance, &[OPEN, "--recheck=1", "--attempts-per-minute=100000", outbox]).await
}

/// What somebody has who uses everything.
struct Anna {
    name: String,
    token: String,
    /// What the gateway says of her, and of her request to produce.
    has: Value,
}

impl Anna {
    async fn arrives(gateway: &Running) -> Self {
        let mut browser = Browser::new(&gateway.address);
        // A database may have an account of an earlier run.
        let name = format!("anna.{}", service::now().as_millis());
        browser.register(&name).await;
        browser.put("/api/subscriptions", &json!({ "regions": ["uk", "au"] })).await;
        let body = json!({ "name": "all", "password": PASSWORD, "scopes": ["stream", "produce"] });
        let made = browser.post("/api/tokens", &body).await;
        assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(&made.body));
        let token = made.json()["token"].as_str().unwrap().to_owned();
        let rule = json!({ "kind": "price", "event": "e1", "market": "h2h", "outcome": "Leeds", "at_least": 2.5 });
        assert_eq!(browser.post("/api/rules", &rule).await.status, 201);
        // The message that asks to confirm it waits.
        let address = json!({ "address": EMAIL, "password": PASSWORD });
        assert_eq!(browser.put("/api/contacts/email", &address).await.status, 200);
        let has = Self::has(gateway, &name, &token).await;
        assert_eq!(has["messages"]["messages"][0]["state"], "waiting", "{has}");
        Self { name, token, has }
    }

    async fn has(gateway: &Running, name: &str, token: &str) -> Value {
        let mut browser = Browser::new(&gateway.address);
        assert_eq!(browser.sign_in(name, PASSWORD).await.status, 200);
        let produced = json!({
            "request_id": name, "topic_name": "transactions", "message_body": "2 tickets", "transaction_id": "t-1",
            "email": EMAIL,
        });
        let bearer = ("authorization", &*format!("Bearer {token}"));
        let produced = http::ask(&gateway.address, "POST", "/api/v1/produce", &[bearer], Some(&produced)).await;
        let mut has = json!({ "produced": produced.json() });
        for what in ["me", "subscriptions", "rules", "contacts", "messages"] {
            let answer = browser.get(&format!("/api/{what}")).await;
            assert_eq!(answer.status, 200, "{what}");
            has[what] = answer.json();
        }
        has
    }

    /// Changes all of it, and somebody else comes.
    async fn changes(&self, gateway: &Running) {
        let mut browser = Browser::new(&gateway.address);
        browser.sign_in(&self.name, PASSWORD).await;
        browser.put("/api/subscriptions", &json!({ "regions": [] })).await;
        let rule = self.has["rules"][0]["id"].as_str().unwrap();
        assert_eq!(browser.delete(&format!("/api/rules/{rule}")).await.status, 204);
        let forget = json!({ "password": PASSWORD }).to_string();
        assert_eq!(browser.ask("DELETE", "/api/contacts/email", Some(&forget)).await.status, 200);
        Browser::new(&gateway.address).register(&self.later()).await;
        let other = json!({ "current_password": PASSWORD, "new_password": "nine dry badgers" });
        assert_eq!(browser.put("/api/password", &other).await.status, 204);
    }

    /// Who registers after the backup.
    fn later(&self) -> String {
        format!("later.{}", self.name)
    }

    async fn has_all_again(&self, gateway: &Running) {
        assert_eq!(Self::has(gateway, &self.name, &self.token).await, self.has);
        // Names are still taken once, and whoever came later is gone.
        let mut browser = Browser::new(&gateway.address);
        let again = browser.post("/api/register", &json!({ "name": self.name, "password": PASSWORD })).await;
        assert_eq!(again.json()["error"]["fields"]["name"], "this name is already taken");
        browser.register(&self.later()).await;
    }
}

/// Users who are made one after the other, each with a token.
struct Crowd {
    prefix: String,
    made: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Crowd {
    fn start(store: Arc<dyn Store>) -> Self {
        let prefix = format!("crowd{}", service::now().as_millis());
        let (made, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, end, name) = (made.clone(), ends.clone(), prefix.clone());
        let task = tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                let n = counter.load(Ordering::Relaxed);
                guest::add_user(&*store, &format!("{name}.{n}"), &token(&name, n)).await;
                counter.store(n + 1, Ordering::Relaxed);
            }
        });
        Self { prefix, made, ends, task }
    }

    /// Waits until it has grown.
    async fn grows(&self) -> usize {
        let wanted = self.made.load(Ordering::Relaxed) + 30;
        until("users are made", async || self.made.load(Ordering::Relaxed) >= wanted).await;
        self.made.load(Ordering::Relaxed)
    }

    async fn ends(self) -> Made {
        self.ends.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        Made { prefix: self.prefix, count: self.made.load(Ordering::Relaxed) }
    }
}

struct Made {
    prefix: String,
    count: usize,
}

impl Made {
    /// Whoever was made before the backup began is there. Of whoever was made later, at least no half fails.
    async fn are_there(&self, gateway: &Running, before: usize) {
        assert!(before < self.count, "nobody was made during the backup");
        for n in 0..self.count {
            let bearer = ("authorization", &*format!("Bearer {}", token(&self.prefix, n)));
            let Answer { status, .. } = http::get(&gateway.address, "/api/me", &[bearer]).await;
            assert!(status == 200 || n >= before && status == 401, "{n} of {before} and {}: {status}", self.count);
        }
    }
}

/// The token of the user with this number.
fn token(prefix: &str, n: usize) -> String {
    let letters: String = format!("{prefix}x{n}x").chars().cycle().take(43).collect();
    // The last character has only four bits.
    let token = format!("tb_{}A", &letters[..42]);
    token.parse::<TokenText>().unwrap();
    token
}

fn copy_while_it_is_written(from: &Path, to: &Path) {
    let connection = rusqlite::Connection::open(from).unwrap();
    connection.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_messages_in_files_come_back() {
    let mut stage = Stage::set().await;
    let messages = stage.accounts_file().with_file_name("messages.db");
    let first = gateway(&stage, "one", &stage.outbox_setting()).await;
    let anna = Anna::arrives(&first).await;
    let crowd = Crowd::start(stage.store.clone());
    let before = crowd.grows().await;
    let folder = tempfile::tempdir().unwrap();
    let (accounts_copy, messages_copy) = (folder.path().join("accounts.db"), folder.path().join("messages.db"));
    copy_while_it_is_written(&stage.accounts_file(), &accounts_copy);
    copy_while_it_is_written(&messages, &messages_copy);
    crowd.grows().await;
    let made = crowd.ends().await;
    anna.changes(&first).await;
    first.ends().await.unwrap();

    stage.store = StoreUrl::Sqlite(accounts_copy).open().await.unwrap();
    let outbox = format!("--outbox=sqlite:{}", messages_copy.display());
    let second = gateway(&stage, "two", &outbox).await;
    anna.has_all_again(&second).await;
    made.are_there(&second, before).await;
}

/// The documents and indexes of a database, as `mongodump --db` writes them: one collection after the other, and
/// without a common moment.
struct Dump(Vec<(String, Vec<IndexModel>, Vec<RawDocumentBuf>)>);

impl Dump {
    async fn of(database: &Database) -> Self {
        let mut collections = Vec::new();
        for name in database.list_collection_names().await.unwrap() {
            let collection = database.collection::<RawDocumentBuf>(&name);
            let indexes = collection.list_indexes().await.unwrap().try_collect().await.unwrap();
            let documents = collection.find(doc! {}).await.unwrap().try_collect().await.unwrap();
            collections.push((name, indexes, documents));
        }
        Self(collections)
    }

    /// As `mongorestore --drop` does it: each collection of the dump is replaced.
    async fn restore(self, database: &Database) {
        for (name, mut indexes, documents) in self.0 {
            let collection = database.collection::<RawDocumentBuf>(&name);
            collection.drop().await.unwrap();
            if !documents.is_empty() {
                collection.insert_many(documents).await.unwrap();
            }
            indexes.retain(|index| index.keys != doc! { "_id": 1 });
            if !indexes.is_empty() {
                collection.create_indexes(indexes).await.unwrap();
            }
        }
    }
}

mod mongo {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a MongoDB"]
    #[expect(clippy::disallowed_methods, reason = "not a setting: the address of the tests' server")]
    async fn accounts_and_messages_in_a_database_come_back() {
        let url = std::env::var("TOTEBOARD_TEST_MONGODB").expect("TOTEBOARD_TEST_MONGODB is the address of a MongoDB");
        let server = url.strip_prefix("mongodb://").unwrap().split('/').next().unwrap();
        let url = format!("mongodb://{server}/toteboard-test-restore?directConnection=true");
        let mut stage = Stage::set().await;
        stage.store = url.parse::<StoreUrl>().unwrap().open().await.unwrap();
        let database = Client::with_uri_str(&url).await.unwrap().default_database().unwrap();
        let outbox = format!("--outbox={url}");
        let first = gateway(&stage, "one", &outbox).await;
        let anna = Anna::arrives(&first).await;
        let crowd = Crowd::start(stage.store.clone());
        let before = crowd.grows().await;
        let dump = Dump::of(&database).await;
        crowd.grows().await;
        let made = crowd.ends().await;
        anna.changes(&first).await;
        first.ends().await.unwrap();

        dump.restore(&database).await;
        stage.store = url.parse::<StoreUrl>().unwrap().open().await.unwrap();
        let second = gateway(&stage, "two", &outbox).await;
        anna.has_all_again(&second).await;
        made.are_there(&second, before).await;
        database.drop().await.unwrap();
    }
}
