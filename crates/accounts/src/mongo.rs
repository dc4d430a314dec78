//! Accounts in MongoDB, in a few collections. Needs no transactions, no change streams, and no expiry by the server.

mod alerts;
mod contacts;
mod decisions;
mod operator;

use std::{
    collections::{BTreeSet, HashSet},
    future::IntoFuture,
    time::Duration,
};

use async_trait::async_trait;
use futures::TryStreamExt;
use mongodb::{
    Client, Collection, IndexModel,
    bson::{self, Document, doc},
    error::{ErrorKind, WriteFailure},
    options::{Acknowledgment, ClientOptions, IndexOptions, ReturnDocument, WriteConcern},
};
use odds::{Region, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::timeout,
};
use tracing::warn;

use crate::{
    password::PasswordHash,
    secret::SecretHash,
    session::{SessionData, SessionKey, StoredSession},
    store::{ACTIONS_KEPT, CreateTokenError, CreateUserError, FAMILIAR_FOR, Known, Place, Store, StoreError},
    token::{NewToken, Scope, Token, TokenId, TokenName},
    user::{Changed, NewUser, User, UserId},
    user_name::UserName,
};

const DATABASE: &str = "toteboard";
/// How long to look for a server.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait for an answer, finding a server included.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How many operations may be open. When a server is slow, further ones are refused instead of queued.
const OPEN: usize = 256;
const DUPLICATE_KEY: i32 = 11_000;

#[derive(Debug)]
pub struct MongoStore {
    users: Collection<UserDocument>,
    sessions: Collection<SessionDocument>,
    tokens: Collection<TokenDocument>,
    places: Collection<PlaceDocument>,
    checks: Collection<Document>,
    actions: Collection<operator::ActionDocument>,
    site: Collection<operator::SiteDocument>,
    alerts: alerts::Collections,
    open: Semaphore,
    /// Set once the indexes exist.
    prepared: OnceCell<()>,
}

