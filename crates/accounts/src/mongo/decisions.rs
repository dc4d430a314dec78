//! Records what an alerter decided. There are no transactions: an alert is written before what follows from it, so that
//! whoever repeats the decision finds it, and every change of an episode has the former state as its condition. A firing
//! is accepted by a write to its rule, with the rule's revision as the condition.

use std::collections::{HashMap, HashSet};

use ::alerts::{Arming, Decision, End, FiringId, RuleId};
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::{
    bson::{self, doc},
    error::{Error, ErrorKind},
};
use odds::Timestamp;

use super::{
    DUPLICATE_KEY, MongoStore,
    alerts::{AlertDocument, ArmingDocument, ProgressDocument, RuleDocument},
    date, is_duplicate,
};
use crate::{
    alerts::{Alert, Recorded, Shard, ShardProgress, StoredRule},
    store::StoreError,
};

/// How many episodes are written at once.
const AT_ONCE: usize = 16;

/// The changes of one episode by a batch of decisions: where it stood, and where it stands.
#[derive(Default)]
struct Episode {
    former: Option<ArmingDocument>,
    new: Option<Arming>,
}

fn arming_id(id: FiringId) -> String {
    format!("{}-{:016x}", id.rule, id.subject)
}

fn episode_of(decision: &Decision) -> Option<FiringId> {
    match decision {
        Decision::Fire(firing) => Some(firing.id),
        Decision::Arm { id, .. } => Some(*id),
        Decision::End { .. } => None,
    }
}

impl MongoStore {
    pub(super) async fn record_decisions(
        &self,
        shards: &[Shard],
        decisions: &[Decision],
        progress: &ShardProgress,
        now: Timestamp,
    ) -> Result<Recorded, StoreError> {
        let mut recorded = Recorded::default();
        if !decisions.is_empty() {
            let rules = self.rules_of_decisions(decisions).await?;
            let mut episodes = self.episodes_of(decisions).await?;
            let mut ends = Vec::new();
            for decision in decisions {
                let rule = rules.get(&decision.rule().to_string()).filter(|it| it.revision == decision.revision());
                let is_accepted =
                    rule.is_some_and(|rule| accept(decision, rule, &mut episodes, &mut recorded, &mut ends));
                if !is_accepted && !recorded.refused.contains(&decision.rule()) {
                    recorded.refused.push(decision.rule());
                }
            }
            let edited = self.write_alerts(&rules, &mut recorded.alerts).await?;
            recorded.refused.extend(edited.iter().filter(|id| !recorded.refused.contains(id)).collect::<Vec<_>>());
            ends.retain(|(rule, _)| !edited.contains(&rule.id));
            let users = |id: &str| rules.get(id).map(|rule| rule.user.clone());
            let changed = episodes.into_iter().filter(|(id, it)| it.new.is_some() && !edited.contains(&id.rule));
            let writes = changed.filter_map(|(id, episode)| {
                let user = users(&id.rule.to_string())?;
                Some(async move { Ok::<_, StoreError>((id, self.write_episode(id, user, episode).await?)) })
            });
            let written: Vec<(FiringId, bool)> = stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await?;
            for (id, _) in written.into_iter().filter(|(_, is_written)| !is_written) {
                recorded.refused.push(id.rule);
            }
            for (rule, end) in ends {
                self.end_rule(rule, end, now).await?;
            }
        }
        for shard in shards {
            self.save_progress(*shard, progress).await?;
        }
        Ok(recorded)
    }

    /// The rules of enabled users that have not ended.
    async fn rules_of_decisions(&self, decisions: &[Decision]) -> Result<HashMap<String, StoredRule>, StoreError> {
        let ids: HashSet<String> = decisions.iter().map(|decision| decision.rule().to_string()).collect();
        let filter = doc! { "_id": { "$in": Vec::from_iter(ids) }, "ended": null };
        let found = self.find(&self.alerts.rules, filter, doc! { "_id": 1 }, 0).await?;
        let rules: Vec<StoredRule> = found.into_iter().map(RuleDocument::rule).collect::<Result<_, _>>()?;
        let enabled = self.enabled(rules.iter().map(|rule| rule.user.clone()).collect()).await?;
        let active = rules.into_iter().filter(|rule| enabled.contains(&rule.user));
        Ok(active.map(|rule| (rule.id.to_string(), rule)).collect())
    }

