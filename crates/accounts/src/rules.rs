//! What users do with rules and alerts, on any store.

use ::alerts::{FiringId, InvalidRule, Rule, RuleId};
use serde_json::Value;

use crate::{
    accounts::{Accounts, AccountsError},
    alerts::{Alert, CreateRuleError, Shard, StoredRule, Unwatched},
    user::UserId,
};

impl From<InvalidRule> for AccountsError {
    fn from(InvalidRule { field, reason }: InvalidRule) -> Self {
        Self::Invalid { field, reason }
    }
}

/// Whether the rule was about the region, and there in this time.
fn may_have_missed(StoredRule { rule, created_at, ended, .. }: &StoredRule, unwatched: &Unwatched) -> bool {
    let had_ended = ended.is_some_and(|(_, at)| at <= unwatched.from);
    rule.scope.regions.contains(unwatched.region) && *created_at < unwatched.until && !had_ended
}

impl Accounts {
    pub async fn create_rule(&self, user: &UserId, rule: Rule) -> Result<StoredRule, AccountsError> {
        self.may_change(user)?;
        let now = self.now();
        let (id, user) = (RuleId::new(rand::random()), user.clone());
        let stored = StoredRule { id, user, revision: 1, rule, created_at: now, edited_at: now, ended: None };
        let limits = self.rule_limits();
        match self.store().create_rule(&stored, limits).await {
            Ok(()) => Ok(stored),
            Err(CreateRuleError::TooMany) => Err(AccountsError::TooManyRules { most: limits.per_user }),
            Err(CreateRuleError::TooManyInTotal) => Err(AccountsError::TooManyRulesInTotal),
            Err(CreateRuleError::Store(error)) => Err(error.into()),
        }
    }

    pub async fn rule(&self, user: &UserId, id: RuleId) -> Result<StoredRule, AccountsError> {
        self.store().rule(user, id).await?.ok_or(AccountsError::UnknownRule)
    }

    pub async fn rules_of(&self, user: &UserId) -> Result<Vec<StoredRule>, AccountsError> {
        Ok(self.store().rules_of(user).await?)
    }

    /// Changes some fields of a rule; null removes one. The rule begins anew.
    pub async fn edit_rule(&self, user: &UserId, id: RuleId, changes: &Value) -> Result<StoredRule, AccountsError> {
        self.may_change(user)?;
        let mut fields = self.rule(user, id).await?.rule.to_json();
        let changes = changes.as_object().ok_or_else(|| AccountsError::Invalid {
            field: "rule",
            reason: "expected an object with the fields to change".into(),
        })?;
        for (name, value) in changes {
            fields[name] = value.clone();
        }
        let rule = Rule::from_json(&fields)?;
        self.store().edit_rule(user, id, &rule, self.now()).await?.ok_or(AccountsError::UnknownRule)
    }

    pub async fn delete_rule(&self, user: &UserId, id: RuleId) -> Result<(), AccountsError> {
        self.may_change(user)?;
        match self.store().delete_rule(user, id).await? {
            true => Ok(()),
            false => Err(AccountsError::UnknownRule),
        }
    }

    /// The user's alerts after this one, the oldest first, and how many are unread; without it, the newest.
    pub async fn alerts_of(
        &self,
        user: &UserId,
        after: Option<FiringId>,
        most: usize,
    ) -> Result<(Vec<Alert>, u64), AccountsError> {
        let alerts = self.store().alerts_of(user, after, most).await?;
        Ok((alerts, self.store().unread_alerts(user).await?))
    }

    /// The times in which one of the user's rules was not evaluated, in the order of their beginnings.
    pub async fn unwatched(&self, user: &UserId) -> Result<Vec<Unwatched>, AccountsError> {
        let rules = self.store().rules_of(user).await?;
        let Some(since) = rules.iter().map(|rule| rule.created_at).min() else { return Ok(Vec::new()) };
        let mut unwatched = self.store().unwatched(Shard::of(user), since).await?;
        unwatched.retain(|it| rules.iter().any(|rule| may_have_missed(rule, it)));
        Ok(unwatched)
    }

    /// Marks these alerts as read, or all. Returns how many are still unread.
    pub async fn mark_read(&self, user: &UserId, ids: Option<&[FiringId]>) -> Result<u64, AccountsError> {
        self.may_change(user)?;
        self.store().mark_read(user, ids, self.now()).await?;
        Ok(self.store().unread_alerts(user).await?)
    }
}
