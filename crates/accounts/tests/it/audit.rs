//! What the audit log contains, and what it must never contain.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use accounts::{AccountSettings, Accounts, AccountsError, Requester, Scope, StoreUrl};
use odds::Timestamp;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

const PASSWORD: &str = "seven wet badgers";
const WRONG: &str = "eight dry badgers";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// The newest line.
    fn last(&self) -> String {
        let bytes = self.0.lock().unwrap();
        String::from_utf8_lossy(&bytes).lines().last().unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn who_did_what_from_where_is_logged_and_no_secret_is() {
    let lines = Lines::default();
    let logger = || tracing_subscriber::fmt().with_env_filter(EnvFilter::new("audit=info")).with_ansi(false);
    // Whether a line is logged at all is decided when it is first reached, also by another test's thread.
    tracing::subscriber::set_global_default(logger().with_writer(std::io::sink).finish()).unwrap();
    let subscriber = logger().with_writer(lines.clone()).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let folder = tempfile::tempdir().unwrap();
    let store = StoreUrl::Sqlite(folder.path().join("accounts.db")).open().await.unwrap();
    let settings = AccountSettings { registration: true, ..Default::default() };
    let accounts = Accounts::new(store, settings, || Timestamp::from_millis(1_000));
    let by = Requester { address: "192.0.2.7".parse().unwrap(), agent: "a browser".into() };
    let assert_logged = |event: &str, about: &str| {
        let line = lines.last();
        assert!(line.contains(event) && line.contains("192.0.2.7") && line.contains(about), "{event}: {line}");
    };

    let anna = accounts.register("anna", PASSWORD, &by).await.unwrap();
    assert_logged("registered", anna.id.as_str());
    accounts.sign_in("anna", PASSWORD, &by).await.unwrap();
    assert_logged("signed_in", anna.id.as_str());
    accounts.sign_in("anna", WRONG, &by).await.unwrap_err();
    assert_logged("sign_in_refused", anna.id.as_str());
    // A password typed into the wrong field.
    accounts.sign_in("tuesday-7-badgers", WRONG, &by).await.unwrap_err();
    assert_logged("sign_in_refused", "unknown");
    let (token, text) = accounts.create_token(&anna, PASSWORD, "bot", None, [Scope::Stream].into(), &by).await.unwrap();
    assert_logged("token_created", token.id.as_str());
    accounts.create_token(&anna, WRONG, "bot", None, [Scope::Stream].into(), &by).await.unwrap_err();
    assert_logged("password_refused", anna.id.as_str());
    accounts.revoke_token(&anna.id, &token.id, &by).await.unwrap();
    assert_logged("token_revoked", token.id.as_str());
    accounts.by_token(text.reveal(), Scope::Stream, by.address).await.unwrap_err();
    assert_logged("token_refused", "unknown");
    accounts.change_password(&anna, PASSWORD, "nine loud badgers", &by).await.unwrap();
    assert_logged("password_changed", anna.id.as_str());
    accounts.end_sessions(&anna.id, &by).await.unwrap();
    assert_logged("signed_out_everywhere", anna.id.as_str());
    accounts.delete(&anna, "nine loud badgers", &by, async { Ok::<_, AccountsError>(()) }).await.unwrap();
    assert_logged("account_deleted", anna.id.as_str());

    let all = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for secret in [PASSWORD, WRONG, "nine loud", "tuesday", text.reveal()] {
        assert!(!all.contains(secret), "{secret} is in the log");
    }
}
