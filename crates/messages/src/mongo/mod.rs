//! The outbox in MongoDB, in a few collections. Needs no transactions: each write leaves something from which whoever
//! comes next can go on.
//!
//! `messages` has the messages. `recipients` has one document for each recipient that something is to be sent to, which
//! is also its lease. Its version rises whenever a message is added, so that it is not deleted while one is.
//! `requests` has the requests to produce records, `suppressed` the addresses to which nothing more is sent, and `spent`
//! how much was sent on a day.

mod limits;
mod outbox;
mod recipients;
mod requests;

use std::{future::IntoFuture, sync::atomic::AtomicI64, time::Duration};

use async_trait::async_trait;
use mongodb::{
    Client, Collection, IndexModel,
    bson::{self, Document, doc},
    error::{Error, ErrorKind, WriteFailure},
    options::{Acknowledgment, ClientOptions, WriteConcern},
};
use odds::Timestamp;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::timeout,
};

use self::{
    limits::{SpentDocument, SuppressedDocument},
    outbox::MessageDocument,
    recipients::RecipientDocument,
    requests::RequestDocument,
};
use crate::{
    Begun, Channel, Claim, Finished, Limit, MessageId, NewMessage, Outbox, OutboxCounts, ProduceRequest, Produced,
    State, StatusReport, StoreError, StoredMessage,
};

const DATABASE: &str = "toteboard";
/// How long to look for a server.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait for an answer, finding a server included.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How many operations may be open. Further ones are refused instead of queued.
const OPEN: usize = 1_024;
const DUPLICATE_KEY: i32 = 11_000;
/// How many documents are written at once where each is written by itself.
const AT_ONCE: usize = 16;

#[derive(Debug)]
pub struct MongoOutbox {
    messages: Collection<MessageDocument>,
    recipients: Collection<RecipientDocument>,
    requests: Collection<RequestDocument>,
    suppressed: Collection<SuppressedDocument>,
    spent: Collection<SpentDocument>,
    open: Semaphore,
    /// Set once the indexes exist.
    prepared: OnceCell<()>,
    /// The greatest place in the order that this process has given.
    last_number: AtomicI64,
}

fn date(time: Timestamp) -> bson::DateTime {
    bson::DateTime::from_millis(time.as_millis())
}

fn time(date: bson::DateTime) -> Timestamp {
    Timestamp::from_millis(date.timestamp_millis())
}

fn open_states() -> Document {
    doc! { "$in": [State::Waiting.key(), State::Sending.key()] }
}

fn is_duplicate(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Write(WriteFailure::WriteError(error)) if error.code == DUPLICATE_KEY)
}

/// The positions of the documents that an unordered insert found to be there already.
fn duplicates(error: Error) -> Result<Vec<usize>, StoreError> {
    let ErrorKind::InsertMany(failed) = &*error.kind else { return Err(StoreError::new(error)) };
    let errors = failed.write_errors.as_deref().unwrap_or_default();
    let are_all = failed.write_concern_error.is_none() && errors.iter().all(|error| error.code == DUPLICATE_KEY);
    if !are_all || errors.is_empty() {
        return Err(StoreError::new(error));
    }
    Ok(errors.iter().map(|error| error.index).collect())
}

