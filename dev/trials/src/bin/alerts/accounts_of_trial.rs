//! The users of a trial, and their rules.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use accounts::{
    NewToken, NewUser, PasswordHash, RuleLimits, Scope, Store, StoreUrl, StoredRule, TokenId, TokenText, UserId,
};
use alerts::{Rule, RuleId};
use odds::Timestamp;
use serde_json::Value;

const LIMITS: RuleLimits = RuleLimits { per_user: 1_000_000, total: 1_000_000 };

/// An account store with users that have no passwords.
pub struct Users {
    pub store: Arc<dyn Store>,
    pub url: String,
    pub ids: Vec<UserId>,
}

impl Users {
    pub async fn create(folder: &Path, count: usize) -> anyhow::Result<Self> {
        let file = folder.join("accounts.db");
        let url = format!("sqlite:{}", file.display());
        let store = StoreUrl::Sqlite(file).open().await?;
        let mut ids = Vec::new();
        for n in 0..count {
            let (id, name) = (UserId::random(), format!("trial-{n}").parse()?);
            let (password, regions) = (PasswordHash::stored("none"), BTreeSet::new());
            store.create_user(&NewUser { id: id.clone(), name, password, regions, created_at: service::now() }).await?;
            ids.push(id);
        }
        Ok(Self { store, url, ids })
    }

    /// A token for a user.
    pub async fn token(&self, user: &UserId) -> anyhow::Result<String> {
        let (text, name) = (TokenText::random(), "trial".parse()?);
        let (id, created_at) = (TokenId::random(), service::now());
        let (user, hash, scopes) = (user.clone(), text.hash(), Scope::ALL.into());
        let token = NewToken { id, user, name, hash, created_at, expires_at: None, scopes };
        self.store.create_token(&token, 10).await?;
        Ok(text.reveal().to_owned())
    }

    /// Makes a rule of one of the users.
    pub async fn create_rule(&self, number: usize, id: RuleId, rule: Rule, at: Timestamp) -> anyhow::Result<()> {
        let user = self.ids[number % self.ids.len()].clone();
        let rule = StoredRule { id, user, revision: 1, rule, created_at: at, edited_at: at, ended: None };
        Ok(self.store.create_rule(&rule, LIMITS).await?)
    }
}

pub fn rule(json: &Value) -> anyhow::Result<Rule> {
    Ok(Rule::from_json(json)?)
}
