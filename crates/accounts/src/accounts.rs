//! What users, programs and operators do with accounts, on any store.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use odds::{Region, Timestamp};
use prometheus_client::metrics::counter::Counter;
use tracing::warn;

use crate::{
    alerts::RuleLimits,
    allowance::Allowance,
    audit::{self, Requester},
    password::{Busy, Password, PasswordHash, Passwords, Verdict},
    session::{SessionData, SessionKey, StoredSession},
    sign_in_code::SignInCode,
    store::{CreateTokenError, CreateUserError, Known, Place, Store, StoreError},
    token::{NewToken, Scope, Token, TokenId, TokenName, TokenText},
    user::{Changed, NewUser, User, UserId},
    user_name::UserName,
};

/// How many tokens one user may have.
const MOST_TOKENS: usize = 50;
/// Attempts at one account's password, from one network or while signed in.
const TRIES: u32 = 10;
const ANOTHER_TRY_AFTER: Duration = Duration::from_secs(60);
/// Attempts at one account's password from all networks where its user never signed in: a hundred, then a hundred an
/// hour.
const TRIES_BY_STRANGERS: u32 = 100;
const ANOTHER_TRY_BY_STRANGERS_AFTER: Duration = Duration::from_secs(36);
/// Changes by one user.
const CHANGES_AT_ONCE: u32 = 60;
const ANOTHER_CHANGE_AFTER: Duration = Duration::from_secs(1);
/// Boards and other things read by one user.
const READS_AT_ONCE: u32 = 1_200;
const ANOTHER_READ_AFTER: Duration = Duration::from_millis(50);
/// How many characters of a user agent are stored.
const AGENT_LENGTH: usize = 200;
/// The last use of a token is updated at most this often.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Anybody may register, unless an operator has closed registration.
    pub registration: bool,
    /// Sign-ins, registrations and wrong tokens of one network.
    pub attempts_per_minute: u32,
    /// A session ends when it has not been used for this long.
    pub session_idle: Duration,
    /// Every session ends after this.
    pub session_lifetime: Duration,
    /// Every token expires after this.
    pub token_lifetime: Duration,
    /// How many rules there may be.
    pub rules: RuleLimits,
}

impl Default for AccountSettings {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        Self {
            registration: false,
            attempts_per_minute: 20,
            session_idle: hours(168),
            session_lifetime: hours(720),
            token_lifetime: hours(365 * 24),
            rules: RuleLimits { per_user: 100, total: 1_000_000 },
        }
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
    #[error("this link was used, or is of an earlier start; sign in with name and password")]
    WrongCode,
    #[error("this account is disabled")]
    Disabled,
    #[error("too many attempts; try again later")]
    TooManyAttempts { retry_after: Duration },
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("registration is closed; ask the operator for an account")]
    RegistrationClosed,
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error("there are {MOST_TOKENS} tokens already; revoke one first")]
    TooManyTokens,
    #[error("there is no such token")]
    UnknownToken,
    #[error("this token is not for that: it needs the scope {0}")]
    MissingScope(Scope),
    #[error("there are {most} rules already; delete one first")]
    TooManyRules { most: usize },
    #[error("all users together have too many rules; ask the operator")]
    TooManyRulesInTotal,
    #[error("there is no such rule")]
    UnknownRule,
    #[error("there is no such session")]
    UnknownSession,
    #[error("give an address first")]
    NoAddress,
    #[error("the address is not confirmed yet")]
    NotConfirmed,
    #[error("the address is confirmed already")]
    Confirmed,
    #[error("the code is wrong")]
    WrongDigits,
    #[error("the code is too old, or was entered too often; ask for another one")]
    CodeExpired,
    #[error("this link was used, or the account has changed since")]
    StaleLink,
    #[error("too many requests; ask less often")]
    TooManyReads { retry_after: Duration },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn invalid(field: &'static str) -> impl Fn(&dyn std::fmt::Display) -> AccountsError {
    move |reason| AccountsError::Invalid { field, reason: reason.to_string() }
}

