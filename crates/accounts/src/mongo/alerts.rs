//! Rules and alerts in MongoDB.

use std::collections::{HashMap, HashSet};

use ::alerts::{Arming, Decision, End, FiringId, Rule, RuleId};
use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::{
    Collection, Database, IndexModel,
    bson::{self, Document, doc},
    options::{IndexOptions, ReturnDocument},
};
use odds::Timestamp;
use serde::{Deserialize, Serialize};

use super::{MongoStore, date, is_duplicate, plain, time};
use crate::{
    alerts::{
        ALERTS_KEPT, ActiveRule, Alert, AlertState, AlertStore, ChangeMark, ChangedRules, CreateRuleError,
        MOST_UNWATCHED, Recorded, RuleLimits, Shard, ShardProgress, StoredRule, Unwatched,
    },
    store::StoreError,
    user::UserId,
};

/// Changes are read again for this long: a writer notes a change before it is done, and it may be slow.
const OVERLAP_MS: i64 = 300_000;

#[derive(Debug)]
pub(super) struct Collections {
    pub(super) rules: Collection<RuleDocument>,
    pub(super) armings: Collection<ArmingDocument>,
    pub(super) alerts: Collection<AlertDocument>,
    changes: Collection<ChangeDocument>,
    pub(super) progress: Collection<ProgressDocument>,
    unwatched: Collection<UnwatchedDocument>,
    counters: Collection<Document>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RuleDocument {
    #[serde(rename = "_id")]
    id: String,
    user: UserId,
    shard: i32,
    revision: i64,
    definition: String,
    created_at: bson::DateTime,
    edited_at: bson::DateTime,
    ended: Option<String>,
    ended_at: Option<bson::DateTime>,
    /// Firings that are accepted and may not be in the inbox yet. They are first written here, because only one write
    /// can compare the revision and accept them: an edit comes before or after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fired: Vec<AlertDocument>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ArmingDocument {
    /// The rule and the subject.
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) rule: String,
    pub(super) user: UserId,
    pub(super) subject: i64,
    /// The rule's. Those of earlier revisions are void.
    pub(super) revision: i64,
    pub(super) episode: i64,
    pub(super) fired: bool,
    pub(super) fired_at: bson::DateTime,
    pub(super) level: f64,
    pub(super) steps: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct AlertDocument {
    #[serde(rename = "_id")]
    pub(super) id: String,
    /// The place in the order of all alerts.
    pub(super) number: i64,
    pub(super) user: UserId,
    pub(super) shard: i32,
    pub(super) state: String,
    pub(super) at: bson::DateTime,
    pub(super) read_at: Option<bson::DateTime>,
    pub(super) content: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct ChangeDocument {
    #[serde(rename = "_id")]
    user: UserId,
    shard: i32,
    at: bson::DateTime,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProgressDocument {
    #[serde(rename = "_id")]
    pub(super) shard: i32,
    pub(super) steps: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct UnwatchedDocument {
    /// The shard, the region and the beginning.
    #[serde(rename = "_id")]
    id: String,
    shard: i32,
    region: String,
    from: bson::DateTime,
    until: bson::DateTime,
}

impl ProgressDocument {
    pub(super) fn progress(&self) -> Result<ShardProgress, StoreError> {
        serde_json::from_str(&self.steps).map_err(StoreError::new)
    }
}

fn by(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

/// Has only the documents with this field.
fn sparse(field: &str) -> IndexModel {
    let options = IndexOptions::builder().sparse(true).build();
    IndexModel::builder().keys(doc! { field: 1 }).options(options).build()
}

impl Collections {
    pub(super) fn of(database: &Database) -> Self {
        Self {
            rules: database.collection("rules"),
            armings: database.collection("armings"),
            alerts: database.collection("alerts"),
            changes: database.collection("rule_changes"),
            progress: database.collection("alerter_progress"),
            unwatched: database.collection("unwatched"),
            counters: database.collection("counters"),
        }
    }

    pub(super) async fn prepare(&self) -> mongodb::error::Result<()> {
        self.rules.create_index(plain("user")).await?;
        self.rules.create_index(by(doc! { "shard": 1, "_id": 1 })).await?;
        self.rules.create_index(sparse("fired._id")).await?;
        self.armings.create_index(plain("rule")).await?;
        self.armings.create_index(plain("user")).await?;
        self.alerts.create_index(by(doc! { "user": 1, "number": 1 })).await?;
        self.alerts.create_index(by(doc! { "shard": 1, "state": 1, "number": 1 })).await?;
        self.alerts.create_index(plain("at")).await?;
        self.changes.create_index(by(doc! { "shard": 1, "at": 1 })).await?;
        self.unwatched.create_index(by(doc! { "shard": 1, "until": 1 })).await?;
        Ok(())
    }
}

impl RuleDocument {
    fn of(rule: &StoredRule) -> Self {
        Self {
            id: rule.id.to_string(),
            user: rule.user.clone(),
            shard: Shard::of(&rule.user).number(),
            revision: rule.revision.into(),
            definition: rule.rule.to_json().to_string(),
            created_at: date(rule.created_at),
            edited_at: date(rule.edited_at),
            ended: None,
            ended_at: None,
            fired: Vec::new(),
        }
    }

    pub(super) fn rule(self) -> Result<StoredRule, StoreError> {
        let definition = serde_json::from_str(&self.definition).map_err(StoreError::new)?;
        let end = |key: String| End::of_key(&key).ok_or_else(|| StoreError::new("an unknown end"));
        let ended = self.ended.map(end).transpose()?;
        Ok(StoredRule {
            id: self.id.parse().map_err(StoreError::new)?,
            user: self.user,
            revision: u32::try_from(self.revision).map_err(StoreError::new)?,
            rule: Rule::from_json(&definition).map_err(StoreError::new)?,
            created_at: time(self.created_at),
            edited_at: time(self.edited_at),
            ended: ended.zip(self.ended_at.map(time)),
        })
    }
}

impl ArmingDocument {
    pub(super) fn arming(&self) -> Result<Arming, StoreError> {
        Ok(Arming {
            episode: u32::try_from(self.episode).map_err(StoreError::new)?,
            fired: self.fired,
            fired_at: time(self.fired_at),
            level: self.level,
            steps: serde_json::from_str(&self.steps).map_err(StoreError::new)?,
        })
    }
}

impl AlertDocument {
    pub(super) fn of(alert: &Alert, number: i64) -> Self {
        Self {
            id: alert.id.to_string(),
            number,
            user: alert.user.clone(),
            shard: Shard::of(&alert.user).number(),
            state: alert.state.key().to_owned(),
            at: date(alert.at),
            read_at: None,
            content: alert.content.to_text(),
        }
    }

    fn alert(self) -> Result<Alert, StoreError> {
        Ok(Alert {
            id: self.id.parse().map_err(StoreError::new)?,
            user: self.user,
            state: AlertState::of_key(&self.state).ok_or_else(|| StoreError::new("an unknown state"))?,
            at: time(self.at),
            read_at: self.read_at.map(time),
            content: serde_json::from_str(&self.content).map_err(StoreError::new)?,
        })
    }
}

impl MongoStore {
    /// Notes that a user's rules are about to change, for alerters that look for changes.
    pub(super) async fn note_change(&self, user: &UserId) -> Result<(), StoreError> {
        // By the server's clock, which is the same for all writers.
        let update = doc! { "$set": { "shard": Shard::of(user).number() }, "$currentDate": { "at": true } };
        let update = self.alerts.changes.update_one(doc! { "_id": user.as_str() }, update).upsert(true);
        match self.ask(update).await? {
            Err(error) if is_duplicate(&error) => Ok(()),
            other => other.map(drop).map_err(StoreError::new),
        }
    }

    pub(super) async fn delete_alerts_of(&self, user: &UserId) -> Result<(), StoreError> {
        let of_user = doc! { "user": user.as_str() };
        self.get(self.alerts.rules.delete_many(of_user.clone())).await?;
        self.get(self.alerts.armings.delete_many(of_user.clone())).await?;
        self.get(self.alerts.alerts.delete_many(of_user)).await.map(drop)
    }

    pub(super) async fn sweep_alerts(&self, now: Timestamp) -> Result<(), StoreError> {
        let since = now.plus_millis(-(ALERTS_KEPT.as_millis() as i64));
        self.get(self.alerts.unwatched.delete_many(doc! { "until": { "$lt": date(since) } })).await?;
        self.get(self.alerts.alerts.delete_many(doc! { "at": { "$lt": date(since) } })).await.map(drop)
    }

    /// Files the firings that an interrupted owner left with their rules.
    async fn file_what_was_left(&self, shard: Shard) -> Result<(), StoreError> {
        let filter = doc! { "shard": shard.number(), "fired._id": { "$exists": true } };
        let rules = self.find(&self.alerts.rules, filter, doc! { "_id": 1 }, 0).await?;
        for rule in rules {
            self.file_alerts(&rule.fired).await?;
            self.release_fired(&[rule.id], &rule.fired).await?;
        }
        Ok(())
    }

    /// Reserves numbers for new alerts. Returns the first.
    pub(super) async fn reserve_numbers(&self, count: usize) -> Result<i64, StoreError> {
        let raise = doc! { "$inc": { "number": count as i64 } };
        let raise = self.alerts.counters.find_one_and_update(doc! { "_id": "alerts" }, raise);
        let counter = self.get(raise.upsert(true).return_document(ReturnDocument::After)).await?;
        let last = counter.as_ref().and_then(|counter| counter.get_i64("number").ok());
        last.map(|last| last - count as i64 + 1).ok_or_else(|| StoreError::new("the counter of alerts has no number"))
    }

    /// Which of these users exist and are not disabled.
    pub(super) async fn enabled(&self, users: HashSet<UserId>) -> Result<HashSet<UserId>, StoreError> {
        let ids: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
        let present = self.present(&self.users, doc! { "_id": { "$in": ids }, "disabled": false }).await?;
        Ok(present.into_iter().map(|key| UserId::named(&key.id)).collect())
    }

    pub(super) async fn find<T: for<'a> Deserialize<'a> + Unpin + Send + Sync>(
        &self,
        collection: &Collection<T>,
        filter: Document,
        sort: Document,
        most: usize,
    ) -> Result<Vec<T>, StoreError> {
        let found =
            async { collection.find(filter).sort(sort).limit(most as i64).await?.try_collect::<Vec<T>>().await };
        self.get(found).await
    }

    /// Only those of enabled users, with where their episodes stand.
    async fn activate(&self, rules: Vec<RuleDocument>) -> Result<Vec<ActiveRule>, StoreError> {
        let enabled = self.enabled(rules.iter().map(|rule| rule.user.clone()).collect()).await?;
        let ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
        let found = self.find(&self.alerts.armings, doc! { "rule": { "$in": ids } }, doc! { "_id": 1 }, 0).await?;
        let mut armings: HashMap<(String, i64), Vec<(u64, Arming)>> = HashMap::new();
        for document in found {
            let arming = (document.subject.cast_unsigned(), document.arming()?);
            armings.entry((document.rule, document.revision)).or_default().push(arming);
        }
        let active = |document: RuleDocument| {
            let armings = armings.remove(&(document.id.clone(), document.revision)).unwrap_or_default();
            Ok(ActiveRule { stored: document.rule()?, armings })
        };
        rules.into_iter().filter(|rule| enabled.contains(&rule.user)).map(active).collect()
    }
}

#[async_trait]
impl AlertStore for MongoStore {
    async fn create_rule(&self, rule: &StoredRule, limits: RuleLimits) -> Result<(), CreateRuleError> {
        let rules = &self.alerts.rules;
        self.note_change(&rule.user).await?;
        self.get(rules.insert_one(RuleDocument::of(rule))).await?;
        // Counted afterwards, so that rules made at the same time can't exceed the limit.
        let of_user = self.get(rules.count_documents(doc! { "user": rule.user.as_str() })).await?;
        let all = self.get(rules.estimated_document_count()).await?;
        let error = if of_user > limits.per_user as u64 {
            CreateRuleError::TooMany
        } else if all > limits.total as u64 {
            CreateRuleError::TooManyInTotal
        } else {
            return Ok(());
        };
        self.get(rules.delete_one(doc! { "_id": rule.id.to_string() })).await?;
        Err(error)
    }

    async fn rule(&self, user: &UserId, id: RuleId) -> Result<Option<StoredRule>, StoreError> {
        let filter = doc! { "_id": id.to_string(), "user": user.as_str() };
        self.get(self.alerts.rules.find_one(filter)).await?.map(RuleDocument::rule).transpose()
    }

    async fn rules_of(&self, user: &UserId) -> Result<Vec<StoredRule>, StoreError> {
        let (filter, sort) = (doc! { "user": user.as_str() }, doc! { "created_at": 1, "_id": 1 });
        self.find(&self.alerts.rules, filter, sort, 0).await?.into_iter().map(RuleDocument::rule).collect()
    }

    async fn edit_rule(
        &self,
        user: &UserId,
        id: RuleId,
        rule: &Rule,
        at: Timestamp,
    ) -> Result<Option<StoredRule>, StoreError> {
        self.note_change(user).await?;
        let filter = doc! { "_id": id.to_string(), "user": user.as_str() };
        let set = doc! {
            "definition": rule.to_json().to_string(), "edited_at": date(at), "ended": null, "ended_at": null,
        };
        let update = doc! { "$set": set, "$inc": { "revision": 1i64 } };
        let edit = self.alerts.rules.find_one_and_update(filter, update).return_document(ReturnDocument::After);
        let Some(edited) = self.get(edit).await? else { return Ok(None) };
        // What fired before the edit is in the inbox when the edit is done, and nothing of a former revision comes later.
        self.file_alerts(&edited.fired).await?;
        // Those that are left behind if this is interrupted are void.
        let former = doc! { "rule": id.to_string(), "revision": { "$lt": edited.revision } };
        self.get(self.alerts.armings.delete_many(former)).await?;
        edited.rule().map(Some)
    }

    async fn delete_rule(&self, user: &UserId, id: RuleId) -> Result<bool, StoreError> {
        self.note_change(user).await?;
        let rule = doc! { "_id": id.to_string(), "user": user.as_str() };
        let Some(deleted) = self.get(self.alerts.rules.find_one_and_delete(rule)).await? else { return Ok(false) };
        self.file_alerts(&deleted.fired).await?;
        self.get(self.alerts.armings.delete_many(doc! { "rule": id.to_string() })).await?;
        Ok(true)
    }

    async fn active_rules(
        &self,
        shard: Shard,
        after: Option<RuleId>,
        most: usize,
    ) -> Result<Vec<ActiveRule>, StoreError> {
        let mut after = after.map(|id| id.to_string()).unwrap_or_default();
        loop {
            let filter = doc! { "shard": shard.number(), "_id": { "$gt": &after }, "ended": null };
            let found = self.find(&self.alerts.rules, filter, doc! { "_id": 1 }, most).await?;
            let Some(last) = found.last().map(|rule| rule.id.clone()) else { return Ok(Vec::new()) };
            let active = self.activate(found).await?;
            // An empty page would mean that there are no more.
            if !active.is_empty() {
                return Ok(active);
            }
            after = last;
        }
    }

    async fn active_rules_of(&self, user: &UserId) -> Result<Vec<ActiveRule>, StoreError> {
        let filter = doc! { "user": user.as_str(), "ended": null };
        let found = self.find(&self.alerts.rules, filter, doc! { "_id": 1 }, 0).await?;
        self.activate(found).await
    }

    async fn active_rule(&self, id: RuleId) -> Result<Option<ActiveRule>, StoreError> {
        let filter = doc! { "_id": id.to_string(), "ended": null };
        let found = self.get(self.alerts.rules.find_one(filter)).await?;
        Ok(self.activate(found.into_iter().collect()).await?.pop())
    }

    async fn changed_rules(&self, shard: Shard, since: ChangeMark) -> Result<ChangedRules, StoreError> {
        let from = bson::DateTime::from_millis(since.0.saturating_sub(OVERLAP_MS));
        let filter = doc! { "shard": shard.number(), "at": { "$gt": from } };
        let changed = self.find(&self.alerts.changes, filter, doc! { "at": 1 }, 0).await?;
        let mark = changed.last().map_or(since, |last| ChangeMark(last.at.timestamp_millis().max(since.0)));
        Ok(ChangedRules { users: changed.into_iter().map(|change| change.user).collect(), mark })
    }

    async fn progress(&self, shard: Shard) -> Result<ShardProgress, StoreError> {
        self.file_what_was_left(shard).await?;
        let found = self.get(self.alerts.progress.find_one(doc! { "_id": shard.number() })).await?;
        Ok(found.as_ref().map(ProgressDocument::progress).transpose()?.unwrap_or_default())
    }

    async fn note_unwatched(&self, shards: &[Shard], unwatched: &Unwatched) -> Result<(), StoreError> {
        let Unwatched { region, from, until } = *unwatched;
        for shard in shards {
            let id = format!("{}-{region}-{}", shard.number(), from.as_millis());
            let update = doc! {
                "$setOnInsert": { "shard": shard.number(), "region": region.key(), "from": date(from) },
                "$max": { "until": date(until) },
            };
            self.get(self.alerts.unwatched.update_one(doc! { "_id": id }, update).upsert(true)).await?;
        }
        Ok(())
    }

    async fn unwatched(&self, shard: Shard, since: Timestamp) -> Result<Vec<Unwatched>, StoreError> {
        let filter = doc! { "shard": shard.number(), "until": { "$gt": date(since) } };
        let order = doc! { "from": -1, "region": -1 };
        let mut found = self.find(&self.alerts.unwatched, filter, order, MOST_UNWATCHED).await?;
        found.reverse();
        let unwatched = |it: UnwatchedDocument| {
            let region = it.region.parse().map_err(|error: odds::UnknownRegion| StoreError::new(error))?;
            Ok(Unwatched { region, from: time(it.from), until: time(it.until) })
        };
        found.into_iter().map(unwatched).collect()
    }

    async fn record(
        &self,
        shards: &[Shard],
        decisions: &[Decision],
        progress: &ShardProgress,
        now: Timestamp,
    ) -> Result<Recorded, StoreError> {
        self.record_decisions(shards, decisions, progress, now).await
    }

    async fn pending_alerts(&self, shard: Shard, state: AlertState, most: usize) -> Result<Vec<Alert>, StoreError> {
        let filter = doc! { "shard": shard.number(), "state": state.key() };
        let found = self.find(&self.alerts.alerts, filter, doc! { "number": 1 }, most).await?;
        found.into_iter().map(AlertDocument::alert).collect()
    }

    async fn settle_alert(&self, id: FiringId, is_missed: bool) -> Result<Option<Alert>, StoreError> {
        let state = if is_missed { AlertState::Missed } else { AlertState::Waiting };
        // It becomes the newest, so that clients that ask for what is new get it.
        let number = self.reserve_numbers(1).await?;
        let update = doc! { "$set": { "state": state.key(), "number": number } };
        let filter = doc! { "_id": id.to_string(), "state": "late" };
        let settle = self.alerts.alerts.find_one_and_update(filter, update).return_document(ReturnDocument::After);
        self.get(settle).await?.map(AlertDocument::alert).transpose()
    }

    async fn mark_notified(&self, ids: &[FiringId]) -> Result<(), StoreError> {
        let ids: Vec<String> = ids.iter().map(FiringId::to_string).collect();
        let filter = doc! { "_id": { "$in": ids }, "state": "waiting" };
        self.get(self.alerts.alerts.update_many(filter, doc! { "$set": { "state": "notified" } })).await.map(drop)
    }

    async fn alerts_of(&self, user: &UserId, after: Option<FiringId>, most: usize) -> Result<Vec<Alert>, StoreError> {
        let mut filter = doc! { "user": user.as_str(), "state": { "$ne": "late" } };
        let known = match after {
            None => None,
            Some(id) => {
                let known = doc! { "_id": id.to_string(), "user": user.as_str() };
                self.get(self.alerts.alerts.find_one(known)).await?
            }
        };
        let order = if known.is_some() { 1 } else { -1 };
        if let Some(known) = known {
            filter.insert("number", doc! { "$gt": known.number });
        }
        let mut found = self.find(&self.alerts.alerts, filter, doc! { "number": order }, most).await?;
        found.sort_by_key(|alert| alert.number);
        found.into_iter().map(AlertDocument::alert).collect()
    }

    async fn unread_alerts(&self, user: &UserId) -> Result<u64, StoreError> {
        let filter = doc! { "user": user.as_str(), "read_at": null, "state": { "$ne": "late" } };
        self.get(self.alerts.alerts.count_documents(filter)).await
    }

    async fn mark_read(&self, user: &UserId, ids: Option<&[FiringId]>, at: Timestamp) -> Result<u64, StoreError> {
        let mut filter = doc! { "user": user.as_str(), "read_at": null, "state": { "$ne": "late" } };
        if let Some(ids) = ids {
            let ids: Vec<String> = ids.iter().map(FiringId::to_string).collect();
            filter.insert("_id", doc! { "$in": ids });
        }
        let update = doc! { "$set": { "read_at": date(at) } };
        Ok(self.get(self.alerts.alerts.update_many(filter, update)).await?.modified_count)
    }
}
