//! Users.

use std::{collections::BTreeSet, fmt};

use odds::{Region, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{password::PasswordHash, secret, user_name::UserName};

/// The random id of a user: never shown to others, never used again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(String);

impl UserId {
    pub fn random() -> Self {
        Self(secret::random_text::<16>())
    }

    /// The id with this text. There may be no such user.
    pub fn named(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub name: UserName,
    pub created_at: Timestamp,
    /// No sign-in, session or token is accepted.
    pub disabled: bool,
    /// Sessions of an earlier epoch are invalid.
    pub epoch: u64,
    /// Rises with every change that connections must know of: regions, password, ended sessions, revoked tokens.
    pub revision: u64,
    pub regions: BTreeSet<Region>,
    /// May see and do what operators may.
    pub is_operator: bool,
}

/// A changed account: its connections have to be checked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub user: UserId,
    pub revision: u64,
}

impl Changed {
    /// The account was deleted.
    pub(crate) fn gone(user: &UserId) -> Self {
        Self { user: user.clone(), revision: u64::MAX }
    }
}

impl From<&User> for Changed {
    fn from(user: &User) -> Self {
        Self { user: user.id.clone(), revision: user.revision }
    }
}

#[derive(Clone, Debug)]
pub struct NewUser {
    pub id: UserId,
    pub name: UserName,
    pub password: PasswordHash,
    pub regions: BTreeSet<Region>,
    pub created_at: Timestamp,
}
