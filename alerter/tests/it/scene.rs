//! A cluster, a store with a user, a region whose prices the tests set, and alerters.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use accounts::{
    Alert, AlertRecord, AlertState, NewUser, PasswordHash, RuleLimits, Shard, Store, StoreUrl, StoredRule, Unwatched,
    User, UserId,
};
use alerter::{Alerter, Metrics};
use alerts::{FiringId, Rule, RuleId};
use kafka::{ALERTS, Embedded, ReadFrom, TopicFollower, all_topics};
use odds::{Region, Timestamp};
use rand::RngExt;
use service::MetricRegistry;
use tempfile::TempDir;
use testkit::author::{Author, image_with_price};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

pub const DEADLINE: Duration = Duration::from_secs(90);
/// Longer than an alert takes.
pub const A_WHILE: Duration = Duration::from_secs(3);

pub struct Scene {
    pub cluster: Embedded,
    pub author: Author,
    pub store: Arc<dyn Store>,
    pub user: User,
    folder: TempDir,
}

/// A running alerter.
pub struct Running {
    stop: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Scene {
    pub async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder).await;
        let user = store.create_user(&new_user("anna")).await.unwrap();
        let cluster = Embedded::start(&all_topics()).unwrap();
        let author = Author::start(&cluster.settings(), Region::Uk).await;
        Self { cluster, author, store, user, folder }
    }

    /// The process ends, and starts again with the same store: the topics are empty.
    pub async fn restart(self) -> Self {
        let Self { user, folder, .. } = self;
        let store = open(&folder).await;
        let cluster = Embedded::start(&all_topics()).unwrap();
        let author = Author::start(&cluster.settings(), Region::Uk).await;
        Self { cluster, author, store, user, folder }
    }

    pub fn file(&self) -> PathBuf {
        file(&self.folder)
    }

    pub async fn add_user(&self, name: &str) -> UserId {
        self.store.create_user(&new_user(name)).await.unwrap().id
    }

    /// A rule about the price of A.
    pub async fn add_rule(&self, more: &str) -> RuleId {
        self.add_rule_of(&self.user.id, more).await
    }

    pub async fn add_rule_of(&self, user: &UserId, more: &str) -> RuleId {
        self.store_rule(user, &format!(r#"{{"kind":"price","event":"e1","market":"h2h","outcome":"A",{more}}}"#)).await
    }

    pub async fn add_any_rule(&self, json: &str) -> RuleId {
        self.store_rule(&self.user.id, json).await
    }

    async fn store_rule(&self, user: &UserId, json: &str) -> RuleId {
        let rule = Rule::from_json(&serde_json::from_str(json).unwrap()).unwrap();
        let (id, user, now) = (RuleId::new(rand::random()), user.clone(), service::now());
        let rule = StoredRule { id, user, revision: 1, rule, created_at: now, edited_at: now, ended: None };
        self.store.create_rule(&rule, RuleLimits { per_user: 1_000, total: 1_000 }).await.unwrap();
        id
    }

    /// Writes a step with this price, in hundredths.
    pub async fn price(&mut self, hundredths: i64) {
        // Steps count from the millisecond after a rule's edit.
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.author.step(vec![("e1".parse().unwrap(), Some(image_with_price(hundredths)))]).await;
    }

    /// Writes so much that the cluster drops the beginning of the topic.
    pub async fn forget_steps(&mut self) {
        for step in 0..120 {
            let mut image = image_with_price(200 + step % 2);
            // Nothing that can be compressed.
            let letters = rand::rng().sample_iter(rand::distr::Alphanumeric).take(100_000);
            image.details.home_team = Some(letters.map(char::from).collect());
            self.author.step(vec![("e1".parse().unwrap(), Some(image))]).await;
        }
    }

    pub fn alerter(&self) -> Running {
        self.alerter_with(service::now)
    }

    pub fn alerter_with(&self, clock: fn() -> Timestamp) -> Running {
        let metrics = Metrics::new(&mut MetricRegistry::default());
        let alerter = Alerter::new(self.cluster.settings(), self.store.clone(), clock, metrics)
            .with_recheck(Duration::from_millis(200));
        let stop = CancellationToken::new();
        Running { ended: tokio::spawn(alerter.run(stop.clone())), stop }
    }

    /// The unwatched times of the user's shard.
    pub async fn unwatched(&self) -> Vec<Unwatched> {
        self.store.unwatched(Shard::of(&self.user.id), Timestamp::default()).await.unwrap()
    }

    pub async fn alerts(&self) -> Vec<Alert> {
        self.store.alerts_of(&self.user.id, None, 1_000).await.unwrap()
    }

    /// Waits until these alerts are recorded and settled, and no others.
    pub async fn has_alerts(&self, expected: &[(RuleId, AlertState)]) {
        let expected: BTreeSet<_> = expected.iter().map(|(rule, state)| (*rule, format!("{state:?}"))).collect();
        let end = Instant::now() + DEADLINE;
        loop {
            let found: Vec<_> = self.alerts().await.iter().map(|it| (it.id.rule, format!("{:?}", it.state))).collect();
            let each_once: BTreeSet<_> = found.iter().cloned().collect();
            if found.len() == expected.len() && each_once == expected {
                return;
            }
            assert!(Instant::now() < end, "{found:?} instead of {expected:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What is on the topic, from its beginning: so many alerts.
    pub async fn published(&self, count: usize) -> Vec<FiringId> {
        let mut follower = self.follow();
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(timeout(DEADLINE, self.next(&mut follower)).await.expect("an alert on the topic"));
        }
        ids
    }

    /// All that is on the topic, unless more comes.
    pub async fn published_so_far(&self) -> Vec<FiringId> {
        let mut follower = self.follow();
        let mut ids = Vec::new();
        loop {
            let patience = if ids.is_empty() { DEADLINE } else { A_WHILE };
            match timeout(patience, self.next(&mut follower)).await {
                Ok(id) => ids.push(id),
                Err(_) => return ids,
            }
        }
    }

    fn follow(&self) -> TopicFollower<AlertRecord> {
        TopicFollower::new(&self.cluster.settings(), ALERTS, ReadFrom::Beginning).unwrap()
    }

    async fn next(&self, follower: &mut TopicFollower<AlertRecord>) -> FiringId {
        let record = follower.next().await;
        assert_eq!(record.user, self.user.id.as_str());
        let alert: serde_json::Value = serde_json::from_str(record.alert.get()).unwrap();
        alert["id"].as_str().unwrap().parse().unwrap()
    }
}

impl Running {
    /// Ends it as its program would.
    pub async fn stop(self) {
        self.stop.cancel();
        timeout(DEADLINE, self.ended).await.unwrap().unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub async fn kill(self) {
        self.ended.abort();
        assert!(self.ended.await.unwrap_err().is_cancelled());
    }
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("accounts.db")
}

async fn open(folder: &TempDir) -> Arc<dyn Store> {
    StoreUrl::Sqlite(file(folder)).open().await.unwrap()
}

fn new_user(name: &str) -> NewUser {
    let password = PasswordHash::stored("none");
    NewUser {
        id: UserId::random(),
        name: name.parse().unwrap(),
        password,
        regions: BTreeSet::new(),
        created_at: service::now(),
    }
}