/// An authenticated user, and the session or token that was used.
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

fn allowed(taken: Result<(), Duration>) -> Result<(), AccountsError> {
    taken.map_err(|retry_after| AccountsError::TooManyAttempts { retry_after })
}

/// The network by which attempts are limited: an IPv4 address, or 64 bits of an IPv6 address, because a client can use
/// any address of such a network.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// Authenticates users and changes their accounts, with rate limits and an audit log.
#[derive(Debug)]
pub struct Accounts {
    store: Arc<dyn Store>,
    clock: fn() -> Timestamp,
    settings: AccountSettings,
    passwords: Passwords,
    /// Sign-ins, registrations and wrong tokens.
    by_network: Allowance<IpAddr>,
    /// Attempts at a password.
    by_network_and_name: Allowance<(String, IpAddr)>,
    /// Attempts at a password from where its user never signed in.
    by_strangers: Allowance<String>,
    /// Attempts at a user's own password while signed in.
    by_user: Allowance<UserId>,
    changes: Allowance<UserId>,
    reads: Allowance<UserId>,
    /// Signs a user in, until it is used.
    code: Mutex<Option<SignInCode>>,
    /// Whether anybody may register, as far as is known: operators may decide otherwise than the settings.
    pub(crate) registration: AtomicBool,
}

impl Accounts {
    pub fn new(store: Arc<dyn Store>, settings: AccountSettings, clock: fn() -> Timestamp) -> Self {
        let per_minute = settings.attempts_per_minute.max(1);
        Self {
            store,
            clock,
            passwords: Passwords::new(),
            by_network: Allowance::new(per_minute, Duration::from_secs(60) / per_minute),
            by_network_and_name: Allowance::new(TRIES, ANOTHER_TRY_AFTER),
            by_strangers: Allowance::new(TRIES_BY_STRANGERS, ANOTHER_TRY_BY_STRANGERS_AFTER),
            by_user: Allowance::new(TRIES, ANOTHER_TRY_AFTER),
            changes: Allowance::new(CHANGES_AT_ONCE, ANOTHER_CHANGE_AFTER),
            reads: Allowance::new(READS_AT_ONCE, ANOTHER_READ_AFTER),
            code: Mutex::new(None),
            registration: AtomicBool::new(settings.registration),
            settings,
        }
    }

    /// Uses `hashed` to count how often a password is hashed.
    pub fn counting(mut self, hashed: Counter) -> Self {
        self.passwords = self.passwords.counting(hashed);
        self
    }

    /// Accepts this code once.
    pub fn with_sign_in_code(self, code: Option<SignInCode>) -> Self {
        Self { code: Mutex::new(code), ..self }
    }

    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    pub fn registration_is_open(&self) -> bool {
        self.registration.load(Ordering::Relaxed)
    }

