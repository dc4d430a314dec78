//! Ordinary accounts, at a gateway with open registration.

use anyhow::Context;
use serde_json::{Value, json};

pub const PASSWORD: &str = "nine loud badgers";

/// Registers an account and returns a token for it.
pub async fn token(address: &str, name: &str) -> anyhow::Result<String> {
    let http = reqwest::Client::new();
    let origin = format!("http://{address}");
    let post = |path: &str, body: &Value| {
        let request = http.post(format!("{origin}{path}")).header("origin", &origin);
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
