//! Messages.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
};

use futures::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{self, Bson, Document, doc};
use odds::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AT_ONCE, MongoOutbox, date, duplicates, open_states, recipients::recipient_id, time};
use crate::{
    Channel, Claim, Finished, Lease, MessageId, NewMessage, OutboxCounts, Outcome, State, StatusReport, StoreError,
    StoredMessage, message::TRANSACTION, unit::next_unit,
};

/// How many messages of each recipient are looked at together. A recipient with more is looked at by itself.
const FOR_EACH: usize = 4;
/// How many of one recipient's messages are looked at.
const OF_ONE: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MessageDocument {
    /// Channel and id.
    #[serde(rename = "_id")]
    key: String,
    id: String,
    channel: String,
    /// The key of its recipient.
    to: String,
    recipient: String,
    user: Option<String>,
    content: String,
    created_at: bson::DateTime,
    deadline: bson::DateTime,
    number: i64,
    state: String,
    due_at: bson::DateTime,
    attempts: i64,
    detail: Option<String>,
    provider_id: Option<String>,
    batch: Option<String>,
    changed_at: bson::DateTime,
    /// Only if nothing is to be sent any more.
    finished_at: Option<bson::DateTime>,
}

fn key_of(channel: Channel, id: &MessageId) -> String {
    format!("{channel}:{id}")
}

impl MessageDocument {
    fn new(message: &NewMessage, number: i64, now: Timestamp) -> Self {
        Self {
            key: key_of(message.channel, &message.id),
            id: message.id.as_str().to_owned(),
            channel: message.channel.key().to_owned(),
            to: recipient_id(message.channel, &message.recipient),
            recipient: message.recipient.clone(),
            user: message.user.clone(),
            content: serde_json::to_string(&message.content).expect("plain values"),
            created_at: date(message.created_at),
            deadline: date(message.deadline),
            number,
            state: if message.skipped.is_none() { State::Waiting } else { State::Skipped }.key().to_owned(),
            due_at: date(now),
            attempts: 0,
            detail: message.skipped.clone(),
            provider_id: None,
            batch: None,
            changed_at: date(now),
            finished_at: message.skipped.is_some().then(|| date(now)),
        }
    }

    fn message(self) -> Result<StoredMessage, StoreError> {
        let state = State::from_key(&self.state).ok_or_else(|| StoreError(format!("no state: {}", self.state)))?;
        Ok(StoredMessage {
            message: NewMessage {
                id: self.id.parse().map_err(StoreError::new)?,
                channel: self.channel.parse().map_err(StoreError::new)?,
                recipient: self.recipient,
                user: self.user,
                content: serde_json::from_str(&self.content).map_err(StoreError::new)?,
                created_at: time(self.created_at),
                deadline: time(self.deadline),
                skipped: self.detail.clone().filter(|_| state == State::Skipped),
            },
            order: self.number,
            state,
            attempts: self.attempts as u32,
            detail: self.detail,
            provider_id: self.provider_id,
            batch: self.batch,
            changed_at: time(self.changed_at),
        })
    }
}

impl MongoOutbox {
    pub(super) async fn add_messages(&self, messages: &[NewMessage], now: Timestamp) -> Result<usize, StoreError> {
        if messages.is_empty() {
            return Ok(0);
        }
        let number = self.next_number(now, messages.len());
        let documents: Vec<MessageDocument> =
            (number..).zip(messages).map(|(number, message)| MessageDocument::new(message, number, now)).collect();
        let known = match self.ask(self.messages.insert_many(&documents).ordered(false)).await? {
            Ok(_) => 0,
            Err(error) => duplicates(error)?.len(),
        };
        // Also those that were added before: whoever added them may not have come to this.
        let to_send = messages.iter().filter(|it| it.skipped.is_none());
        self.wake(to_send.map(|it| (it.channel, it.recipient.as_str())).collect(), now).await?;
        Ok(documents.len() - known)
    }

    /// Takes this many places in the order.
    fn next_number(&self, now: Timestamp, count: usize) -> i64 {
        // Microseconds, if this process adds less than that.
        let first = |last: i64| (last + 1).max(now.as_millis() * 1_000);
        let update = |last| Some(first(last) + count as i64 - 1);
        let before = self.last_number.fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
        first(before.unwrap_or_else(|last| last))
    }

