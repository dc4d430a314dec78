//! Accounts with fixed tokens, for tests.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use accounts::{NewToken, NewUser, PasswordHash, Scope, Store, StoreUrl, TokenId, TokenText, UserId};

pub const NAME: &str = "guest";
pub const TOKEN: &str = "tb_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// The guest's token as a header.
pub const BEARER: (&str, &str) = ("authorization", "Bearer tb_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");

/// Another user's token.
pub const OTHER_TOKEN: &str = "tb_EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE";

/// Creates an account store in this folder, with a guest who has no password and follows no regions.
pub async fn store_with_guest(folder: &Path) -> Arc<dyn Store> {
    let store = StoreUrl::Sqlite(folder.join("accounts.db")).open().await.unwrap();
    add_user(&*store, NAME, TOKEN).await;
    store
}

/// Creates a user with this token, no password and no regions.
pub async fn add_user(store: &dyn Store, name: &str, token: &str) {
    let (id, at) = (UserId::named(name), service::now());
    let password = PasswordHash::stored("none");
    let name = name.parse().unwrap();
    let user = NewUser { id: id.clone(), name, password, regions: BTreeSet::new(), created_at: at };
    store.create_user(&user).await.unwrap();
    let hash = token.parse::<TokenText>().unwrap().hash();
    let (token, name) = (TokenId::random(), "tests".parse().unwrap());
    let token =
        NewToken { id: token, user: id, name, hash, created_at: at, expires_at: None, scopes: Scope::ALL.into() };
    store.create_token(&token, 1).await.unwrap();
}
