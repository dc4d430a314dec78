//! Accounts of trials.

use std::collections::BTreeSet;

use accounts::{NewToken, NewUser, PasswordHash, Scope, Store, TokenId, TokenText, UserId};
use anyhow::Context;
use serde_json::{Value, json};

pub const PASSWORD: &str = "nine loud badgers";

/// Registers an account and returns a token for it.
pub async fn token(address: &str, name: &str) -> anyhow::Result<String> {
    token_at(&reqwest::Client::new(), &format!("http://{address}"), name).await
}

/// Registers an account at this origin and returns a token for it.
pub async fn token_at(http: &reqwest::Client, origin: &str, name: &str) -> anyhow::Result<String> {
    let post = |path: &str, body: &Value| {
        let request = http.post(format!("{origin}{path}")).header("origin", origin);
        request.header("content-type", "application/json").body(body.to_string())
    };
    let account = json!({ "name": name, "password": PASSWORD });
    let registered = post("/api/register", &account).send().await?.error_for_status()?;
    let cookie = registered.headers().get("set-cookie").context("the response sets no session cookie")?.to_str()?;
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let made = post("/api/tokens", &account).header("cookie", cookie).send().await?;
    let made: Value = serde_json::from_str(&made.error_for_status()?.text().await?)?;
    Ok(made["token"].as_str().context("the response has no token")?.to_owned())
}

/// Stores an account with a token that may produce. Returns both.
pub async fn producing_token(store: &dyn Store) -> anyhow::Result<(UserId, String)> {
    stored_token(store, "trial", [Scope::Produce].into()).await
}

/// Stores an operator with a token for that, and returns the token.
pub async fn operating_token(store: &dyn Store) -> anyhow::Result<String> {
    let (user, token) = stored_token(store, "operator", [Scope::Stream, Scope::Operator].into()).await?;
    store.set_operator(&user, true).await?.context("the account is gone")?;
    Ok(token)
}

async fn stored_token(store: &dyn Store, name: &str, scopes: BTreeSet<Scope>) -> anyhow::Result<(UserId, String)> {
    let (user, text, created_at) = (UserId::random(), TokenText::random(), service::now());
    let (name, password, regions) = (name.parse()?, PasswordHash::stored("none"), Default::default());
    store.create_user(&NewUser { id: user.clone(), name, password, regions, created_at }).await?;
    let (id, name, hash) = (TokenId::random(), "trial".parse()?, text.hash());
    let token = NewToken { id, user: user.clone(), name, hash, created_at, expires_at: None, scopes };
    store.create_token(&token, 10).await?;
    Ok((user, text.reveal().to_owned()))
}
