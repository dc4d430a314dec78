//! Users with their sessions, tokens and subscriptions; how they are authenticated; and the stores that keep them. This
//! crate uses neither HTTP nor Socket.IO.

mod accounts;
mod addresses;
mod alerts;
mod allowance;
mod audit;
mod contacts;
mod mongo;
mod operator;
mod password;
mod rules;
mod secret;
mod session;
mod sessions;
mod sign_in_code;
mod sqlite;
mod store;
mod store_url;
mod token;
mod user;
mod user_name;

pub use accounts::{AccountSettings, Accounts, AccountsError, Identity, network};
pub use addresses::ContactChanges;
pub use alerts::{
    ALERTS_KEPT, ActiveRule, Alert, AlertContent, AlertRecord, AlertState, AlertStore, ChangeMark, ChangedRules,
    CreateRuleError, DecidedStep, Recorded, RuleLimits, Shard, ShardProgress, StoredRule, Unwatched,
};
pub use allowance::Allowance;
pub use audit::Requester;
pub use contacts::{Contact, ContactKind, ContactStore, Contacts, DayTime, InvalidQuietHours, QuietHours};
pub use operator::{Action, Actor, AuditEntry, OperatorStore};
pub use password::{Busy, Password, PasswordHash, WeakPassword};
pub use secret::SecretHash;
pub use session::{SessionData, SessionKey, StoredSession};
pub use sessions::{SESSION_DATA, Sessions};
pub use sign_in_code::SignInCode;
pub use store::{CreateTokenError, CreateUserError, FAMILIAR_FOR, Known, Place, Store, StoreError};
pub use store_url::{InvalidStore, StoreUrl};
pub use token::{InvalidTokenName, NewToken, Scope, Token, TokenId, TokenName, TokenText, UnknownScope};
pub use user::{Changed, NewUser, User, UserId};
pub use user_name::{InvalidUserName, UserName};
