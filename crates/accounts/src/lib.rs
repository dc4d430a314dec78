//! Users with their sessions, tokens and subscriptions; how they are authenticated; and the stores that keep them. This
//! crate uses neither HTTP nor Socket.IO.

mod accounts;
mod allowance;
mod audit;
mod mongo;
mod password;
mod secret;
mod session;
mod sqlite;
mod store;
mod token;
mod user;

pub use accounts::{AccountSettings, Accounts, AccountsError, Changed, Identity, network};
pub use allowance::Allowance;
pub use audit::Requester;
pub use password::{Busy, Password, PasswordHash, WeakPassword};
pub use secret::SecretHash;
pub use session::{SESSION_DATA, SessionData, SessionKey, Sessions, StoredSession};
pub use store::{
    CreateTokenError, CreateUserError, FAMILIAR_FOR, InvalidStore, Known, Place, Store, StoreError, StoreUrl,
};
pub use token::{InvalidTokenName, NewToken, Token, TokenId, TokenName, TokenText};
pub use user::{InvalidUserName, NewUser, User, UserId, UserName};