impl MongoOutbox {
    /// Opens the store. The server need not be reachable yet.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let mut options = ClientOptions::parse(url).await.map_err(StoreError::new)?;
        options.app_name.get_or_insert_with(|| "toteboard".into());
        options.server_selection_timeout.get_or_insert(FOUND_WITHIN);
        options.connect_timeout.get_or_insert(FOUND_WITHIN);
        // Acknowledged writes survive the loss of a member, and a power failure.
        let durable = || WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
        options.write_concern.get_or_insert_with(durable);
        let database = options.default_database.clone().unwrap_or_else(|| DATABASE.into());
        let database = Client::with_options(options).map_err(StoreError::new)?.database(&database);
        Ok(Self {
            messages: database.collection("messages"),
            recipients: database.collection("recipients"),
            requests: database.collection("requests"),
            suppressed: database.collection("suppressed"),
            spent: database.collection("spent"),
            open: Semaphore::new(OPEN),
            prepared: OnceCell::new(),
            last_number: AtomicI64::new(0),
        })
    }

    /// Runs an operation, for a limited time. The first one also creates the indexes.
    async fn ask<T>(
        &self,
        operation: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> Result<mongodb::error::Result<T>, StoreError> {
        let _place = self.open.try_acquire().map_err(|_| StoreError::new("too many operations are open"))?;
        let asked = async {
            self.prepared.get_or_try_init(|| self.prepare()).await?;
            operation.into_future().await
        };
        timeout(ANSWER_WITHIN, asked).await.map_err(|_| StoreError::new("no answer in time"))
    }

    async fn get<T>(&self, operation: impl IntoFuture<Output = mongodb::error::Result<T>>) -> Result<T, StoreError> {
        self.ask(operation).await?.map_err(StoreError::new)
    }

    async fn prepare(&self) -> mongodb::error::Result<()> {
        let index = |keys: Document| IndexModel::builder().keys(keys).build();
        self.messages.create_index(index(doc! { "to": 1, "state": 1, "number": 1 })).await?;
        self.messages.create_index(index(doc! { "channel": 1, "state": 1, "created_at": 1 })).await?;
        self.messages.create_index(index(doc! { "user": 1, "number": -1 })).await?;
        self.messages.create_index(index(doc! { "finished_at": 1 })).await?;
        self.messages.create_index(index(doc! { "provider_id": 1 })).await?;
        self.messages.create_index(index(doc! { "batch": 1 })).await?;
        self.recipients.create_index(index(doc! { "channel": 1, "due_at": 1 })).await?;
        self.requests.create_index(index(doc! { "began_at": 1, "_id": 1 })).await?;
        Ok(())
    }
}

#[async_trait]
impl Outbox for MongoOutbox {
    async fn add(&self, messages: &[NewMessage], now: Timestamp) -> Result<usize, StoreError> {
        self.add_messages(messages, now).await
    }

    async fn claim(
        &self,
        channel: Channel,
        holder: &str,
        now: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<Claim>, StoreError> {
        self.claim_messages(channel, holder, now, until, most).await
    }

    async fn finish(&self, finished: &[Finished], now: Timestamp) -> Result<(), StoreError> {
        self.finish_messages(finished, now).await
    }

    async fn report(&self, report: &StatusReport<'_>, now: Timestamp) -> Result<bool, StoreError> {
        self.note_report(report, now).await
    }

    async fn suppress(
        &self,
        channel: Channel,
        recipient: &str,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.note_suppressed(channel, recipient, reason, now).await
    }

    async fn spend(&self, limits: &[Limit], now: Timestamp) -> Result<Option<Limit>, StoreError> {
        self.take_from(limits, now).await
    }

    async fn message(&self, channel: Channel, id: &MessageId) -> Result<Option<StoredMessage>, StoreError> {
        self.find_message(channel, id).await
    }

    async fn messages_of(
        &self,
        user: &str,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<StoredMessage>, StoreError> {
        self.find_messages_of(user, before, most).await
    }

    async fn counts(&self, channel: Channel) -> Result<OutboxCounts, StoreError> {
        self.count(channel).await
    }

    async fn forget(
        &self,
        messages_before: Timestamp,
        requests_before: Timestamp,
        now: Timestamp,
        most: usize,
    ) -> Result<u64, StoreError> {
        self.forget_spent(now).await?;
        let messages = self.forget_messages(messages_before, most).await?;
        Ok(messages + self.forget_requests(requests_before, most).await?)
    }

    async fn forget_user(&self, user: &str) -> Result<(), StoreError> {
        self.forget_messages_of(user).await?;
        self.forget_requests_of(user).await
    }

    async fn begin_request(
        &self,
        request: &ProduceRequest,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Begun, StoreError> {
        self.begin(request, now, until).await
    }

    async fn finish_request(&self, user: &str, request_id: &str, produced: &Produced) -> Result<(), StoreError> {
        self.note_produced(user, request_id, produced).await
    }

    async fn requests_since(
        &self,
        since: Timestamp,
        after: Option<&ProduceRequest>,
        most: usize,
    ) -> Result<Vec<ProduceRequest>, StoreError> {
        self.find_requests(since, after, most).await
    }
}
