//! What operators did, and what they decided for the whole site.

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::bson::{self, doc};
use serde::{Deserialize, Serialize};

use super::{MongoStore, UserDocument, date, is_duplicate, time};
use crate::{
    operator::{AuditEntry, OperatorStore},
    store::StoreError,
    user::User,
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ActionDocument {
    #[serde(rename = "_id")]
    id: String,
    at: bson::DateTime,
    by: String,
    address: String,
    agent: String,
    action: String,
    about: String,
    failure: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SiteDocument {
    #[serde(rename = "_id")]
    id: i32,
    registration: bool,
}

impl ActionDocument {
    fn entry(self) -> AuditEntry {
        let Self { id, at, by, address, agent, action, about, failure } = self;
        AuditEntry { id, at: time(at), by, address, agent, action, about, failure }
    }
}

#[async_trait]
impl OperatorStore for MongoStore {
    async fn note_action(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let AuditEntry { id, at, by, address, agent, action, about, failure } = entry.clone();
        let document = ActionDocument { id, at: date(at), by, address, agent, action, about, failure };
        self.get(self.actions.insert_one(document)).await.map(drop)
    }

    async fn actions(&self, before: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let filter = before.map_or_else(|| doc! {}, |before| doc! { "_id": { "$lt": before } });
        let found = async {
            let found = self.actions.find(filter).sort(doc! { "_id": -1 }).limit(limit as i64);
            found.await?.try_collect::<Vec<_>>().await
        };
        Ok(self.get(found).await?.into_iter().map(ActionDocument::entry).collect())
    }

    async fn users_named(&self, begin: &str, after: &str, limit: usize) -> Result<Vec<User>, StoreError> {
        let (begin, after) = (begin.to_ascii_lowercase(), after.to_ascii_lowercase());
        // Names are ASCII.
        let end = format!("{begin}\u{7f}");
        let filter = doc! { "name_key": { "$gte": begin, "$lt": end, "$gt": after } };
        let found = async {
            let found = self.users.find(filter).sort(doc! { "name_key": 1 }).limit(limit as i64);
            found.await?.try_collect::<Vec<_>>().await
        };
        self.get(found).await?.into_iter().map(UserDocument::user).collect()
    }

    async fn registration(&self) -> Result<Option<bool>, StoreError> {
        Ok(self.get(self.site.find_one(doc! { "_id": 1 })).await?.map(|site| site.registration))
    }

    async fn set_registration(&self, is_open: Option<bool>) -> Result<(), StoreError> {
        let Some(is_open) = is_open else {
            return self.get(self.site.delete_one(doc! { "_id": 1 })).await.map(drop);
        };
        let update = doc! { "$set": { "registration": is_open } };
        let update = self.site.update_one(doc! { "_id": 1 }, update).upsert(true);
        match self.ask(update).await? {
            // Two gateways were the first at the same moment: one of the decisions is stored.
            Err(error) if is_duplicate(&error) => Ok(()),
            other => other.map(drop).map_err(StoreError::new),
        }
    }
}
