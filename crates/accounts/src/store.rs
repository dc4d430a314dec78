//! What an account store does.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    net::IpAddr,
    time::Duration,
};

use async_trait::async_trait;
use odds::{Region, Timestamp};

use crate::{
    alerts::AlertStore,
    contacts::ContactStore,
    operator::OperatorStore,
    password::PasswordHash,
    secret::SecretHash,
    session::{SessionKey, StoredSession},
    token::{NewToken, Token, TokenId},
    user::{Changed, NewUser, User, UserId},
    user_name::UserName,
};

/// The store is unavailable. The reason is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the account store is unavailable: {0}")]
pub struct StoreError(pub String);

impl StoreError {
    pub(crate) fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateUserError {
    #[error("this name is already taken")]
    Taken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTokenError {
    #[error("the user has too many tokens already")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The users, sessions and tokens of a query that still exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub revisions: HashMap<UserId, u64>,
    pub sessions: HashSet<SessionKey>,
    pub tokens: HashSet<TokenId>,
}

/// How long a network that a user signed in from is remembered.
pub const FAMILIAR_FOR: Duration = Duration::from_secs(180 * 24 * 3_600);

/// How long the actions of operators are kept.
pub const ACTIONS_KEPT: Duration = Duration::from_secs(400 * 24 * 3_600);

/// The hash of a user and of a network that the user signed in from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place(SecretHash);

impl Place {
    pub fn of(user: &UserId, network: IpAddr) -> Self {
        Self(SecretHash::of(format!("{user} {network}").as_bytes()))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Users, sessions, tokens and subscriptions. A change that connections must know of raises the account's revision, in
/// the same write or right after it. Several gateways may use the same store at the same time.
#[async_trait]
pub trait Store: AlertStore + ContactStore + OperatorStore + fmt::Debug + Send + Sync + 'static {
    async fn create_user(&self, user: &NewUser) -> Result<User, CreateUserError>;
    async fn user(&self, id: &UserId) -> Result<Option<User>, StoreError>;
    async fn user_and_password(&self, name: &UserName) -> Result<Option<(User, PasswordHash)>, StoreError>;
    /// All users, sorted by name.
    async fn users(&self) -> Result<Vec<User>, StoreError>;
    /// Replaces the password and ends all sessions. Returns `None` if there is no such user, or if the current hash is
    /// not `from`.
    async fn set_password(
        &self,
        id: &UserId,
        from: Option<&PasswordHash>,
        to: &PasswordHash,
    ) -> Result<Option<User>, StoreError>;
    /// Replaces a hash by another one of the same password.
    async fn rehash(&self, id: &UserId, from: &PasswordHash, to: &PasswordHash) -> Result<(), StoreError>;
    /// Disabling a user ends all sessions.
    async fn set_disabled(&self, id: &UserId, disabled: bool) -> Result<Option<User>, StoreError>;
    /// Makes a user an operator, or no longer.
    async fn set_operator(&self, id: &UserId, is_operator: bool) -> Result<Option<User>, StoreError>;
    async fn set_regions(&self, id: &UserId, regions: &BTreeSet<Region>) -> Result<Option<User>, StoreError>;
    async fn end_sessions(&self, id: &UserId) -> Result<Option<User>, StoreError>;
    /// Deletes the user with everything that belongs to it. Returns whether there was one.
    async fn delete_user(&self, id: &UserId) -> Result<bool, StoreError>;

    async fn create_session(&self, session: &StoredSession) -> Result<(), StoreError>;
    /// Notes when the session now ends. A session that has ended in the meantime stays ended.
    async fn extend_session(&self, session: &StoredSession) -> Result<(), StoreError>;
    /// The session, unless it has expired.
    async fn session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<StoredSession>, StoreError>;
    async fn end_session(&self, key: &SessionKey) -> Result<Option<Changed>, StoreError>;
    /// The user's sessions that have not expired, the oldest first.
    async fn sessions_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<StoredSession>, StoreError>;

    /// Fails if the user already has `most` tokens.
    async fn create_token(&self, token: &NewToken, most: usize) -> Result<Token, CreateTokenError>;
    /// The user's tokens, the oldest first.
    async fn tokens_of(&self, user: &UserId) -> Result<Vec<Token>, StoreError>;
    async fn token(&self, hash: &SecretHash) -> Result<Option<Token>, StoreError>;
    async fn note_use(&self, token: &TokenId, at: Timestamp) -> Result<(), StoreError>;
    async fn revoke_token(&self, user: &UserId, token: &TokenId) -> Result<Option<Changed>, StoreError>;

    /// Remembers for [`FAMILIAR_FOR`] that the user signed in from there.
    async fn note_place(&self, user: &UserId, place: &Place, at: Timestamp) -> Result<(), StoreError>;
    async fn is_familiar(&self, place: &Place) -> Result<bool, StoreError>;

    /// Which of these exist and have not expired. Tokens not made after `oldest_token` have.
    async fn known(
        &self,
        users: &[UserId],
        sessions: &[SessionKey],
        tokens: &[TokenId],
        now: Timestamp,
        oldest_token: Timestamp,
    ) -> Result<Known, StoreError>;
    /// Deletes expired sessions, places and actions. Returns how many sessions it deleted.
    async fn sweep(&self, now: Timestamp) -> Result<u64, StoreError>;
    /// Writes something that is never read. Fails if nothing can be stored.
    async fn check_writable(&self, now: Timestamp) -> Result<(), StoreError>;
}
