//! What people and programs do with accounts, whatever keeps them.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use odds::{Region, Timestamp};
use prometheus_client::metrics::counter::Counter;
use tracing::{info, warn};

use crate::{
    allowance::Allowance,
    password::{Busy, Password, PasswordHash, Passwords, Verdict},
    session::{SessionData, SessionKey},
    store::{CreateTokenError, CreateUserError, Known, Store, StoreError},
    token::{NewToken, Token, TokenId, TokenName, TokenText},
    user::{NewUser, User, UserId, UserName},
};

/// Tokens of one user.
const MOST_TOKENS: usize = 50;
/// How often the password of one account may be tried by strangers, in all and from then on.
const TRIES_PER_ACCOUNT: u32 = 10;
const ANOTHER_TRY_AFTER: Duration = Duration::from_secs(60);
/// Changes of one user.
const CHANGES_AT_ONCE: u32 = 60;
const ANOTHER_CHANGE_AFTER: Duration = Duration::from_secs(1);
/// Where somebody signed in, strangers can't take the tries away.
const FAMILIAR: usize = 100_000;
/// When a token was used last is noted this often.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Anybody may make an account.
    pub registration: bool,
    /// Sign-ins, registrations and wrong tokens of one address.
    pub attempts_per_minute: u32,
    /// A session that isn't used for so long is over.
    pub session_idle: Duration,
    /// And any after this.
    pub session_lifetime: Duration,
}

impl Default for AccountSettings {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        Self { registration: false, attempts_per_minute: 20, session_idle: hours(168), session_lifetime: hours(720) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    #[error("sign in, or give a valid token")]
    Unauthenticated,
    #[error("unknown name or wrong password")]
    WrongCredentials,
    #[error("the password is wrong")]
    WrongPassword,
    #[error("this account is disabled")]
    Disabled,
    #[error("too many attempts; try again later")]
    TooManyAttempts { retry_after: Duration },
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("here, accounts are made by the operator")]
    RegistrationClosed,
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error("there are {MOST_TOKENS} tokens already; revoke one first")]
    TooManyTokens,
    #[error("there is no such token")]
    UnknownToken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn invalid(field: &'static str) -> impl Fn(&dyn std::fmt::Display) -> AccountsError {
    move |reason| AccountsError::Invalid { field, reason: reason.to_string() }
}

/// Who somebody proved to be, and by what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    Session { user: UserId, key: SessionKey, epoch: u64 },
    Token { user: UserId, token: TokenId },
}

impl Identity {
    pub fn user(&self) -> &UserId {
        match self {
            Self::Session { user, .. } | Self::Token { user, .. } => user,
        }
    }
}

/// Something of this account changed: whoever shows it looks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub user: UserId,
    pub revision: u64,
}

impl Changed {
    /// There is no account any more.
    fn gone(user: &UserId) -> Self {
        Self { user: user.clone(), revision: u64::MAX }
    }
}

/// Neighbours share an address in IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[derive(Debug)]
pub struct Accounts {
    store: Arc<dyn Store>,
    clock: fn() -> Timestamp,
    settings: AccountSettings,
    passwords: Passwords,
    by_address: Allowance<IpAddr>,
    /// By strangers.
    by_account: Allowance<String>,
    /// By who signed in from there before.
    by_familiar: Allowance<(String, IpAddr)>,
    changes: Allowance<UserId>,
    familiar: Mutex<HashMap<(String, IpAddr), Timestamp>>,
}

impl Accounts {
    pub fn new(store: Arc<dyn Store>, settings: AccountSettings, clock: fn() -> Timestamp) -> Self {
        let per_minute = settings.attempts_per_minute.max(1);
        Self {
            store,
            clock,
            passwords: Passwords::new(),
            by_address: Allowance::new(per_minute, Duration::from_secs(60) / per_minute),
            by_account: Allowance::new(TRIES_PER_ACCOUNT, ANOTHER_TRY_AFTER),
            by_familiar: Allowance::new(TRIES_PER_ACCOUNT, ANOTHER_TRY_AFTER),
            changes: Allowance::new(CHANGES_AT_ONCE, ANOTHER_CHANGE_AFTER),
            familiar: Mutex::default(),
            settings,
        }
    }

