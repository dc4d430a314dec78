//! An account whose token every test knows.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use accounts::{NewToken, NewUser, PasswordHash, Store, StoreUrl, TokenId, TokenText, UserId};
use odds::Timestamp;

pub const NAME: &str = "guest";
pub const TOKEN: &str = "tb_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// As a header.
pub const BEARER: (&str, &str) = ("authorization", "Bearer tb_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");

/// A store of accounts in this folder, with a guest who has no password and wants no regions.
pub async fn store_with_guest(folder: &Path) -> Arc<dyn Store> {
    let store = StoreUrl::Sqlite(folder.join("accounts.db")).open().await.unwrap();
    let (id, at) = (UserId::named(NAME), Timestamp::from_millis(0));
    let password = PasswordHash::stored("none");
    let name = NAME.parse().unwrap();
    let user = NewUser { id: id.clone(), name, password, regions: BTreeSet::new(), created_at: at };
    store.create_user(&user).await.unwrap();
    let hash = TOKEN.parse::<TokenText>().unwrap().hash();
    let token = NewToken { id: TokenId::random(), user: id, name: "tests".parse().unwrap(), hash, created_at: at };
    store.create_token(&token, 1).await.unwrap();
    store
}
