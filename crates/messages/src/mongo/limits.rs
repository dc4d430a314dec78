//! Addresses to which nothing more is sent, and how much was sent on a day.

use std::collections::HashMap;

use futures::TryStreamExt;
use mongodb::{
    bson::{self, doc},
    options::ReturnDocument,
};
use odds::Timestamp;
use serde::{Deserialize, Serialize};

use super::{MongoOutbox, date, is_duplicate, recipients::recipient_id};
use crate::{Channel, Lease, Limit, StoreError, outbox::day_of};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SuppressedDocument {
    /// Channel and recipient.
    #[serde(rename = "_id")]
    id: String,
    reason: String,
    at: bson::DateTime,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SpentDocument {
    /// The day, and what is counted.
    #[serde(rename = "_id")]
    id: String,
    day: i64,
    count: i64,
}

impl MongoOutbox {
    pub(super) async fn note_suppressed(
        &self,
        channel: Channel,
        recipient: &str,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let this = doc! { "_id": recipient_id(channel, recipient) };
        let Some(reason) = reason else {
            return self.get(self.suppressed.delete_one(this)).await.map(drop);
        };
        let set = doc! { "$set": { "reason": reason, "at": date(now) } };
        match self.ask(self.suppressed.update_one(this, set).upsert(true)).await? {
            // Noted at the same moment.
            Err(error) if is_duplicate(&error) => Ok(()),
            other => other.map(drop).map_err(StoreError::new),
        }
    }

    /// The reasons of those of these recipients that are suppressed, by the ids of the recipients.
    pub(super) async fn suppressed_of(&self, leases: &[Lease]) -> Result<HashMap<String, String>, StoreError> {
        let ids: Vec<String> = leases.iter().map(|it| recipient_id(it.channel, &it.recipient)).collect();
        let found = self.get(async {
            let find = self.suppressed.find(doc! { "_id": { "$in": ids } });
            find.await?.try_collect::<Vec<SuppressedDocument>>().await
        });
        Ok(found.await?.into_iter().map(|it| (it.id, it.reason)).collect())
    }

    pub(super) async fn take_from(&self, limits: &[Limit], now: Timestamp) -> Result<Option<Limit>, StoreError> {
        for (at, limit) in limits.iter().enumerate() {
            if self.add_to(limit, 1, now).await? > i64::from(limit.most) {
                // In the meantime, others may have been refused in vain.
                for taken in &limits[..=at] {
                    self.add_to(taken, -1, now).await?;
                }
                return Ok(Some(limit.clone()));
            }
        }
        Ok(None)
    }

    /// Returns the new count.
    async fn add_to(&self, limit: &Limit, count: i64, now: Timestamp) -> Result<i64, StoreError> {
        let this = || doc! { "_id": format!("{} {}", day_of(now), limit.of) };
        let add = || doc! { "$inc": { "count": count }, "$set": { "day": day_of(now) } };
        let update =
            || self.spent.find_one_and_update(this(), add()).upsert(true).return_document(ReturnDocument::After);
        let updated = match self.ask(update()).await? {
            // Two began to count at the same moment.
            Err(error) if is_duplicate(&error) => self.get(update()).await?,
            other => other.map_err(StoreError::new)?,
        };
        updated.map(|it| it.count).ok_or_else(|| StoreError::new("a count is missing after it was written"))
    }

    pub(super) async fn forget_spent(&self, now: Timestamp) -> Result<(), StoreError> {
        self.get(self.spent.delete_many(doc! { "day": { "$lt": day_of(now) } })).await.map(drop)
    }
}