    pub(super) async fn claim_messages(
        &self,
        channel: Channel,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        let leases = self.lease(channel, holder, now, until, most).await?;
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let mut due = self.due_of(&leases, now).await?;
        let mut suppressed = self.suppressed_of(&leases).await?;
        let mut claims = Vec::new();
        let mut idle = Vec::new();
        for lease in &leases {
            let (messages, is_taken_over) = next_unit(due.remove(&lease.recipient).unwrap_or_default());
            match messages.is_empty() {
                true => idle.push(lease),
                false => {
                    let suppressed = suppressed.remove(&recipient_id(channel, &lease.recipient));
                    claims.push(Claim { lease: lease.clone(), messages, is_taken_over, suppressed });
                }
            }
        }
        if !claims.is_empty() {
            let keys = claims.iter().flat_map(|claim| &claim.messages).map(|it| key_of(channel, &it.message.id));
            let keys: Vec<String> = keys.collect();
            let begin = doc! { "$set": { "state": State::Sending.key(), "changed_at": date(now) } };
            let open = doc! { "_id": { "$in": keys }, "state": open_states() };
            self.get(self.messages.update_many(open, begin)).await?;
        }
        if !idle.is_empty() {
            // If that fails, these leases end by themselves. The others hold.
            let _ = self.release(&idle).await;
        }
        Ok(claims)
    }

    /// The first due messages of each recipient, in their order.
    async fn due_of(
        &self,
        leases: &[Lease],
        now: Timestamp,
    ) -> Result<HashMap<String, Vec<StoredMessage>>, StoreError> {
        let id = |lease: &Lease| recipient_id(lease.channel, &lease.recipient);
        let most = FOR_EACH * leases.len();
        let ids: Vec<String> = leases.iter().map(id).collect();
        let found = self.due(doc! { "$in": ids }.into(), now, most).await?;
        let is_cut = found.len() == most;
        let mut due: HashMap<String, Vec<StoredMessage>> = HashMap::new();
        for message in found {
            due.entry(message.message.recipient.clone()).or_default().push(message);
        }
        if is_cut {
            // Some may have crowded others out.
            for lease in leases {
                due.insert(lease.recipient.clone(), self.due(id(lease).into(), now, OF_ONE).await?);
            }
        }
        Ok(due)
    }

    async fn due(&self, to: Bson, now: Timestamp, most: usize) -> Result<Vec<StoredMessage>, StoreError> {
        let due = doc! {
            "state": open_states(),
            "to": to,
            "$or": [{ "state": State::Sending.key() }, { "due_at": { "$lte": date(now) } }],
        };
        let found = self.get(async {
            self.messages
                .find(due)
                .sort(doc! { "number": 1, "_id": 1 })
                .limit(most as i64)
                .await?
                .try_collect::<Vec<MessageDocument>>()
                .await
        });
        found.await?.into_iter().map(MessageDocument::message).collect()
    }

    pub(super) async fn finish_messages(&self, finished: &[Finished], now: Timestamp) -> Result<(), StoreError> {
        let leases: Vec<&Lease> = finished.iter().map(|it| &it.lease).collect();
        let held = self.still_held(&leases).await?;
        let is_held =
            |lease: &Lease| held.contains(&(recipient_id(lease.channel, &lease.recipient), lease.holder.clone()));
        let mut updates: HashMap<String, (Document, Document, Vec<String>)> = HashMap::new();
        for it in finished {
            let is_sent = matches!(it.outcome, Outcome::Sent { .. });
            if !is_held(&it.lease) && !is_sent {
                continue;
            }
            let update = update_for(it, now);
            let states = match is_sent {
                true => doc! { "$in": [State::Waiting.key(), State::Sending.key(), State::Unknown.key()] },
                false => doc! { "$in": [State::Sending.key()] },
            };
            // What is the same for several messages is written at once.
            let group = updates.entry(format!("{update} {states}")).or_insert_with(|| (states, update, Vec::new()));
            group.2.extend(it.messages.iter().map(|id| key_of(it.lease.channel, id)));
        }
        let writes = updates.into_values().map(|(states, update, keys)| {
            self.get(self.messages.update_many(doc! { "_id": { "$in": keys }, "state": states }, update))
        });
        stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
        // After the messages: if this process is killed in between, none of them may count as skipped.
        for it in finished.iter().filter(|it| it.outcome == Outcome::NoRecipient && is_held(&it.lease)) {
            let reason = it.detail.as_deref().unwrap_or_default();
            self.note_suppressed(it.lease.channel, &it.lease.recipient, Some(reason), now).await?;
        }
        self.release(&leases).await
    }