    async fn episodes_of(&self, decisions: &[Decision]) -> Result<HashMap<FiringId, Episode>, StoreError> {
        let keys: HashMap<String, FiringId> =
            decisions.iter().filter_map(episode_of).map(|id| (arming_id(id), key_of(id))).collect();
        let filter = doc! { "_id": { "$in": Vec::from_iter(keys.keys().cloned()) } };
        let found = self.find(&self.alerts.armings, filter, doc! { "_id": 1 }, 0).await?;
        let mut episodes: HashMap<FiringId, Episode> = keys.values().map(|id| (*id, Episode::default())).collect();
        for document in found {
            if let Some(episode) = keys.get(&document.id).and_then(|id| episodes.get_mut(id)) {
                episode.former = Some(document);
            }
        }
        Ok(episodes)
    }

    /// Writes alerts, and keeps those that were not there already. Returns the rules that were edited meanwhile, whose
    /// alerts are not written.
    async fn write_alerts(
        &self,
        rules: &HashMap<String, StoredRule>,
        alerts: &mut Vec<Alert>,
    ) -> Result<HashSet<RuleId>, StoreError> {
        if alerts.is_empty() {
            return Ok(HashSet::new());
        }
        let first = self.reserve_numbers(alerts.len()).await?;
        let mut of_rules: HashMap<RuleId, Vec<AlertDocument>> = HashMap::new();
        for (number, alert) in (first..).zip(alerts.iter()) {
            of_rules.entry(alert.id.rule).or_default().push(AlertDocument::of(alert, number));
        }
        let accepts = of_rules.into_iter().filter_map(|(id, fired)| {
            let rule = rules.get(&id.to_string())?;
            Some(async move { Ok::<_, StoreError>((id, self.accept_fired(rule, &fired).await?, fired)) })
        });
        let accepts: Vec<_> = stream::iter(accepts).buffer_unordered(AT_ONCE).try_collect().await?;
        let (accepted, edited): (Vec<_>, Vec<_>) = accepts.into_iter().partition(|(_, is_accepted, _)| *is_accepted);
        let edited: HashSet<RuleId> = edited.into_iter().map(|(id, ..)| id).collect();
        let ids: Vec<String> = accepted.iter().map(|(id, ..)| id.to_string()).collect();
        let fired: Vec<AlertDocument> = accepted.into_iter().flat_map(|(.., fired)| fired).collect();
        let known = self.file_alerts(&fired).await?;
        self.release_fired(&ids, &fired).await?;
        alerts.retain(|alert| !edited.contains(&alert.id.rule) && !known.contains(&alert.id.to_string()));
        Ok(edited)
    }

    /// Notes firings with their rule, if it is still of their revision. Returns whether it is.
    async fn accept_fired(&self, rule: &StoredRule, fired: &[AlertDocument]) -> Result<bool, StoreError> {
        let filter = doc! { "_id": rule.id.to_string(), "revision": i64::from(rule.revision), "ended": null };
        let fired = bson::serialize_to_bson(fired).map_err(StoreError::new)?;
        let update = doc! { "$push": { "fired": { "$each": fired } } };
        Ok(self.get(self.alerts.rules.update_one(filter, update)).await?.matched_count == 1)
    }

    /// Puts accepted firings into the inbox. Returns the ids of those that were there already.
    pub(super) async fn file_alerts(&self, fired: &[AlertDocument]) -> Result<HashSet<String>, StoreError> {
        if fired.is_empty() {
            return Ok(HashSet::new());
        }
        let insert = self.alerts.alerts.insert_many(fired).ordered(false);
        let Err(error) = self.ask(insert).await? else { return Ok(HashSet::new()) };
        let known = duplicates(&error).ok_or_else(|| StoreError::new(&error))?;
        Ok(known.into_iter().filter_map(|place| Some(fired.get(place)?.id.clone())).collect())
    }

    /// Removes firings that are in the inbox from these rules.
    pub(super) async fn release_fired(&self, rules: &[String], fired: &[AlertDocument]) -> Result<(), StoreError> {
        let filed: Vec<&str> = fired.iter().map(|alert| alert.id.as_str()).collect();
        let pull = doc! { "$pull": { "fired": { "_id": { "$in": filed } } } };
        self.get(self.alerts.rules.update_many(doc! { "_id": { "$in": rules } }, pull)).await.map(drop)
    }