    /// Counts how often a password is hashed.
    pub fn counting(mut self, hashed: Counter) -> Self {
        self.passwords = self.passwords.counting(hashed);
        self
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    pub fn registration_is_open(&self) -> bool {
        self.settings.registration
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub async fn register(&self, name: &str, password: &str, address: IpAddr) -> Result<User, AccountsError> {
        if !self.settings.registration {
            return Err(AccountsError::RegistrationClosed);
        }
        self.try_from(address)?;
        let user = self.create(name, password, BTreeSet::new()).await?;
        self.is_familiar_from_now_on(user.name.key(), address);
        Ok(user)
    }

    /// As an operator does it: whoever registration is open for.
    pub async fn create(&self, name: &str, password: &str, regions: BTreeSet<Region>) -> Result<User, AccountsError> {
        let name: UserName = name.parse().map_err(|error| invalid("name")(&error))?;
        let password = Password::new(password, &name).map_err(|error| invalid("password")(&error))?;
        let password = self.passwords.hash(&password).await?;
        let user = NewUser { id: UserId::random(), name, password, regions, created_at: self.now() };
        match self.store.create_user(&user).await {
            Ok(user) => {
                info!(user = %user.id, "an account was made");
                Ok(user)
            }
            Err(error @ CreateUserError::Taken) => Err(invalid("name")(&error)),
            Err(CreateUserError::Store(error)) => Err(error.into()),
        }
    }

    fn try_from(&self, address: IpAddr) -> Result<(), AccountsError> {
        let taken = self.by_address.take(network(address), self.now());
        taken.map_err(|retry_after| AccountsError::TooManyAttempts { retry_after })
    }

    /// The answer takes the same time whether there is such a user or not.
    pub async fn sign_in(&self, name: &str, password: &str, address: IpAddr) -> Result<User, AccountsError> {
        self.try_from(address)?;
        let (user, _) = self.prove(name, password, address).await?.ok_or(AccountsError::WrongCredentials)?;
        if user.disabled {
            return Err(AccountsError::Disabled);
        }
        self.by_address.give_back(&network(address));
        self.is_familiar_from_now_on(user.name.key(), address);
        Ok(user)
    }

    /// Who has this name and this password.
    async fn prove(
        &self,
        name: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<Option<(User, PasswordHash)>, AccountsError> {
        let Ok(name) = name.parse::<UserName>() else {
            self.passwords.verify(password, None).await?;
            return Ok(None);
        };
        let familiar = (name.key().to_owned(), network(address));
        let is_familiar = self.familiar.lock().expect("nobody panics while holding it").contains_key(&familiar);
        let taken = match is_familiar {
            true => self.by_familiar.take(familiar.clone(), self.now()),
            false => self.by_account.take(familiar.0.clone(), self.now()),
        };
        taken.map_err(|retry_after| AccountsError::TooManyAttempts { retry_after })?;
        let (user, hash) = self.store.user_and_password(&name).await?.unzip();
        let verdict = self.passwords.verify(password, hash.as_ref()).await?;
        let (Some(user), Some(mut hash)) = (user, hash) else { return Ok(None) };
        match verdict {
            Verdict::Wrong => return Ok(None),
            Verdict::Right => {}
            Verdict::RightRehashed(new) => {
                self.store.rehash(&user.id, &hash, &new).await?;
                hash = new;
            }
        }
        match is_familiar {
            true => self.by_familiar.give_back(&familiar),
            false => self.by_account.give_back(&familiar.0),
        }
        Ok(Some((user, hash)))
    }

    fn is_familiar_from_now_on(&self, name: &str, address: IpAddr) {
        let now = self.now();
        let mut familiar = self.familiar.lock().expect("nobody panics while holding it");
        if familiar.len() >= FAMILIAR {
            let mut times: Vec<Timestamp> = familiar.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(FAMILIAR / 2);
            let middle = *middle;
            familiar.retain(|_, at| *at > middle);
        }
        familiar.insert((name.to_owned(), network(address)), now);
    }

    /// What a session that begins now says.
    pub fn begin_session(&self, user: &User) -> SessionData {
        let now = self.now();
        let session = SessionData { user: user.id.clone(), epoch: user.epoch, since: now, until: now };
        SessionData { until: self.lasts(&session), ..session }
    }

    /// The same session, used now, if it is time to note that.
    pub fn extend_session(&self, session: &SessionData) -> Option<SessionData> {
        let until = self.lasts(session);
        let worth_it = until.millis_since(session.until) > self.settings.session_idle.as_millis() as i64 / 20;
        worth_it.then(|| SessionData { until, ..session.clone() })
    }

    fn lasts(&self, session: &SessionData) -> Timestamp {
        let idle = self.now().plus_millis(self.settings.session_idle.as_millis() as i64);
        idle.min(session.since.plus_millis(self.settings.session_lifetime.as_millis() as i64))
    }

    /// Who comes with a session's cookie.
    pub async fn by_session(&self, key: &SessionKey) -> Result<(Identity, User), AccountsError> {
        let session = self.store.session(key, self.now()).await?.ok_or(AccountsError::Unauthenticated)?;
        self.by_session_data(key, &session.data).await
    }

    /// The same, when the session is read already.
    pub async fn by_session_data(
        &self,
        key: &SessionKey,
        session: &SessionData,
    ) -> Result<(Identity, User), AccountsError> {
        let user = self.store.user(&session.user).await?;
        let user = user.filter(|user| !user.disabled && user.epoch == session.epoch);
        let user = user.ok_or(AccountsError::Unauthenticated)?;
        Ok((Identity::Session { user: user.id.clone(), key: key.clone(), epoch: session.epoch }, user))
    }

    /// Who comes with a token.
    pub async fn by_token(&self, text: &str, address: IpAddr) -> Result<(Identity, User), AccountsError> {
        let now = self.now();
        if let Some(retry_after) = self.by_address.wait(&network(address), now) {
            return Err(AccountsError::TooManyAttempts { retry_after });
        }
        let token = match text.parse::<TokenText>() {
            Ok(token) => self.store.token(&token.hash()).await?,
            Err(_) => None,
        };
        let user = match &token {
            Some(token) => self.store.user(&token.user).await?.filter(|user| !user.disabled),
            None => None,
        };
        let (Some(token), Some(user)) = (token, user) else {
            self.try_from(address)?;
            return Err(AccountsError::Unauthenticated);
        };
        let noted = token.used_at.is_some_and(|at| now.millis_since(at) < USE_NOTED_EVERY.as_millis() as i64);
        if !noted && let Err(error) = self.store.note_use(&token.id, now).await {
            warn!(%error, "the use of a token is not noted");
        }
        Ok((Identity::Token { user: user.id.clone(), token: token.id }, user))
    }

    /// The user, if what was proven once still holds.
    pub async fn standing(&self, identity: &Identity) -> Result<Option<User>, StoreError> {
        // The user first: what changes between the two reads raises the revision.
        let user = self.store.user(identity.user()).await?.filter(|user| !user.disabled);
        let Some(user) = user else { return Ok(None) };
        let holds = match identity {
            Identity::Session { key, epoch, .. } => {
                *epoch == user.epoch && self.store.session(key, self.now()).await?.is_some()
            }
            Identity::Token { token, .. } => {
                let known = self.store.known(&[], &[], std::slice::from_ref(token), self.now()).await?;
                known.tokens.contains(token)
            }
        };
        Ok(holds.then_some(user))
    }

    /// What there still is of these.
    pub async fn known(
        &self,
        users: &[UserId],
        sessions: &[SessionKey],
        tokens: &[TokenId],
    ) -> Result<Known, StoreError> {
        self.store.known(users, sessions, tokens, self.now()).await
    }

    pub async fn sweep(&self) -> Result<u64, StoreError> {
        self.store.sweep(self.now()).await
    }

    fn may_change(&self, user: &UserId) -> Result<(), AccountsError> {
        let taken = self.changes.take(user.clone(), self.now());
        taken.map_err(|retry_after| AccountsError::TooManyAttempts { retry_after })
    }

    pub async fn set_regions(&self, user: &UserId, regions: &BTreeSet<Region>) -> Result<User, AccountsError> {
        self.may_change(user)?;
        self.store.set_regions(user, regions).await?.ok_or(AccountsError::Unauthenticated)
    }

    /// Ends all sessions of the user. Gives the user as it is now: a new session may begin.
    pub async fn change_password(
        &self,
        user: &User,
        current: &str,
        new: &str,
        address: IpAddr,
    ) -> Result<User, AccountsError> {
        self.may_change(&user.id)?;
        let (_, hash) = self.prove(user.name.as_str(), current, address).await?.ok_or(AccountsError::WrongPassword)?;
        let new = Password::new(new, &user.name).map_err(|error| invalid("new_password")(&error))?;
        let new = self.passwords.hash(&new).await?;
        let changed = self.store.set_password(&user.id, Some(&hash), &new).await?;
        changed.ok_or(AccountsError::WrongPassword)
    }

    /// As an operator does it.
    pub async fn reset_password(&self, user: &User, new: &Password) -> Result<User, AccountsError> {
        let new = self.passwords.hash(new).await?;
        self.store.set_password(&user.id, None, &new).await?.ok_or(AccountsError::Unauthenticated)
    }

    pub async fn end_sessions(&self, user: &UserId) -> Result<Changed, AccountsError> {
        let user = self.store.end_sessions(user).await?.ok_or(AccountsError::Unauthenticated)?;
        Ok(Changed::from(&user))
    }

    pub async fn end_session(&self, key: &SessionKey) -> Result<Option<Changed>, AccountsError> {
        Ok(self.store.end_session(key).await?)
    }

    pub async fn delete(&self, user: &User, password: &str, address: IpAddr) -> Result<Changed, AccountsError> {
        self.may_change(&user.id)?;
        self.prove(user.name.as_str(), password, address).await?.ok_or(AccountsError::WrongPassword)?;
        self.store.delete_user(&user.id).await?;
        info!(user = %user.id, "an account was deleted");
        Ok(Changed::gone(&user.id))
    }

    pub async fn create_token(&self, user: &UserId, name: &str) -> Result<(Token, TokenText), AccountsError> {
        self.may_change(user)?;
        let name: TokenName = name.parse().map_err(|error| invalid("name")(&error))?;
        let text = TokenText::random();
        let (id, user, hash) = (TokenId::random(), user.clone(), text.hash());
        let token = NewToken { id, user, name, hash, created_at: self.now() };
        match self.store.create_token(&token, MOST_TOKENS).await {
            Ok(token) => Ok((token, text)),
            Err(CreateTokenError::TooMany) => Err(AccountsError::TooManyTokens),
            Err(CreateTokenError::Store(error)) => Err(error.into()),
        }
    }

    pub async fn tokens_of(&self, user: &UserId) -> Result<Vec<Token>, AccountsError> {
        Ok(self.store.tokens_of(user).await?)
    }

    pub async fn revoke_token(&self, user: &UserId, token: &TokenId) -> Result<Changed, AccountsError> {
        self.may_change(user)?;
        self.store.revoke_token(user, token).await?.ok_or(AccountsError::UnknownToken)
    }
}

impl From<&User> for Changed {
    fn from(user: &User) -> Self {
        Self { user: user.id.clone(), revision: user.revision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_ipv6_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1:2::9"), of("2001:db8:1:3::9"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
