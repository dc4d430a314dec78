//! What operators do. Each action is noted in the store before it is done, so that nothing is done unnoticed.

use std::{collections::BTreeSet, fmt, sync::atomic::Ordering};

use async_trait::async_trait;
use odds::{Region, Timestamp};
use serde::Serialize;
use tracing::{info, warn};

use crate::{
    accounts::{Accounts, AccountsError},
    audit::{Requester, TARGET},
    password::Password,
    secret,
    store::StoreError,
    user::{Changed, User, UserId},
    user_name::UserName,
};

/// How many characters of an agent, or of what an action was about, are stored.
const LONGEST: usize = 200;

/// Who acts, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    name: String,
    address: String,
    agent: String,
}

impl Actor {
    /// Somebody with access to the store itself, at this host.
    pub fn at_console(host: &str, agent: &str) -> Self {
        Self { name: "console".to_owned(), address: host.to_owned(), agent: agent.to_owned() }
    }

    /// An operator, by a request to a gateway.
    pub fn user(user: &User, by: &Requester) -> Self {
        let agent = by.agent.chars().filter(|it| !it.is_control()).take(LONGEST).collect();
        Self { name: user.name.as_str().to_owned(), address: by.address.to_string(), agent }
    }
}

/// What operators do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    CreateAccount,
    DisableAccount,
    EnableAccount,
    GrantOperator,
    RevokeOperator,
    ResetPassword,
    EndSessions,
    OpenRegistration,
    CloseRegistration,
    LeaveRegistration,
    DisconnectClient,
    ReplayDeadLetters,
}

impl Action {
    /// Its name in the audit log.
    pub fn key(self) -> &'static str {
        match self {
            Self::CreateAccount => "create_account",
            Self::DisableAccount => "disable_account",
            Self::EnableAccount => "enable_account",
            Self::GrantOperator => "grant_operator",
            Self::RevokeOperator => "revoke_operator",
            Self::ResetPassword => "reset_password",
            Self::EndSessions => "end_sessions",
            Self::OpenRegistration => "open_registration",
            Self::CloseRegistration => "close_registration",
            Self::LeaveRegistration => "leave_registration",
            Self::DisconnectClient => "disconnect_client",
            Self::ReplayDeadLetters => "replay_dead_letters",
        }
    }
}

/// An entry of the audit log: who was about to do what, when, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Later entries have greater ids.
    pub id: String,
    pub at: Timestamp,
    pub by: String,
    /// A network address, or the name of a host.
    pub address: String,
    pub agent: String,
    pub action: String,
    /// The account or thing that it was done to.
    pub about: String,
    /// Why it failed. A failure is an entry of its own, after that of the attempt.
    pub failure: String,
}

/// Keeps what operators did, and what they decided for the whole site.
#[async_trait]
pub trait OperatorStore {
    async fn note_action(&self, entry: &AuditEntry) -> Result<(), StoreError>;
    /// The newest entries before this id, the newest first.
    async fn actions(&self, before: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, StoreError>;
    /// The users whose names begin with this, in any case, sorted by name, after this name.
    async fn users_named(&self, begin: &str, after: &str, limit: usize) -> Result<Vec<User>, StoreError>;
    /// Whether an operator has opened or closed registration; `None` if nobody did.
    async fn registration(&self) -> Result<Option<bool>, StoreError>;
    async fn set_registration(&self, is_open: Option<bool>) -> Result<(), StoreError>;
}

impl Accounts {
    /// Notes an action, does it, and notes if it failed. Does nothing if it can't be noted.
    pub async fn audited<T, E: fmt::Display + From<StoreError>>(
        &self,
        actor: &Actor,
        action: Action,
        about: &str,
        done: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.note(actor, action, about, "").await?;
        let result = done.await;
        if let Err(error) = &result
            && let Err(unnoted) = self.note(actor, action, about, &error.to_string()).await
        {
            warn!(%error, %unnoted, action = action.key(), "the failure of an operator's action can't be noted");
        }
        result
    }

    async fn note(&self, actor: &Actor, action: Action, about: &str, failure: &str) -> Result<(), StoreError> {
        let Actor { name, address, agent } = actor.clone();
        let (at, short) = (self.now(), |text: &str| text.chars().take(LONGEST).collect::<String>());
        let entry = AuditEntry {
            id: format!("{:013}-{}", at.as_millis(), secret::random_text::<9>()),
            at,
            by: name,
            address,
            agent,
            action: action.key().to_owned(),
            about: short(about),
            failure: short(failure),
        };
        let noted = self.store().note_action(&entry).await;
        let AuditEntry { by, address, about, .. } = entry;
        match &noted {
            Ok(()) => info!(target: TARGET, event = action.key(), about, by, address, failure),
            Err(error) => warn!(target: TARGET, event = action.key(), about, by, address, %error, "not done"),
        }
        noted
    }