    pub(super) async fn note_report(&self, report: &StatusReport<'_>, now: Timestamp) -> Result<bool, StoreError> {
        let channel = report.channel.key();
        let key = report.id.map(|id| key_of(report.channel, id));
        let found = match &key {
            Some(key) => self.get(self.messages.find_one(doc! { "_id": key })).await?,
            None => None,
        };
        let mut concerned: Vec<Document> = key.map(|key| doc! { "_id": key }).into_iter().collect();
        concerned.extend(report.provider_id.map(|id| doc! { "provider_id": id, "channel": channel }));
        // Together with it, those of its batch.
        concerned.extend(found.and_then(|it| it.batch).map(|batch| doc! { "batch": batch, "channel": channel }));
        if concerned.is_empty() {
            return Ok(false);
        }
        let concerned = doc! { "$or": concerned };
        if self.get(self.messages.find_one(concerned.clone())).await?.is_none() {
            return Ok(false);
        }
        let mut set = doc! { "state": report.state.key(), "changed_at": date(now) };
        if let Some(detail) = report.detail {
            set.insert("detail", detail);
        }
        if let Some(id) = report.provider_id {
            set.insert("provider_id", id);
        }
        if !report.state.is_open() {
            set.insert("finished_at", date(now));
        }
        let not_final = doc! { "$nin": [State::Delivered.key(), State::Failed.key()] };
        let not_final = doc! { "$and": [concerned, { "state": not_final }] };
        self.get(self.messages.update_many(not_final, doc! { "$set": set })).await?;
        Ok(true)
    }

    pub(super) async fn find_message(
        &self,
        channel: Channel,
        id: &MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let found = self.get(self.messages.find_one(doc! { "_id": key_of(channel, id) })).await?;
        found.map(MessageDocument::message).transpose()
    }

    pub(super) async fn find_messages_of(
        &self,
        user: &str,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let wanted = doc! { "user": user, "number": { "$lt": before.unwrap_or(i64::MAX) } };
        let found = self.get(async {
            let find = self.messages.find(wanted).sort(doc! { "number": -1 }).limit(most as i64);
            find.await?.try_collect::<Vec<MessageDocument>>().await
        });
        found.await?.into_iter().map(MessageDocument::message).collect()
    }

    pub(super) async fn count(&self, channel: Channel) -> Result<OutboxCounts, StoreError> {
        let open = doc! { "channel": channel.key(), "state": open_states() };
        let count = self.get(self.messages.count_documents(open.clone())).await?;
        let oldest = self.get(self.messages.find_one(open).sort(doc! { "created_at": 1 })).await?;
        Ok(OutboxCounts { open: count, oldest: oldest.map(|it| time(it.created_at)) })
    }

    pub(super) async fn forget_messages(&self, before: Timestamp, most: usize) -> Result<u64, StoreError> {
        let old = doc! { "finished_at": { "$lt": date(before) } };
        let old = self.get(async {
            let find = self.messages.find(old).limit(most as i64);
            find.await?.map_ok(|it| it.key).try_collect::<HashSet<String>>().await
        });
        let keys: Vec<String> = old.await?.into_iter().collect();
        Ok(self.get(self.messages.delete_many(doc! { "_id": { "$in": keys } })).await?.deleted_count)
    }

    pub(super) async fn forget_messages_of(&self, user: &str) -> Result<(), StoreError> {
        let is_transaction = format!(r#"^\{{"kind":"{TRANSACTION}""#);
        let to_be_sent = doc! { "user": user, "state": open_states(), "content": { "$regex": is_transaction } };
        self.get(self.messages.update_many(to_be_sent, doc! { "$set": { "user": null } })).await?;
        self.get(self.messages.delete_many(doc! { "user": user })).await?;
        Ok(())
    }
}

fn update_for(finished: &Finished, now: Timestamp) -> Document {
    let state = finished.outcome.state();
    let mut set = doc! {
        "state": state.key(), "detail": &finished.detail, "changed_at": date(now),
        "batch": finished.outcome.batch(),
        "finished_at": (!state.is_open()).then(|| date(now)),
    };
    if let Outcome::Sent { provider_id: Some(id) } = &finished.outcome {
        set.insert("provider_id", id);
    }
    if let Some(due_at) = finished.outcome.due_at() {
        set.insert("due_at", date(due_at));
    }
    doc! { "$set": set, "$inc": { "attempts": i64::from(finished.outcome.is_failure()) } }
}