#[derive(Debug, Serialize, Deserialize)]
struct UserDocument {
    #[serde(rename = "_id")]
    id: UserId,
    name: String,
    name_key: String,
    password: String,
    created_at: bson::DateTime,
    disabled: bool,
    epoch: i64,
    revision: i64,
    regions: BTreeSet<Region>,
    /// Absent in documents of earlier versions.
    #[serde(default)]
    is_operator: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionDocument {
    #[serde(rename = "_id")]
    key: String,
    user: UserId,
    epoch: i64,
    since: bson::DateTime,
    expires_at: bson::DateTime,
    /// Empty in documents of earlier versions.
    #[serde(default)]
    address: String,
    #[serde(default)]
    agent: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct TokenDocument {
    #[serde(rename = "_id")]
    id: TokenId,
    user: UserId,
    name: String,
    hash: String,
    created_at: bson::DateTime,
    used_at: Option<bson::DateTime>,
    #[serde(default)]
    expires_at: Option<bson::DateTime>,
    /// Absent in documents of earlier versions.
    #[serde(default)]
    scopes: Option<Vec<String>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlaceDocument {
    #[serde(rename = "_id")]
    place: String,
    user: UserId,
    at: bson::DateTime,
}

/// The key of a document, and its revision if it is a user's.
#[derive(Debug, Deserialize)]
struct Key {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    revision: i64,
}

fn date(time: Timestamp) -> bson::DateTime {
    bson::DateTime::from_millis(time.millis_since(Timestamp::from_millis(0)))
}

fn time(date: bson::DateTime) -> Timestamp {
    Timestamp::from_millis(date.timestamp_millis())
}

impl UserDocument {
    fn user(self) -> Result<User, StoreError> {
        Ok(User {
            id: self.id,
            name: self.name.parse().map_err(StoreError::new)?,
            created_at: time(self.created_at),
            disabled: self.disabled,
            epoch: self.epoch as u64,
            revision: self.revision as u64,
            regions: self.regions,
            is_operator: self.is_operator,
        })
    }
}

impl SessionDocument {
    fn session(self) -> StoredSession {
        let (since, until) = (time(self.since), time(self.expires_at));
        let (user, epoch) = (self.user, self.epoch as u64);
        let data = SessionData { user, epoch, since, until, address: self.address, agent: self.agent };
        StoredSession { key: SessionKey::known(self.key), data }
    }
}

impl TokenDocument {
    fn token(self) -> Token {
        Token {
            id: self.id,
            user: self.user,
            name: TokenName::known(self.name),
            created_at: time(self.created_at),
            used_at: self.used_at.map(time),
            expires_at: self.expires_at.map(time),
            // A scope of a later version is none here.
            scopes: match self.scopes {
                Some(scopes) => scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
                None => Scope::of_old_tokens(),
            },
        }
    }
}

fn is_duplicate(error: &mongodb::error::Error) -> bool {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

fn unique(field: &str) -> IndexModel {
    let options = IndexOptions::builder().unique(true).build();
    IndexModel::builder().keys(doc! { field: 1 }).options(options).build()
}

fn plain(field: &str) -> IndexModel {
    IndexModel::builder().keys(doc! { field: 1 }).build()
}

impl MongoStore {
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
            users: database.collection("users"),
            sessions: database.collection("sessions"),
            tokens: database.collection("tokens"),
            places: database.collection("places"),
            checks: database.collection("checks"),
            actions: database.collection("actions"),
            site: database.collection("site"),
            alerts: alerts::Collections::of(&database),
            open: Semaphore::new(OPEN),
            prepared: OnceCell::new(),
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
        self.users.create_index(unique("name_key")).await?;
        self.users.create_index(plain("contact_email")).await?;
        self.tokens.create_index(unique("hash")).await?;
        self.tokens.create_index(plain("user")).await?;
        self.sessions.create_index(plain("user")).await?;
        self.places.create_index(plain("user")).await?;
        self.alerts.prepare().await?;
        // Only a help: expired sessions are refused and swept anyway.
        let options = IndexOptions::builder().expire_after(Duration::ZERO).build();
        let expiry = IndexModel::builder().keys(doc! { "expires_at": 1 }).options(options).build();
        if let Err(error) = self.sessions.create_index(expiry).await {
            warn!(%error, "the server can't delete expired sessions: only the sweep does");
        }
        Ok(())
    }

    /// Changes a user and raises its revision. Returns the changed user.
    async fn change(&self, filter: Document, mut update: Document) -> Result<Option<User>, StoreError> {
        let raise = update.entry("$inc").or_insert_with(|| doc! {}.into());
        raise.as_document_mut().expect("`$inc` is a document").insert("revision", 1i64);
        let change = self.users.find_one_and_update(filter, update).return_document(ReturnDocument::After);
        self.get(change).await?.map(UserDocument::user).transpose()
    }

    async fn raise(&self, user: UserId) -> Result<Option<Changed>, StoreError> {
        let changed = self.change(doc! { "_id": user.as_str() }, doc! {}).await?;
        Ok(changed.map(|user| Changed { user: user.id, revision: user.revision }))
    }

    async fn forget_sessions(&self, id: &UserId) -> Result<(), StoreError> {
        self.get(self.sessions.delete_many(doc! { "user": id.as_str() })).await.map(drop)
    }

    /// The keys of the documents that match the filter.
    async fn present<T: Send + Sync>(
        &self,
        collection: &Collection<T>,
        filter: Document,
    ) -> Result<Vec<Key>, StoreError> {
        let keys = collection.clone_with_type::<Key>();
        self.get(async {
            keys.find(filter).projection(doc! { "_id": 1, "revision": 1 }).await?.try_collect::<Vec<Key>>().await
        })
        .await
    }
}

#[async_trait]
impl Store for MongoStore {
    async fn create_user(&self, new: &NewUser) -> Result<User, CreateUserError> {
        let document = UserDocument {
            id: new.id.clone(),
            name: new.name.as_str().to_owned(),
            name_key: new.name.key().to_owned(),
            password: new.password.as_str().to_owned(),
            created_at: date(new.created_at),
            disabled: false,
            epoch: 1,
            revision: 1,
            regions: new.regions.clone(),
            is_operator: false,
        };
        match self.ask(self.users.insert_one(&document)).await? {
            Ok(_) => Ok(document.user()?),
            Err(error) if is_duplicate(&error) => Err(CreateUserError::Taken),
            Err(error) => Err(StoreError::new(error).into()),
        }
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let found = self.get(self.users.find_one(doc! { "_id": id.as_str() })).await?;
        found.map(UserDocument::user).transpose()
    }

    async fn user_and_password(&self, name: &UserName) -> Result<Option<(User, PasswordHash)>, StoreError> {
        let found = self.get(self.users.find_one(doc! { "name_key": name.key() })).await?;
        let both = |document: UserDocument| {
            let password = PasswordHash::stored(&document.password);
            Ok((document.user()?, password))
        };
        found.map(both).transpose()
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        let all = async { self.users.find(doc! {}).sort(doc! { "name_key": 1 }).await?.try_collect::<Vec<_>>().await };
        self.get(all).await?.into_iter().map(UserDocument::user).collect()
    }

    async fn set_password(
        &self,
        id: &UserId,
        from: Option<&PasswordHash>,
        to: &PasswordHash,
    ) -> Result<Option<User>, StoreError> {
        let mut filter = doc! { "_id": id.as_str() };
        if let Some(from) = from {
            filter.insert("password", from.as_str());
        }
        let update = doc! { "$set": { "password": to.as_str() }, "$inc": { "epoch": 1i64 } };
        let changed = self.change(filter, update).await?;
        if changed.is_some() {
            self.forget_sessions(id).await?;
        }
        Ok(changed)
    }

    async fn rehash(&self, id: &UserId, from: &PasswordHash, to: &PasswordHash) -> Result<(), StoreError> {
        let filter = doc! { "_id": id.as_str(), "password": from.as_str() };
        self.get(self.users.update_one(filter, doc! { "$set": { "password": to.as_str() } })).await.map(drop)
    }

    async fn set_disabled(&self, id: &UserId, disabled: bool) -> Result<Option<User>, StoreError> {
        self.note_change(id).await?;
        let update = doc! { "$set": { "disabled": disabled }, "$inc": { "epoch": i64::from(disabled) } };
        let changed = self.change(doc! { "_id": id.as_str() }, update).await?;
        if disabled {
            self.forget_sessions(id).await?;
        }
        Ok(changed)
    }

    async fn set_operator(&self, id: &UserId, is_operator: bool) -> Result<Option<User>, StoreError> {
        self.change(doc! { "_id": id.as_str() }, doc! { "$set": { "is_operator": is_operator } }).await
    }

    async fn set_regions(&self, id: &UserId, regions: &BTreeSet<Region>) -> Result<Option<User>, StoreError> {
        let regions: Vec<&str> = regions.iter().map(|region| region.key()).collect();
        self.change(doc! { "_id": id.as_str() }, doc! { "$set": { "regions": regions } }).await
    }

    async fn end_sessions(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let changed = self.change(doc! { "_id": id.as_str() }, doc! { "$inc": { "epoch": 1i64 } }).await?;
        self.forget_sessions(id).await?;
        Ok(changed)
    }

    async fn delete_user(&self, id: &UserId) -> Result<bool, StoreError> {
        let of_user = doc! { "user": id.as_str() };
        self.note_change(id).await?;
        // Tokens and sessions are deleted first, so that none is left over if this is interrupted, and again at the
        // end, for those made in the meantime.
        self.get(self.tokens.delete_many(of_user.clone())).await?;
        self.forget_sessions(id).await?;
        let deleted = self.get(self.users.delete_one(doc! { "_id": id.as_str() })).await?;
        self.get(self.tokens.delete_many(of_user.clone())).await?;
        self.get(self.places.delete_many(of_user)).await?;
        self.delete_alerts_of(id).await?;
        self.forget_sessions(id).await?;
        Ok(deleted.deleted_count == 1)
    }

    async fn create_session(&self, session: &StoredSession) -> Result<(), StoreError> {
        let document = SessionDocument {
            key: session.key.as_str().to_owned(),
            user: session.data.user.clone(),
            epoch: session.data.epoch as i64,
            since: date(session.data.since),
            expires_at: date(session.data.until),
            address: session.data.address.clone(),
            agent: session.data.agent.clone(),
        };
        self.get(self.sessions.insert_one(document)).await.map(drop)
    }

    async fn extend_session(&self, session: &StoredSession) -> Result<(), StoreError> {
        let update = doc! { "$set": { "expires_at": date(session.data.until) } };
        self.get(self.sessions.update_one(doc! { "_id": session.key.as_str() }, update)).await.map(drop)
    }

    async fn session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<StoredSession>, StoreError> {
        let filter = doc! { "_id": key.as_str(), "expires_at": { "$gt": date(now) } };
        Ok(self.get(self.sessions.find_one(filter)).await?.map(SessionDocument::session))
    }

    async fn end_session(&self, key: &SessionKey) -> Result<Option<Changed>, StoreError> {
        match self.get(self.sessions.find_one_and_delete(doc! { "_id": key.as_str() })).await? {
            None => Ok(None),
            Some(session) => self.raise(session.user).await,
        }
    }

    async fn sessions_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError> {
        let filter = doc! { "user": user.as_str(), "expires_at": { "$gt": date(now) } };
        let sort = doc! { "since": 1, "_id": 1 };
        let all = async { self.sessions.find(filter).sort(sort).await?.try_collect::<Vec<_>>().await };
        Ok(self.get(all).await?.into_iter().map(SessionDocument::session).collect())
    }

    async fn create_token(&self, new: &NewToken, most: usize) -> Result<Token, CreateTokenError> {
        let document = TokenDocument {
            id: new.id.clone(),
            user: new.user.clone(),
            name: new.name.as_str().to_owned(),
            hash: new.hash.as_str().to_owned(),
            created_at: date(new.created_at),
            used_at: None,
            expires_at: new.expires_at.map(date),
            scopes: Some(new.scopes.iter().map(|scope| scope.key().to_owned()).collect()),
        };
        self.get(self.tokens.insert_one(&document)).await?;
        // Counted afterwards, so that tokens made at the same time can't exceed the limit.
        let count = self.get(self.tokens.count_documents(doc! { "user": new.user.as_str() })).await?;
        if count > most as u64 {
            self.get(self.tokens.delete_one(doc! { "_id": new.id.as_str() })).await?;
            return Err(CreateTokenError::TooMany);
        }
        Ok(document.token())
    }

    async fn tokens_of(&self, user: &UserId) -> Result<Vec<Token>, StoreError> {
        let filter = doc! { "user": user.as_str() };
        let sort = doc! { "created_at": 1, "_id": 1 };
        let all = async { self.tokens.find(filter).sort(sort).await?.try_collect::<Vec<_>>().await };
        Ok(self.get(all).await?.into_iter().map(TokenDocument::token).collect())
    }

    async fn token(&self, hash: &SecretHash) -> Result<Option<Token>, StoreError> {
        Ok(self.get(self.tokens.find_one(doc! { "hash": hash.as_str() })).await?.map(TokenDocument::token))
    }

    async fn note_use(&self, token: &TokenId, at: Timestamp) -> Result<(), StoreError> {
        let update = doc! { "$max": { "used_at": date(at) } };
        self.get(self.tokens.update_one(doc! { "_id": token.as_str() }, update)).await.map(drop)
    }

    async fn revoke_token(&self, user: &UserId, token: &TokenId) -> Result<Option<Changed>, StoreError> {
        let filter = doc! { "_id": token.as_str(), "user": user.as_str() };
        match self.get(self.tokens.delete_one(filter)).await?.deleted_count {
            0 => Ok(None),
            _ => self.raise(user.clone()).await,
        }
    }

    async fn note_place(&self, user: &UserId, place: &Place, at: Timestamp) -> Result<(), StoreError> {
        let update = doc! { "$max": { "at": date(at) }, "$set": { "user": user.as_str() } };
        let update = self.places.update_one(doc! { "_id": place.as_str() }, update).upsert(true);
        match self.ask(update).await? {
            // Two sign-ins from one place at the same time: the other one has stored it.
            Err(error) if is_duplicate(&error) => Ok(()),
            other => other.map(drop).map_err(StoreError::new),
        }
    }

    async fn is_familiar(&self, place: &Place) -> Result<bool, StoreError> {
        Ok(self.get(self.places.find_one(doc! { "_id": place.as_str() })).await?.is_some())
    }

    async fn known(
        &self,
        users: &[UserId],
        sessions: &[SessionKey],
        tokens: &[TokenId],
        now: Timestamp,
        oldest_token: Timestamp,
    ) -> Result<Known, StoreError> {
        let mut known = Known::default();
        if !users.is_empty() {
            let ids: Vec<&str> = users.iter().map(UserId::as_str).collect();
            let present = self.present(&self.users, doc! { "_id": { "$in": ids } }).await?;
            let revision = |key: Key| (UserId::named(&key.id), key.revision as u64);
            known.revisions = present.into_iter().map(revision).collect();
        }
        if !sessions.is_empty() {
            let keys: Vec<&str> = sessions.iter().map(SessionKey::as_str).collect();
            let filter = doc! { "_id": { "$in": keys }, "expires_at": { "$gt": date(now) } };
            let present = self.present(&self.sessions, filter).await?;
            known.sessions = present.into_iter().map(|key| SessionKey::known(key.id)).collect::<HashSet<_>>();
        }
        if !tokens.is_empty() {
            let ids: Vec<&str> = tokens.iter().map(TokenId::as_str).collect();
            let filter = doc! {
                "_id": { "$in": ids },
                "created_at": { "$gt": date(oldest_token) },
                "$or": [{ "expires_at": null }, { "expires_at": { "$gt": date(now) } }],
            };
            let present = self.present(&self.tokens, filter).await?;
            known.tokens = present.into_iter().map(|key| TokenId::named(&key.id)).collect();
        }
        Ok(known)
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        let since = now.plus_millis(-(FAMILIAR_FOR.as_millis() as i64));
        self.get(self.places.delete_many(doc! { "at": { "$lt": date(since) } })).await?;
        self.sweep_alerts(now).await?;
        let since = now.plus_millis(-(ACTIONS_KEPT.as_millis() as i64));
        self.get(self.actions.delete_many(doc! { "at": { "$lt": date(since) } })).await?;
        let expired = doc! { "expires_at": { "$lte": date(now) } };
        Ok(self.get(self.sessions.delete_many(expired)).await?.deleted_count)
    }

    async fn check_writable(&self, now: Timestamp) -> Result<(), StoreError> {
        let update = doc! { "$set": { "at": date(now) } };
        let update = self.checks.update_one(doc! { "_id": 1 }, update).upsert(true);
        match self.ask(update).await? {
            // Another gateway made the first check at the same moment.
            Err(error) if is_duplicate(&error) => Ok(()),
            other => other.map(drop).map_err(StoreError::new),
        }
    }
}
