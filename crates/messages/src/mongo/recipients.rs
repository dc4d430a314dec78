//! Recipients: when something is due for each, and who sends to it now.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{self, Bson, Document, doc};
use odds::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AT_ONCE, MongoOutbox, date, duplicates, open_states};
use crate::{Channel, Lease, StoreError};

/// How often a write is repeated because others were faster.
const TRIES: usize = 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RecipientDocument {
    #[serde(rename = "_id")]
    pub(super) id: String,
    channel: String,
    recipient: String,
    /// While somebody holds it, the end of the lease.
    due_at: bson::DateTime,
    holder: Option<String>,
    /// Rises with every message that is added.
    version: i64,
}

/// When the next of a recipient's messages is due.
#[derive(Deserialize)]
struct Next {
    #[serde(rename = "_id")]
    id: String,
    due_at: bson::DateTime,
}

pub(super) fn recipient_id(channel: Channel, recipient: &str) -> String {
    format!("{channel}:{recipient}")
}

impl MongoOutbox {
    /// Makes recipients due after messages for them were added.
    pub(super) async fn wake(&self, recipients: HashSet<(Channel, &str)>, now: Timestamp) -> Result<(), StoreError> {
        if recipients.is_empty() {
            return Ok(());
        }
        let mut documents: Vec<RecipientDocument> = recipients
            .into_iter()
            .map(|(channel, recipient)| RecipientDocument {
                id: recipient_id(channel, recipient),
                channel: channel.key().to_owned(),
                recipient: recipient.to_owned(),
                due_at: date(now),
                holder: None,
                version: 1,
            })
            .collect();
        for _ in 0..TRIES {
            let known = match self.ask(self.recipients.insert_many(&documents).ordered(false)).await? {
                Ok(_) => return Ok(()),
                Err(error) => duplicates(error)?,
            };
            documents = known.into_iter().filter_map(|at| documents.get(at).cloned()).collect();
            let ids: Vec<&str> = documents.iter().map(|it| it.id.as_str()).collect();
            // The version first: from now on, nobody deletes them without having seen the new messages.
            let raised =
                self.recipients.update_many(doc! { "_id": { "$in": &ids } }, doc! { "$inc": { "version": 1i64 } });
            let raised = self.get(raised).await?.matched_count;
            let idle = doc! { "_id": { "$in": &ids }, "holder": Bson::Null };
            self.get(self.recipients.update_many(idle, doc! { "$min": { "due_at": date(now) } })).await?;
            if raised as usize == ids.len() {
                return Ok(());
            }
            // One was deleted before. Those that are still there only rise once more.
        }
        Err(StoreError::new("recipients change all the time"))
    }

    /// Leases recipients that are due.
    pub(super) async fn lease(
        &self,
        channel: Channel,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<Lease>, StoreError> {
        let due = doc! { "channel": channel.key(), "due_at": { "$lte": date(now) } };
        let found = self
            .get(async {
                let find = self.recipients.find(due.clone()).sort(doc! { "due_at": 1 }).limit(most as i64);
                find.await?.try_collect::<Vec<RecipientDocument>>().await
            })
            .await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = found.iter().map(|it| it.id.as_str()).collect();
        let free = doc! { "_id": { "$in": &ids }, "due_at": { "$lte": date(now) } };
        let hold = doc! { "$set": { "holder": holder, "due_at": date(until) } };
        self.get(self.recipients.update_many(free, hold)).await?;
        let held = self
            .get(async {
                let find = self.recipients.find(doc! { "_id": { "$in": &ids }, "holder": holder });
                find.await?.try_collect::<Vec<RecipientDocument>>().await
            })
            .await?;
        let lease =
            |it: RecipientDocument| Lease { channel, recipient: it.recipient, holder: holder.to_owned(), until };
        Ok(held.into_iter().map(lease).collect())
    }

    /// The leases that still hold: their recipients' ids, and their holders.
    pub(super) async fn still_held(&self, leases: &[&Lease]) -> Result<HashSet<(String, String)>, StoreError> {
        Ok(self.held(leases).await?.into_iter().filter_map(|it| Some((it.id, it.holder?))).collect())
    }

    async fn held(&self, leases: &[&Lease]) -> Result<Vec<RecipientDocument>, StoreError> {
        // One recipient may have been leased twice, one lease after the other.
        let holders: HashSet<(String, &str)> =
            leases.iter().map(|it| (recipient_id(it.channel, &it.recipient), it.holder.as_str())).collect();
        let ids: HashSet<&String> = holders.iter().map(|(id, _)| id).collect();
        let ids: Vec<&String> = ids.into_iter().collect();
        let found = self
            .get(async {
                self.recipients
                    .find(doc! { "_id": { "$in": ids } })
                    .await?
                    .try_collect::<Vec<RecipientDocument>>()
                    .await
            })
            .await?;
        let is_held = |it: &RecipientDocument| {
            it.holder.as_deref().is_some_and(|holder| holders.contains(&(it.id.clone(), holder)))
        };
        Ok(found.into_iter().filter(is_held).collect())
    }

    /// Ends leases that hold. The recipients are due again with their next messages.
    pub(super) async fn release(&self, leases: &[&Lease]) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            // Before the messages, so that one that is added in between changes the version.
            let held = self.held(leases).await?;
            if held.is_empty() {
                return Ok(());
            }
            let ids: Vec<&str> = held.iter().map(|it| it.id.as_str()).collect();
            let next = [
                doc! { "$match": { "state": open_states(), "to": { "$in": &ids } } },
                doc! { "$group": { "_id": "$to", "due_at": { "$min": "$due_at" } } },
            ];
            let next = self.get(async {
                self.messages.aggregate(next).with_type::<Next>().await?.try_collect::<Vec<Next>>().await
            });
            let next: HashMap<String, bson::DateTime> = next.await?.into_iter().map(|it| (it.id, it.due_at)).collect();
            let unchanged =
                |it: &RecipientDocument| doc! { "_id": &it.id, "holder": &it.holder, "version": it.version };
            // Most have the same holder and version, so these are few deletes.
            let mut idle: HashMap<(Option<&str>, i64), Vec<&str>> = HashMap::new();
            for it in held.iter().filter(|it| !next.contains_key(&it.id)) {
                idle.entry((it.holder.as_deref(), it.version)).or_default().push(&it.id);
            }
            for ((holder, version), ids) in idle {
                let unchanged = doc! { "_id": { "$in": ids }, "holder": holder, "version": version };
                self.get(self.recipients.delete_many(unchanged)).await?;
            }
            let waiting: Vec<(Document, bson::DateTime)> =
                held.iter().filter_map(|it| Some((unchanged(it), *next.get(&it.id)?))).collect();
            let writes = waiting.into_iter().map(|(unchanged, due_at)| {
                let due = doc! { "$set": { "holder": Bson::Null, "due_at": due_at } };
                self.get(self.recipients.update_one(unchanged, due))
            });
            stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
        }
        // The leases end by themselves.
        Err(StoreError::new("recipients change all the time"))
    }
}