    /// Returns whether the episode still stood where it was.
    async fn write_episode(&self, id: FiringId, user: crate::UserId, episode: Episode) -> Result<bool, StoreError> {
        let new = episode.new.expect("only changed episodes are written");
        let document = ArmingDocument {
            id: arming_id(id),
            rule: id.rule.to_string(),
            user,
            subject: id.subject.cast_signed(),
            revision: id.revision.into(),
            episode: new.episode.into(),
            fired: new.fired,
            fired_at: date(new.fired_at),
            level: new.level,
            steps: serde_json::to_string(&new.steps).expect("plain values"),
        };
        let armings = &self.alerts.armings;
        let Some(former) = episode.former else {
            return match self.ask(armings.insert_one(document)).await? {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate(&error) => Ok(false),
                Err(error) => Err(StoreError::new(error)),
            };
        };
        let filter = doc! {
            "_id": former.id, "revision": former.revision, "episode": former.episode, "fired": former.fired,
            "steps": former.steps,
        };
        Ok(self.get(armings.replace_one(filter, document)).await?.matched_count == 1)
    }

    async fn end_rule(&self, rule: &StoredRule, end: End, now: Timestamp) -> Result<(), StoreError> {
        let filter = doc! { "_id": rule.id.to_string(), "revision": i64::from(rule.revision), "ended": null };
        let update = doc! { "$set": { "ended": end.key(), "ended_at": date(now) } };
        self.get(self.alerts.rules.update_one(filter, update)).await.map(drop)
    }

    async fn save_progress(&self, shard: Shard, progress: &ShardProgress) -> Result<(), StoreError> {
        let documents = &self.alerts.progress;
        let former = self.get(documents.find_one(doc! { "_id": shard.number() })).await?;
        let known = former.as_ref().map(ProgressDocument::progress).transpose()?.unwrap_or_default();
        let steps = serde_json::to_string(&known.join(progress)).expect("plain values");
        let document = ProgressDocument { shard: shard.number(), steps };
        match former {
            // If another owner was faster, its next write or ours has both.
            Some(former) => {
                let filter = doc! { "_id": shard.number(), "steps": former.steps };
                self.get(documents.replace_one(filter, document)).await.map(drop)
            }
            None => match self.ask(documents.insert_one(document)).await? {
                Err(error) if is_duplicate(&error) => Ok(()),
                other => other.map(drop).map_err(StoreError::new),
            },
        }
    }
}

/// Which episode a decision is about: the rule's revision and the subject, whatever the number of the arming.
fn key_of(id: FiringId) -> FiringId {
    FiringId { episode: 0, ..id }
}

/// Notes what is to be written if the decision follows what is recorded. Returns whether it does.
fn accept<'a>(
    decision: &Decision,
    rule: &'a StoredRule,
    episodes: &mut HashMap<FiringId, Episode>,
    recorded: &mut Recorded,
    ends: &mut Vec<(&'a StoredRule, End)>,
) -> bool {
    if let Decision::End { end, .. } = decision {
        ends.push((rule, *end));
        return true;
    }
    let id = episode_of(decision).expect("it is about an episode");
    let Some(episode) = episodes.get_mut(&key_of(id)) else { return false };
    let former = episode.former.as_ref().filter(|it| it.revision == i64::from(id.revision));
    let Ok(former) = former.map(ArmingDocument::arming).transpose() else { return false };
    let stands = episode.new.or(former);
    let next = match decision {
        Decision::Fire(firing) if Arming::permits_firing(stands.as_ref(), firing, &rule.rule) => {
            recorded.alerts.push(Alert::of(firing, rule));
            if firing.is_last {
                ends.push((rule, End::Fired));
            }
            Arming::after_firing(stands.as_ref(), firing)
        }
        Decision::Arm { arming, .. } if Arming::permits_arming(stands.as_ref(), arming) => {
            Arming::after_arming(stands.as_ref(), arming)
        }
        _ => return false,
    };
    episode.new = Some(next);
    true
}

/// The places of documents that were there already, if nothing else went wrong.
fn duplicates(error: &Error) -> Option<HashSet<usize>> {
    let ErrorKind::InsertMany(insert) = &*error.kind else { return None };
    if insert.write_concern_error.is_some() {
        return None;
    }
    let errors = insert.write_errors.as_ref()?;
    errors.iter().all(|it| it.code == DUPLICATE_KEY).then(|| errors.iter().map(|it| it.index).collect())
}