    /// Creates an account, even if registration is closed.
    pub async fn create(
        &self,
        name: &str,
        password: &str,
        regions: BTreeSet<Region>,
        actor: &Actor,
    ) -> Result<User, AccountsError> {
        // Not before it is a name: it may be a password in the wrong field.
        let parsed: UserName = Self::name(name)?;
        self.audited(actor, Action::CreateAccount, parsed.as_str(), self.make(name, password, regions)).await
    }

    /// Replaces a password without knowing it. All sessions end.
    pub async fn reset_password(&self, user: &User, new: &Password, actor: &Actor) -> Result<User, AccountsError> {
        let new = self.passwords().hash(new).await?;
        let store = self.store();
        let reset = async { store.set_password(&user.id, None, &new).await?.ok_or(AccountsError::Unauthenticated) };
        self.audited(actor, Action::ResetPassword, user.name.as_str(), reset).await
    }

    /// Disables or enables a user. A disabled one has no sessions, and no valid tokens.
    pub async fn set_disabled(&self, user: &User, disabled: bool, actor: &Actor) -> Result<User, AccountsError> {
        let action = if disabled { Action::DisableAccount } else { Action::EnableAccount };
        let store = self.store();
        let done = async { store.set_disabled(&user.id, disabled).await?.ok_or(AccountsError::Unauthenticated) };
        self.audited(actor, action, user.name.as_str(), done).await
    }

    /// Makes a user an operator, or no longer.
    pub async fn set_operator(&self, user: &User, is_operator: bool, actor: &Actor) -> Result<User, AccountsError> {
        let action = if is_operator { Action::GrantOperator } else { Action::RevokeOperator };
        let store = self.store();
        let done = async { store.set_operator(&user.id, is_operator).await?.ok_or(AccountsError::Unauthenticated) };
        self.audited(actor, action, user.name.as_str(), done).await
    }

    /// Ends all sessions of a user.
    pub async fn end_sessions_of(&self, user: &User, actor: &Actor) -> Result<Changed, AccountsError> {
        let store = self.store();
        let ended = async { store.end_sessions(&user.id).await?.ok_or(AccountsError::Unauthenticated) };
        let user = self.audited(actor, Action::EndSessions, user.name.as_str(), ended).await?;
        Ok(Changed::from(&user))
    }

    /// Opens or closes registration at all gateways, or leaves it to their settings.
    pub async fn set_registration(&self, is_open: Option<bool>, actor: &Actor) -> Result<(), AccountsError> {
        let action = match is_open {
            Some(true) => Action::OpenRegistration,
            Some(false) => Action::CloseRegistration,
            None => Action::LeaveRegistration,
        };
        let store = self.store();
        let done = async { Ok::<_, AccountsError>(store.set_registration(is_open).await?) };
        self.audited(actor, action, "", done).await?;
        self.registration.store(is_open.unwrap_or(self.opens_registration()), Ordering::Relaxed);
        Ok(())
    }

    /// Learns whether an operator has opened or closed registration.
    pub async fn look_at_registration(&self) -> Result<(), StoreError> {
        let decided = self.store().registration().await?;
        self.registration.store(decided.unwrap_or(self.opens_registration()), Ordering::Relaxed);
        Ok(())
    }

    /// The newest entries of the audit log before this one, the newest first.
    pub async fn actions(&self, before: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.store().actions(before, limit).await
    }

    /// The users whose names begin with this, in any case, by name, after this name.
    pub async fn users_named(&self, begin: &str, after: &str, limit: usize) -> Result<Vec<User>, StoreError> {
        self.store().users_named(begin, after, limit).await
    }

    /// The user of this name.
    pub async fn user_named(&self, name: &str) -> Result<Option<User>, StoreError> {
        // What is no name is nobody's.
        let Ok(name) = name.parse::<UserName>() else { return Ok(None) };
        Ok(self.store().user_and_password(&name).await?.map(|(user, _)| user))
    }

    /// The name of this user, if there is one.
    pub async fn name_of(&self, user: &UserId) -> Result<Option<UserName>, StoreError> {
        Ok(self.store().user(user).await?.map(|user| user.name))
    }
}
