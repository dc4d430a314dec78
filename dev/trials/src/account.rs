//! An account like anybody's, at a gateway where registration is open.

use anyhow::Context;
use serde_json::{Value, json};

pub const PASSWORD: &str = "nine loud badgers";

/// A token of a new account.
pub async fn token(address: &str, name: &str) -> anyhow::Result<String> {
    let http = reqwest::Client::new();
    let origin = format!("http://{address}");
    let post = |path: &str, body: &Value| {
        let request = http.post(format!("{origin}{path}")).header("origin", &origin);
        request.header("content-type", "application/json").body(body.to_string())
    };
    let account = json!({ "name": name, "password": PASSWORD });
    let registered = post("/api/register", &account).send().await?.error_for_status()?;
    let cookie = registered.headers().get("set-cookie").context("no session")?.to_str()?;
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let made = post("/api/tokens", &account).header("cookie", cookie).send().await?;
    let made: Value = serde_json::from_str(&made.error_for_status()?.text().await?)?;
    Ok(made["token"].as_str().context("no token")?.to_owned())
}