    /// Whether registration is open if no operator has decided otherwise.
    pub(crate) fn opens_registration(&self) -> bool {
        self.settings.registration
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub async fn register(&self, name: &str, password: &str, by: &Requester) -> Result<User, AccountsError> {
        if !self.registration_is_open() {
            return Err(AccountsError::RegistrationClosed);
        }
        self.count_attempt(by.address)?;
        let user = self.make(name, password, BTreeSet::new()).await?;
        audit::done("registered", &user.id, by, &"");
        self.note_place(&user, by.address).await;
        Ok(user)
    }

    pub(crate) async fn make(
        &self,
        name: &str,
        password: &str,
        regions: BTreeSet<Region>,
    ) -> Result<User, AccountsError> {
        let name = Self::name(name)?;
        let password = Password::new(password, &name).map_err(|error| invalid("password")(&error))?;
        let password = self.passwords.hash(&password).await?;
        let user = NewUser { id: UserId::random(), name, password, regions, created_at: self.now() };
        match self.store.create_user(&user).await {
            Ok(user) => Ok(user),
            Err(error @ CreateUserError::Taken) => Err(invalid("name")(&error)),
            Err(CreateUserError::Store(error)) => Err(error.into()),
        }
    }

    pub(crate) fn name(text: &str) -> Result<UserName, AccountsError> {
        text.parse().map_err(|error| invalid("name")(&error))
    }

    pub(crate) fn count_attempt(&self, address: IpAddr) -> Result<(), AccountsError> {
        allowed(self.by_network.take(network(address), Instant::now()))
    }

    /// Checks a name and a password. The answer takes the same time whether or not there is such a user.
    pub async fn sign_in(&self, name: &str, password: &str, by: &Requester) -> Result<User, AccountsError> {
        let mut concerned = None;
        let signed_in = self.try_to_sign_in(name, password, by.address, &mut concerned).await;
        match &signed_in {
            Ok(user) => audit::done("signed_in", &user.id, by, &""),
            Err(reason) => audit::refused("sign_in_refused", concerned.as_ref(), by.address, reason),
        }
        signed_in
    }

    async fn try_to_sign_in(
        &self,
        name: &str,
        password: &str,
        address: IpAddr,
        concerned: &mut Option<UserId>,
    ) -> Result<User, AccountsError> {
        self.count_attempt(address)?;
        let Ok(name) = name.parse::<UserName>() else {
            self.passwords.verify(password, None).await?;
            return Err(AccountsError::WrongCredentials);
        };
        let from = (name.key().to_owned(), network(address));
        allowed(self.by_network_and_name.take(from.clone(), Instant::now()))?;
        let (user, hash) = self.store.user_and_password(&name).await?.unzip();
        *concerned = user.as_ref().map(|user| user.id.clone());
        // Asked for an unknown name, too: a faster answer would reveal who has an account.
        let no_user = UserId::named("");
        let place = Place::of(user.as_ref().map_or(&no_user, |user| &user.id), from.1);
        let is_stranger = !self.store.is_familiar(&place).await?;
        if is_stranger {
            allowed(self.by_strangers.take(from.0.clone(), Instant::now()))?;
        }
        let (user, _) = self.compare(password, user, hash).await?.ok_or(AccountsError::WrongCredentials)?;
        if user.disabled {
            return Err(AccountsError::Disabled);
        }
        if is_stranger {
            self.by_strangers.give_back(&from.0);
        }
        self.by_network.give_back(&from.1);
        self.by_network_and_name.give_back(&from);
        self.note_place(&user, address).await;
        Ok(user)
    }

    /// Signs in with the code that the program printed at its start. It works once.
    pub async fn sign_in_with_code(&self, given: &str, by: &Requester) -> Result<User, AccountsError> {
        let signed_in = self.try_code(given, by.address).await;
        match &signed_in {
            Ok(user) => audit::done("signed_in", &user.id, by, &"by link"),
            Err(reason) => audit::refused("sign_in_refused", None, by.address, reason),
        }
        signed_in
    }

    async fn try_code(&self, given: &str, address: IpAddr) -> Result<User, AccountsError> {
        self.count_attempt(address)?;
        let code = || self.code.lock().expect("nobody panics while holding it");
        let user = code().as_ref().filter(|code| code.is(given)).map(|code| code.user.clone());
        let user = self.store.user(&user.ok_or(AccountsError::WrongCode)?).await?.ok_or(AccountsError::WrongCode)?;
        if user.disabled {
            return Err(AccountsError::Disabled);
        }
        // Used now, and by nobody else meanwhile.
        code().take_if(|code| code.is(given)).ok_or(AccountsError::WrongCode)?;
        self.by_network.give_back(&network(address));
        self.note_place(&user, address).await;
        Ok(user)
    }

    /// Checks the password of a user who is signed in, and returns its hash. Attempts of strangers don't count.
    pub(crate) async fn prove(
        &self,
        user: &User,
        password: &str,
        by: &Requester,
    ) -> Result<PasswordHash, AccountsError> {
        let proven = self.try_to_prove(user, password).await;
        if let Err(reason) = &proven {
            audit::refused("password_refused", Some(&user.id), by.address, reason);
        }
        proven
    }

    async fn try_to_prove(&self, user: &User, password: &str) -> Result<PasswordHash, AccountsError> {
        allowed(self.by_user.take(user.id.clone(), Instant::now()))?;
        let (user, hash) = self.store.user_and_password(&user.name).await?.unzip();
        let (user, hash) = self.compare(password, user, hash).await?.ok_or(AccountsError::WrongPassword)?;
        self.by_user.give_back(&user.id);
        Ok(hash)
    }

    /// The user and the hash, if the password matches it.
    async fn compare(
        &self,
        password: &str,
        user: Option<User>,
        hash: Option<PasswordHash>,
    ) -> Result<Option<(User, PasswordHash)>, AccountsError> {
        let verdict = self.passwords.verify(password, hash.as_ref()).await?;
        let (Some(user), Some(hash)) = (user, hash) else { return Ok(None) };
        match verdict {
            Verdict::Wrong => Ok(None),
            Verdict::Right => Ok(Some((user, hash))),
            Verdict::RightRehashed(new) => {
                self.store.rehash(&user.id, &hash, &new).await?;
                Ok(Some((user, new)))
            }
        }
    }

    /// Remembers the user's network, so that strangers' attempts don't keep the user from signing in there.
    async fn note_place(&self, user: &User, address: IpAddr) {
        let place = Place::of(&user.id, network(address));
        if let Err(error) = self.store.note_place(&user.id, &place, self.now()).await {
            warn!(%error, user = %user.id, "can't store where a user signed in");
        }
    }

    /// The data of a session that begins now.
    pub fn begin_session(&self, user: &User, by: &Requester) -> SessionData {
        let now = self.now();
        let session = SessionData {
            user: user.id.clone(),
            epoch: user.epoch,
            since: now,
            until: now,
            address: by.address.to_string(),
            agent: by.agent.chars().filter(|it| !it.is_control()).take(AGENT_LENGTH).collect(),
        };
        SessionData { until: self.lasts(&session), ..session }
    }

    /// The session with a later end because it is used now; `None` if the difference is too small to be stored.
    pub fn extend_session(&self, session: &SessionData) -> Option<SessionData> {
        let until = self.lasts(session);
        let worth_it = until.millis_since(session.until) > self.settings.session_idle.as_millis() as i64 / 20;
        worth_it.then(|| SessionData { until, ..session.clone() })
    }

    fn lasts(&self, session: &SessionData) -> Timestamp {
        let idle = self.now().plus_millis(self.settings.session_idle.as_millis() as i64);
        idle.min(session.since.plus_millis(self.settings.session_lifetime.as_millis() as i64))
    }

    /// Authenticates a session.
    pub async fn by_session(&self, key: &SessionKey) -> Result<(Identity, User), AccountsError> {
        let session = self.store.session(key, self.now()).await?.ok_or(AccountsError::Unauthenticated)?;
        self.by_session_data(key, &session.data).await
    }

    /// Authenticates a session that has already been read.
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

    /// Authenticates a token that needs this scope. A valid one is never refused because of wrong ones from the same
    /// network.
    pub async fn by_token(&self, text: &str, scope: Scope, address: IpAddr) -> Result<(Identity, User), AccountsError> {
        let now = self.now();
        let token = match text.parse::<TokenText>() {
            Ok(token) => self.store.token(&token.hash()).await?,
            Err(_) => None,
        };
        let user = match &token {
            Some(token) => self.store.user(&token.user).await?.filter(|user| !user.disabled),
            None => None,
        };
        let concerned = token.as_ref().map(|token| token.user.clone());
        let token = token.filter(|token| token.ends_at(self.settings.token_lifetime) > now);
        let (Some(token), Some(user)) = (token, user) else {
            let tried = self.count_attempt(address);
            audit::refused("token_refused", concerned.as_ref(), address, &"unknown, expired, or of a disabled account");
            return Err(tried.err().unwrap_or(AccountsError::Unauthenticated));
        };
        if !token.scopes.contains(&scope) {
            audit::refused("token_refused", concerned.as_ref(), address, &format_args!("without the scope {scope}"));
            return Err(AccountsError::MissingScope(scope));
        }
        let noted = token.used_at.is_some_and(|at| now.millis_since(at) < USE_NOTED_EVERY.as_millis() as i64);
        if !noted && let Err(error) = self.store.note_use(&token.id, now).await {
            warn!(%error, "can't store when a token was used");
        }
        Ok((Identity::Token { user: user.id.clone(), token: token.id }, user))
    }

    /// The user, if the identity is still valid.
    pub async fn user_of(&self, identity: &Identity) -> Result<Option<User>, StoreError> {
        // The user is read first: a change between the two reads raises the revision.
        let user = self.store.user(identity.user()).await?.filter(|user| !user.disabled);
        let Some(user) = user else { return Ok(None) };
        let holds = match identity {
            Identity::Session { key, epoch, .. } => {
                *epoch == user.epoch && self.store.session(key, self.now()).await?.is_some()
            }
            Identity::Token { token, .. } => {
                let known = self.known(&[], &[], std::slice::from_ref(token)).await?;
                known.tokens.contains(token)
            }
        };
        Ok(holds.then_some(user))
    }

    /// Which of these still exist and have not expired.
    pub async fn known(
        &self,
        users: &[UserId],
        sessions: &[SessionKey],
        tokens: &[TokenId],
    ) -> Result<Known, StoreError> {
        let now = self.now();
        let oldest_token = now.plus_millis(-(self.settings.token_lifetime.as_millis() as i64));
        self.store.known(users, sessions, tokens, now, oldest_token).await
    }

    pub async fn sweep(&self) -> Result<u64, StoreError> {
        self.store.sweep(self.now()).await
    }

    /// Fails if nothing can be stored now.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        self.store.check_writable(self.now()).await
    }

