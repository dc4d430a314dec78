//! Rules and alerts of users, and what a store does with them.

use std::{collections::BTreeMap, fmt};

use ::alerts::{Arming, Channels, Decision, End, Facts, Firing, FiringId, Rule, RuleId, Steps};
use async_trait::async_trait;
use odds::{LogPosition, Region, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{store::StoreError, user::UserId};

/// A part of all users, whose rules one alerter evaluates: also a partition of the topic of alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(u8);

impl Shard {
    pub const COUNT: u8 = 8;

    pub fn of(user: &UserId) -> Self {
        Self(Sha256::digest(user.as_str().as_bytes())[0] % Self::COUNT)
    }

    /// `None` if there is no shard of this number.
    pub fn numbered(number: i32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| *number < Self::COUNT).map(Self)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    pub fn number(self) -> i32 {
        self.0.into()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A rule as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRule {
    pub id: RuleId,
    pub user: UserId,
    /// Rises with each edit, from 1.
    pub revision: u32,
    pub rule: Rule,
    pub created_at: Timestamp,
    /// Only later steps count.
    pub edited_at: Timestamp,
    /// Why and when it ended.
    pub ended: Option<(End, Timestamp)>,
}

/// A rule that is evaluated, and where its episodes stand, by the hash of their subject.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveRule {
    pub stored: StoredRule,
    pub armings: Vec<(u64, Arming)>,
}

/// How many rules there may be.
#[derive(Clone, Copy, Debug)]
pub struct RuleLimits {
    pub per_user: usize,
    pub total: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateRuleError {
    #[error("the user has too many rules already")]
    TooMany,
    #[error("all users together have too many rules already")]
    TooManyInTotal,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What happened to a firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// Its time had passed when it was decided, and the newest step is not read yet.
    Late,
    /// Its condition no longer held when it was found. Its user is not notified.
    Missed,
    /// It is not published yet.
    Waiting,
    Notified,
}

impl AlertState {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Missed => "missed",
            Self::Waiting => "waiting",
            Self::Notified => "notified",
        }
    }

    pub(crate) fn of_key(key: &str) -> Option<Self> {
        [Self::Late, Self::Missed, Self::Waiting, Self::Notified].into_iter().find(|state| state.key() == key)
    }
}

/// A firing in a user's inbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub id: FiringId,
    pub user: UserId,
    pub state: AlertState,
    /// The time of the step at which it fired.
    pub at: Timestamp,
    pub read_at: Option<Timestamp>,
    pub content: AlertContent,
}

/// What is fixed when a rule fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertContent {
    /// The user's own name for the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub channels: Vec<String>,
    pub facts: Facts,
    /// The steps at which it was evaluated.
    pub steps: Steps,
}

impl AlertContent {
    pub(crate) fn of(firing: &Firing, rule: &Rule) -> Self {
        let channels: Channels = rule.channels;
        Self {
            name: rule.name.clone(),
            channels: channels.iter().map(|channel| channel.key().to_owned()).collect(),
            facts: firing.facts.clone(),
            steps: firing.steps,
        }
    }

    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("plain values")
    }
}

/// An alert as clients get it.
#[derive(Debug, Serialize)]
struct AlertPayload<'a> {
    id: FiringId,
    rule: RuleId,
    at: Timestamp,
    /// Nobody was notified: when it was found, its condition no longer held.
    missed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    channels: &'a [String],
    #[serde(flatten)]
    facts: &'a Facts,
}

impl Alert {
    /// The payload of `alert`.
    pub fn to_json(&self) -> String {
        let payload = AlertPayload {
            id: self.id,
            rule: self.id.rule,
            at: self.at,
            missed: self.state == AlertState::Missed,
            read_at: self.read_at,
            name: self.content.name.as_deref(),
            channels: &self.content.channels,
            facts: &self.content.facts,
        };
        serde_json::to_string(&payload).expect("plain values")
    }

    /// The entry of a firing of this rule.
    pub(crate) fn of(firing: &Firing, stored: &StoredRule) -> Self {
        Self {
            id: firing.id,
            user: stored.user.clone(),
            state: if firing.is_late { AlertState::Late } else { AlertState::Waiting },
            at: firing.at,
            read_at: None,
            content: AlertContent::of(firing, &stored.rule),
        }
    }
}

/// A record of the topic `alerts`.
#[derive(Debug, Serialize, Deserialize)]
pub struct AlertRecord {
    /// The user's id.
    pub user: String,
    /// The payload of `alert`.
    pub alert: Box<RawValue>,
}

impl AlertRecord {
    pub fn of(alert: &Alert) -> Self {
        let payload = RawValue::from_string(alert.to_json()).expect("it is JSON");
        Self { user: alert.user.as_str().to_owned(), alert: payload }
    }
}

/// What became of decisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    /// The firings that were recorded.
    pub alerts: Vec<Alert>,
    /// The rules of which a decision was not accepted: they were edited, or another owner decided something else. They
    /// must be read again.
    pub refused: Vec<RuleId>,
}

/// A place in the order of changed rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeMark(pub(crate) i64);

