//! A code that signs a user in once, without a password. Whoever starts the program on their own machine gets it in a link.

use crate::{
    secret::{self, SecretHash},
    user::UserId,
};

#[derive(Debug)]
pub struct SignInCode {
    code: Secret,
    pub(crate) user: UserId,
}

/// Never printed with `{:?}`.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl SignInCode {
    pub fn for_user(user: &UserId) -> Self {
        Self { code: Secret(secret::random_text::<24>()), user: user.clone() }
    }

    pub fn reveal(&self) -> &str {
        &self.code.0
    }

    /// Compares hashes, so that the time that it takes tells nothing.
    pub(crate) fn is(&self, given: &str) -> bool {
        SecretHash::of(given.as_bytes()) == SecretHash::of(self.code.0.as_bytes())
    }
}
