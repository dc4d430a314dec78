//! Requests to produce records.

use futures::TryStreamExt;
use mongodb::bson::{self, Bson, doc};
use odds::Timestamp;
use serde::{Deserialize, Serialize};

use super::{MongoOutbox, date, is_duplicate, time};
use crate::{Begun, ProduceRequest, Produced, StoreError};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RequestDocument {
    /// User and id.
    #[serde(rename = "_id")]
    key: String,
    user: String,
    request_id: String,
    topic: String,
    hash: String,
    partition: i32,
    message_id: String,
    record_key: Option<String>,
    value: String,
    began_at: bson::DateTime,
    runs_until: bson::DateTime,
    produced: Option<String>,
}

/// Ids of users have no spaces.
fn key_of(user: &str, request_id: &str) -> String {
    format!("{user} {request_id}")
}

impl RequestDocument {
    fn request(self) -> Result<ProduceRequest, StoreError> {
        Ok(ProduceRequest {
            user: self.user,
            request_id: self.request_id,
            topic: self.topic,
            hash: self.hash,
            partition: self.partition,
            message_id: self.message_id.parse().map_err(StoreError::new)?,
            key: self.record_key,
            value: self.value,
            began_at: time(self.began_at),
        })
    }
}

impl MongoOutbox {
    pub(super) async fn begin(
        &self,
        request: &ProduceRequest,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Begun, StoreError> {
        let document = RequestDocument {
            key: key_of(&request.user, &request.request_id),
            user: request.user.clone(),
            request_id: request.request_id.clone(),
            topic: request.topic.clone(),
            hash: request.hash.clone(),
            partition: request.partition,
            message_id: request.message_id.as_str().to_owned(),
            record_key: request.key.clone(),
            value: request.value.clone(),
            began_at: date(request.began_at),
            runs_until: date(until),
            produced: None,
        };
        match self.ask(self.requests.insert_one(&document)).await? {
            Ok(_) => return Ok(Begun::New(request.clone())),
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(StoreError::new(error)),
        }
        let known = self.get(self.requests.find_one(doc! { "_id": &document.key })).await?;
        // It was forgotten just now: whoever repeats a request a day later may wait a moment.
        let Some(known) = known else { return Ok(Begun::Running) };
        if known.hash != request.hash {
            return Ok(Begun::Reused);
        }
        if let Some(produced) = &known.produced {
            return Ok(Begun::Done(serde_json::from_str(produced).map_err(StoreError::new)?));
        }
        if time(known.runs_until) > now {
            return Ok(Begun::Running);
        }
        let over = doc! { "_id": &known.key, "runs_until": known.runs_until, "produced": Bson::Null };
        let taken = self.requests.update_one(over, doc! { "$set": { "runs_until": date(until) } });
        match self.get(taken).await?.modified_count {
            0 => Ok(Begun::Running),
            _ => Ok(Begun::New(known.request()?)),
        }
    }

    pub(super) async fn note_produced(
        &self,
        user: &str,
        request_id: &str,
        produced: &Produced,
    ) -> Result<(), StoreError> {
        let produced = serde_json::to_string(produced).expect("plain values");
        let first = doc! { "_id": key_of(user, request_id), "produced": Bson::Null };
        self.get(self.requests.update_one(first, doc! { "$set": { "produced": produced } })).await.map(drop)
    }

    pub(super) async fn find_requests(
        &self,
        since: Timestamp,
        after: Option<&ProduceRequest>,
        most: usize,
    ) -> Result<Vec<ProduceRequest>, StoreError> {
        let wanted = match after {
            None => doc! { "began_at": { "$gte": date(since) } },
            Some(it) => doc! {
                "$or": [
                    { "began_at": { "$gt": date(it.began_at) } },
                    { "began_at": date(it.began_at), "_id": { "$gt": key_of(&it.user, &it.request_id) } },
                ],
            },
        };
        let found = self.get(async {
            let find = self.requests.find(wanted).sort(doc! { "began_at": 1, "_id": 1 }).limit(most as i64);
            find.await?.try_collect::<Vec<RequestDocument>>().await
        });
        found.await?.into_iter().map(RequestDocument::request).collect()
    }

    pub(super) async fn forget_requests(&self, before: Timestamp, most: usize) -> Result<u64, StoreError> {
        let old = self.get(async {
            let find = self.requests.find(doc! { "began_at": { "$lt": date(before) } }).limit(most as i64);
            find.await?.map_ok(|it| it.key).try_collect::<Vec<String>>().await
        });
        let old = old.await?;
        Ok(self.get(self.requests.delete_many(doc! { "_id": { "$in": old } })).await?.deleted_count)
    }

    pub(super) async fn forget_requests_of(&self, user: &str) -> Result<(), StoreError> {
        self.get(self.requests.delete_many(doc! { "user": user })).await?;
        Ok(())
    }
}