    /// Counts a read of this user. Fails if there were too many.
    pub fn may_read(&self, user: &UserId) -> Result<(), AccountsError> {
        let taken = self.reads.take(user.clone(), Instant::now());
        taken.map_err(|retry_after| AccountsError::TooManyReads { retry_after })
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    pub(crate) fn rule_limits(&self) -> RuleLimits {
        self.settings.rules
    }

    pub(crate) fn may_change(&self, user: &UserId) -> Result<(), AccountsError> {
        allowed(self.changes.take(user.clone(), Instant::now()))
    }

    pub async fn set_regions(&self, user: &UserId, regions: &BTreeSet<Region>) -> Result<User, AccountsError> {
        self.may_change(user)?;
        self.store.set_regions(user, regions).await?.ok_or(AccountsError::Unauthenticated)
    }

    /// Ends all sessions of the user. Returns the changed user, for whom a new session may begin.
    pub async fn change_password(
        &self,
        user: &User,
        current: &str,
        new: &str,
        by: &Requester,
    ) -> Result<User, AccountsError> {
        self.may_change(&user.id)?;
        let hash = self.prove(user, current, by).await?;
        let new = Password::new(new, &user.name).map_err(|error| invalid("new_password")(&error))?;
        let new = self.passwords.hash(&new).await?;
        let changed = self.store.set_password(&user.id, Some(&hash), &new).await?;
        let changed = changed.ok_or(AccountsError::WrongPassword)?;
        audit::done("password_changed", &user.id, by, &"");
        Ok(changed)
    }

    /// The user's valid sessions.
    pub async fn sessions_of(&self, user: &User) -> Result<Vec<StoredSession>, AccountsError> {
        let mut sessions = self.store.sessions_of(&user.id, self.now()).await?;
        sessions.retain(|session| session.data.epoch == user.epoch);
        Ok(sessions)
    }

    pub async fn end_sessions(&self, user: &UserId, by: &Requester) -> Result<Changed, AccountsError> {
        let user = self.store.end_sessions(user).await?.ok_or(AccountsError::Unauthenticated)?;
        audit::done("signed_out_everywhere", &user.id, by, &"");
        Ok(Changed::from(&user))
    }

    /// Ends the session that the request came with.
    pub async fn end_session(&self, key: &SessionKey, by: &Requester) -> Result<Option<Changed>, AccountsError> {
        let ended = self.store.end_session(key).await?;
        if let Some(changed) = &ended {
            audit::done("signed_out", &changed.user, by, &"");
        }
        Ok(ended)
    }

    /// Ends one of the user's sessions, given its id.
    pub async fn end_session_of(&self, user: &User, id: &str, by: &Requester) -> Result<Changed, AccountsError> {
        self.may_change(&user.id)?;
        let sessions = self.sessions_of(user).await?;
        let session = sessions.iter().find(|it| it.key.as_str() == id).ok_or(AccountsError::UnknownSession)?;
        let changed = self.store.end_session(&session.key).await?.ok_or(AccountsError::UnknownSession)?;
        audit::done("session_ended", &user.id, by, &session.data.address);
        Ok(changed)
    }

    /// Deletes an account. `first` deletes what is kept elsewhere: if that fails, the account stays, and its user can try
    /// again.
    pub async fn delete<E: From<AccountsError>>(
        &self,
        user: &User,
        password: &str,
        by: &Requester,
        first: impl Future<Output = Result<(), E>>,
    ) -> Result<Changed, E> {
        self.may_change(&user.id)?;
        self.prove(user, password, by).await?;
        first.await?;
        self.store.delete_user(&user.id).await.map_err(AccountsError::from)?;
        audit::done("account_deleted", &user.id, by, &"");
        Ok(Changed::gone(&user.id))
    }

    /// Creates a token for these scopes that expires after `lasts`, and after the longest allowed time at the latest.
    pub async fn create_token(
        &self,
        user: &User,
        password: &str,
        name: &str,
        lasts: Option<Duration>,
        scopes: BTreeSet<Scope>,
        by: &Requester,
    ) -> Result<(Token, TokenText), AccountsError> {
        self.may_change(&user.id)?;
        let name: TokenName = name.parse().map_err(|error| invalid("name")(&error))?;
        self.prove(user, password, by).await?;
        let text = TokenText::random();
        let now = self.now();
        let lasts = lasts.unwrap_or(self.settings.token_lifetime).min(self.settings.token_lifetime);
        let token = NewToken {
            id: TokenId::random(),
            user: user.id.clone(),
            name,
            hash: text.hash(),
            created_at: now,
            expires_at: Some(now.plus_millis(lasts.as_millis() as i64)),
            scopes,
        };
        match self.store.create_token(&token, MOST_TOKENS).await {
            Ok(token) => {
                audit::done("token_created", &token.user, by, &token.id.as_str());
                Ok((token, text))
            }
            Err(CreateTokenError::TooMany) => Err(AccountsError::TooManyTokens),
            Err(CreateTokenError::Store(error)) => Err(error.into()),
        }
    }

    pub async fn tokens_of(&self, user: &UserId) -> Result<Vec<Token>, AccountsError> {
        Ok(self.store.tokens_of(user).await?)
    }

    /// When this token expires.
    pub fn end_of(&self, token: &Token) -> Timestamp {
        token.ends_at(self.settings.token_lifetime)
    }

    pub async fn revoke_token(&self, user: &UserId, token: &TokenId, by: &Requester) -> Result<Changed, AccountsError> {
        self.may_change(user)?;
        let changed = self.store.revoke_token(user, token).await?.ok_or(AccountsError::UnknownToken)?;
        audit::done("token_revoked", user, by, &token.as_str());
        Ok(changed)
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
