//! The outbox in one SQLite file. Acknowledged writes survive a crash and a power failure.
//!
//! One thread writes, another one reads. Writes that wait are carried out together and committed once, because waiting
//! for the disk is what takes time.

mod limits;
mod outbox;
mod requests;
mod schema;
mod worker;

use std::path::Path;

use async_trait::async_trait;
use odds::Timestamp;

use self::worker::Worker;
use crate::{
    Begun, Channel, Claim, Finished, Limit, MessageId, NewMessage, Outbox, OutboxCounts, ProduceRequest, Produced,
    StatusReport, StoreError, StoredMessage,
};

#[derive(Debug)]
pub struct SqliteOutbox {
    writer: Worker,
    reader: Worker,
}

impl SqliteOutbox {
    /// Opens the file, and creates it if it is missing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let named = |error: &dyn std::fmt::Display| StoreError(format!("{}: {error}", path.display()));
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| named(&error))?;
        }
        let writer = schema::open_writer(path).map_err(|error| named(&error))?;
        let reader = schema::open_reader(path).map_err(|error| named(&error))?;
        Ok(Self { writer: Worker::writer(writer)?, reader: Worker::reader(reader)? })
    }
}

#[async_trait]
impl Outbox for SqliteOutbox {
    async fn add(&self, messages: &[NewMessage], now: Timestamp) -> Result<usize, StoreError> {
        let messages = messages.to_vec();
        self.writer.ask(move |connection| outbox::add(connection, &messages, now)).await
    }

    async fn claim(
        &self,
        channel: Channel,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        // Most of the time, nothing is due. Finding that out needs no write.
        if !self.reader.ask(move |connection| outbox::is_due(connection, channel, now)).await? {
            return Ok(Vec::new());
        }
        let holder = holder.to_owned();
        self.writer.ask(move |connection| outbox::claim(connection, channel, &holder, now, until, most)).await
    }

    async fn finish(&self, finished: &[Finished], now: Timestamp) -> Result<(), StoreError> {
        let finished = finished.to_vec();
        self.writer.ask(move |connection| outbox::finish(connection, &finished, now)).await
    }

    async fn report(&self, report: &StatusReport<'_>, now: Timestamp) -> Result<bool, StoreError> {
        let StatusReport { channel, id, provider_id, state, detail } = *report;
        let owned = |text: &str| text.to_owned();
        let (id, provider_id, detail) = (id.cloned(), provider_id.map(owned), detail.map(owned));
        let report = move |connection: &rusqlite::Connection| {
            let (id, provider_id, detail) = (id.as_ref(), provider_id.as_deref(), detail.as_deref());
            outbox::report(connection, &StatusReport { channel, id, provider_id, state, detail }, now)
        };
        self.writer.ask(report).await
    }

    async fn suppress(
        &self,
        channel: Channel,
        recipient: &str,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (recipient, reason) = (recipient.to_owned(), reason.map(ToOwned::to_owned));
        let suppress = move |connection: &rusqlite::Connection| {
            limits::suppress(connection, channel, &recipient, reason.as_deref(), now)
        };
        self.writer.ask(suppress).await
    }

    async fn spend(&self, limits: &[Limit], now: Timestamp) -> Result<Option<Limit>, StoreError> {
        let limits = limits.to_vec();
        self.writer.ask(move |connection| limits::spend(connection, &limits, now)).await
    }

    async fn message(&self, channel: Channel, id: &MessageId) -> Result<Option<StoredMessage>, StoreError> {
        let id = id.clone();
        self.reader.ask(move |connection| outbox::message(connection, channel, &id)).await
    }

    async fn messages_of(
        &self,
        user: &str,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        let user = user.to_owned();
        self.reader.ask(move |connection| outbox::messages_of(connection, &user, before, most)).await
    }

    async fn counts(&self, channel: Channel) -> Result<OutboxCounts, StoreError> {
        self.reader.ask(move |connection| outbox::counts(connection, channel)).await
    }

    async fn forget(
        &self,
        messages_before: Timestamp,
        requests_before: Timestamp,
        now: Timestamp,
        most: usize,
    ) -> Result<u64, StoreError> {
        let forget = move |connection: &rusqlite::Connection| {
            limits::forget(connection, now)?;
            let messages = outbox::forget(connection, messages_before, most)?;
            Ok(messages + requests::forget(connection, requests_before, most)?)
        };
        self.writer.ask(forget).await
    }

    async fn forget_user(&self, user: &str) -> Result<(), StoreError> {
        let user = user.to_owned();
        let forget = move |connection: &rusqlite::Connection| {
            outbox::forget_user(connection, &user)?;
            requests::forget_user(connection, &user)
        };
        self.writer.ask(forget).await
    }

    async fn begin_request(
        &self,
        request: &ProduceRequest,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Begun, StoreError> {
        let request = request.clone();
        self.writer.ask(move |connection| requests::begin(connection, request, now, until)).await
    }

    async fn finish_request(&self, user: &str, request_id: &str, produced: &Produced) -> Result<(), StoreError> {
        let (user, request_id, produced) = (user.to_owned(), request_id.to_owned(), *produced);
        self.writer.ask(move |connection| requests::finish(connection, &user, &request_id, &produced)).await
    }

    async fn requests_since(
        &self,
        since: Timestamp,
        after: Option<&ProduceRequest>,
        most: usize,
    ) -> Result<Vec<ProduceRequest>, StoreError> {
        let after = after.cloned();
        self.reader.ask(move |connection| requests::since(connection, since, after, most)).await
    }
}