/// The users whose rules changed after a mark, or shortly before it, and the mark to go on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedRules {
    pub users: Vec<UserId>,
    pub mark: ChangeMark,
}

/// A step on which the rules of a shard were evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedStep {
    #[serde(flatten)]
    pub position: LogPosition,
    /// The time of the step; none if an earlier build recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// The newest decided step of each region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardProgress(BTreeMap<Region, DecidedStep>);

impl ShardProgress {
    pub fn get(&self, region: Region) -> Option<DecidedStep> {
        self.0.get(&region).copied()
    }

    pub fn set(&mut self, region: Region, step: DecidedStep) {
        self.0.insert(region, step);
    }

    pub fn steps(&self) -> Steps {
        self.0.iter().map(|(region, step)| (*region, step.position)).collect()
    }

    /// The later step of each region.
    #[must_use]
    pub(crate) fn join(mut self, others: &Self) -> Self {
        for (region, other) in &others.0 {
            if self.get(*region).is_none_or(|step| step.position < other.position) {
                self.set(*region, *other);
            }
        }
        self
    }
}

impl FromIterator<(Region, DecidedStep)> for ShardProgress {
    fn from_iter<I: IntoIterator<Item = (Region, DecidedStep)>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

/// A time of which no steps of a region were evaluated, from the last step before it to the first one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwatched {
    pub region: Region,
    pub from: Timestamp,
    pub until: Timestamp,
}

/// How many unwatched times are returned, the newest.
pub(crate) const MOST_UNWATCHED: usize = 100;

/// How long alerts and unwatched times are kept.
pub const ALERTS_KEPT: std::time::Duration = std::time::Duration::from_secs(90 * 24 * 3_600);

/// Rules, where their episodes stand, and what fired. Several alerters and gateways may use the same store.
#[async_trait]
pub trait AlertStore {
    async fn create_rule(&self, rule: &StoredRule, limits: RuleLimits) -> Result<(), CreateRuleError>;
    async fn rule(&self, user: &UserId, id: RuleId) -> Result<Option<StoredRule>, StoreError>;
    /// The user's rules, the oldest first.
    async fn rules_of(&self, user: &UserId) -> Result<Vec<StoredRule>, StoreError>;
    /// Replaces a rule, which begins anew. Returns it with its next revision.
    async fn edit_rule(
        &self,
        user: &UserId,
        id: RuleId,
        rule: &Rule,
        at: Timestamp,
    ) -> Result<Option<StoredRule>, StoreError>;
    async fn delete_rule(&self, user: &UserId, id: RuleId) -> Result<bool, StoreError>;

    /// The rules in a shard that have not ended and whose users are not disabled, in the order of their ids.
    async fn active_rules(
        &self,
        shard: Shard,
        after: Option<RuleId>,
        most: usize,
    ) -> Result<Vec<ActiveRule>, StoreError>;
    /// The same of one user.
    async fn active_rules_of(&self, user: &UserId) -> Result<Vec<ActiveRule>, StoreError>;
    /// One of them.
    async fn active_rule(&self, id: RuleId) -> Result<Option<ActiveRule>, StoreError>;
    async fn changed_rules(&self, shard: Shard, since: ChangeMark) -> Result<ChangedRules, StoreError>;

    /// The steps up to which all decisions of a shard are recorded.
    async fn progress(&self, shard: Shard) -> Result<ShardProgress, StoreError>;
    /// Notes that rules of these shards were not evaluated in this time. Noted again, it ends at the later end.
    async fn note_unwatched(&self, shards: &[Shard], unwatched: &Unwatched) -> Result<(), StoreError>;
    /// The unwatched times of a shard that end after `since`, in the order of their beginnings; of many, the newest.
    async fn unwatched(&self, shard: Shard, since: Timestamp) -> Result<Vec<Unwatched>, StoreError>;
    /// Records decisions about rules of these shards, in this order, and how far they reach. A decision is accepted
    /// only if it follows what is recorded of its rule.
    async fn record(
        &self,
        shards: &[Shard],
        decisions: &[Decision],
        progress: &ShardProgress,
        now: Timestamp,
    ) -> Result<Recorded, StoreError>;
    /// The alerts of a shard in this state, which is late or waiting, the oldest first.
    async fn pending_alerts(&self, shard: Shard, state: AlertState, most: usize) -> Result<Vec<Alert>, StoreError>;
    /// Decides a late alert: its user is notified, or it is missed. Returns it if it was late.
    async fn settle_alert(&self, id: FiringId, is_missed: bool) -> Result<Option<Alert>, StoreError>;
    async fn mark_notified(&self, ids: &[FiringId]) -> Result<(), StoreError>;

    /// A user's alerts after this one, the oldest first; without it, or if it is not known, the newest.
    async fn alerts_of(&self, user: &UserId, after: Option<FiringId>, most: usize) -> Result<Vec<Alert>, StoreError>;
    /// How many alerts a user has not read.
    async fn unread_alerts(&self, user: &UserId) -> Result<u64, StoreError>;
    /// Marks these alerts as read, or all. Returns how many were unread.
    async fn mark_read(&self, user: &UserId, ids: Option<&[FiringId]>, at: Timestamp) -> Result<u64, StoreError>;
}
