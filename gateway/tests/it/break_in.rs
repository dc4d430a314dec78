//! Attempts to get access without permission.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    browser::{Browser, PASSWORD, Socket, refusal},
    http,
    stage::{Running, Stage},
};

const OPEN: [&str; 2] = ["--registration=open", "--attempts-per-minute=100000"];

async fn gateway(settings: &[&str]) -> (Stage, Running) {
    let stage = Stage::set().await;
    let gateway = stage.starting("one", settings).await;
    (stage, gateway)
}

fn code(answer: &http::Answer) -> Value {
    answer.json()["error"]["code"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_session_is_never_signed_in() {
    let (_stage, gateway) = gateway(&OPEN).await;
    // An invented session, and one of the attacker's own.
    let mut attacker = Browser::new(&gateway.address);
    attacker.register("mallory").await;
    for planted in ["toteboard=AAAAAAAAAAAAAAAAAAAAAA".to_owned(), attacker.cookie.clone().unwrap()] {
        let mut victim = Browser { cookie: Some(planted.clone()), ..Browser::new(&gateway.address) };
        if victim.sign_in("victim", PASSWORD).await.status == 401 {
            victim.register("victim").await;
        }
        assert_ne!(victim.cookie.as_ref(), Some(&planted));
        assert_eq!(victim.get("/api/me").await.json()["name"], "victim");
        attacker.cookie = Some(planted);
        assert_eq!(attacker.get("/api/me").await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_pages_change_nothing() {
    let (_stage, gateway) = gateway(&OPEN).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    let (id, _) = anna.make_token("bot").await;
    let port = gateway.address.rsplit(':').next().unwrap();
    let elsewhere =
        [Some("https://evil.example"), Some("null"), None, Some(&*format!("http://127.0.0.1.evil.example:{port}"))]
            .map(|origin| origin.map(str::to_owned));
    for origin in elsewhere {
        let mut foreign = Browser { origin: origin.clone(), ..anna.clone() };
        let delete = format!("/api/tokens/{id}");
        for (method, path, body) in [
            ("PUT", "/api/subscriptions", Some(json!({ "regions": ["uk"] }))),
            ("POST", "/api/tokens", Some(json!({ "name": "mine", "password": PASSWORD }))),
            ("DELETE", "/api/sessions/x", None),
            ("PUT", "/api/password", Some(json!({ "current_password": PASSWORD, "new_password": PASSWORD }))),
            ("DELETE", "/api/me", Some(json!({ "password": PASSWORD }))),
            ("DELETE", &delete, None),
            ("POST", "/api/logout", None),
        ] {
            let body = body.map(|body| body.to_string());
            let answer = foreign.ask(method, path, body.as_deref()).await;
            assert_eq!(
                (answer.status, code(&answer)),
                (403, json!("forbidden_origin")),
                "{method} {path} from {origin:?}"
            );
        }
        assert_eq!(refusal(foreign.socket(None).await), "forbidden_origin", "{origin:?}");
    }
    // Another page can't sign a user in to another account, either.
    let mut foreign = Browser { origin: Some("https://evil.example".into()), ..Browser::new(&gateway.address) };
    assert_eq!(code(&foreign.sign_in("anna", PASSWORD).await), "forbidden_origin");
    // Nothing has changed.
    assert_eq!(anna.get("/api/subscriptions").await.json()["regions"], json!([]));
    assert_eq!(anna.get("/api/tokens").await.json().as_array().unwrap().len(), 1);
    let localhost = Browser { origin: Some(format!("http://localhost:{port}")), ..anna.clone() };
    localhost.socket(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_bodies_are_refused() {
    let (_stage, gateway) = gateway(&OPEN).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    let large = json!({ "name": "x".repeat(20_000), "password": PASSWORD }).to_string();
    for (body, status) in [("{", 400), ("", 400), ("[]", 422), ("null", 422), (&*large, 413), ("{\"name", 400)] {
        for (method, path) in [
            ("POST", "/api/login"),
            ("POST", "/api/register"),
            ("POST", "/api/tokens"),
            ("PUT", "/api/subscriptions"),
            ("PUT", "/api/password"),
            ("DELETE", "/api/me"),
        ] {
            let answer = anna.ask(method, path, Some(body)).await;
            assert_eq!(answer.status, status, "{method} {path} {body:.20}");
            assert!(answer.json()["error"]["message"].is_string());
        }
    }
    let form = format!(
        "POST /api/login HTTP/1.1\r\nhost: {0}\r\nconnection: close\r\norigin: http://{0}\r\n\
         content-type: text/plain\r\ncontent-length: 2\r\n\r\n{{}}",
        gateway.address
    );
    assert_eq!(http::send(&gateway.address, form.as_bytes()).await.status, 415);
}

/// Values that a database could interpret as query operators.
#[tokio::test(flavor = "multi_thread")]
async fn operators_are_no_texts() {
    let (_stage, gateway) = gateway(&OPEN).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    for operator in [json!({ "$ne": null }), json!({ "$gt": "" }), json!(["anna"]), json!(1), json!(null), json!(true)]
    {
        for (method, path, body) in [
            ("POST", "/api/login", json!({ "name": operator, "password": PASSWORD })),
            ("POST", "/api/login", json!({ "name": "anna", "password": operator })),
            ("POST", "/api/register", json!({ "name": operator, "password": PASSWORD })),
            ("POST", "/api/register", json!({ "name": "bert", "password": operator })),
            ("POST", "/api/tokens", json!({ "name": operator, "password": PASSWORD })),
            ("POST", "/api/tokens", json!({ "name": "bot", "password": operator })),
            ("PUT", "/api/subscriptions", json!({ "regions": operator })),
            ("PUT", "/api/subscriptions", json!({ "regions": [operator] })),
            ("PUT", "/api/password", json!({ "current_password": operator, "new_password": PASSWORD })),
            ("PUT", "/api/password", json!({ "current_password": PASSWORD, "new_password": operator })),
            ("DELETE", "/api/me", json!({ "password": operator })),
        ] {
            let answer = anna.ask(method, path, Some(&body.to_string())).await;
            assert_eq!(answer.status, 422, "{method} {path} {body}");
        }
        let joined = anna.socket_with(None, json!({ "token": operator })).await;
        // Null is no token, so the session is used.
        assert!(operator.is_null() && joined.is_ok() || refusal(joined) == "bad_auth", "{operator}");
    }
    for name in ["{\"$ne\":null}", "$where", "anna'--", "' OR 1=1 --"] {
        assert_eq!(anna.sign_in(name, PASSWORD).await.status, 401, "{name}");
    }
    let strange = anna.delete("/api/tokens/%7B%22$ne%22:null%7D").await;
    assert_eq!(strange.status, 404);
}

/// An unknown name and a wrong password get the same response after the same work.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_account_is_not_told() {
    let (_stage, gateway) = gateway(&OPEN).await;
    Browser::new(&gateway.address).register("anna").await;
    let mut stranger = Browser::new(&gateway.address);
    for (name, whose) in [("anna", "taken"), ("bert", "unknown"), ("<none>", "invalid")] {
        let hashed = || gateway.metric("toteboard_gateway_passwords_hashed_total");
        let before = hashed();
        let answer = stranger.sign_in(name, "a wrong password").await;
        assert_eq!((answer.status, code(&answer)), (401, json!("wrong_credentials")), "{whose}");
        assert_eq!(answer.json()["error"]["message"], "unknown name or wrong password", "{whose}");
        assert_eq!(hashed() - before, 1.0, "{whose}");
    }
}

/// Guesses from 130 networks, which is more than an account allows unknown networks. Returns how many passwords were
/// compared.
async fn guess_from_everywhere(gateway: &Running) -> usize {
    let mut compared = 0;
    for n in 0..130 {
        let mut guesser = Browser::new(&gateway.address).at(&format!("198.51.{n}.100"));
        compared += usize::from(guesser.sign_in("anna", "a wrong password").await.status == 401);
    }
    compared
}

/// Guessing passwords is slow from any address, and does not lock their owner out.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slow_and_keeps_nobody_out() {
    let settings = ["--registration=open", "--attempts-per-minute=20", "--trusted-proxy=127.0.0.1"];
    let (stage, gateway) = gateway(&settings).await;
    let mut anna = Browser::new(&gateway.address).at("203.0.113.1");
    anna.register("anna").await;
    // One address has a limit for all names together.
    let mut guesser = Browser::new(&gateway.address).at("192.0.2.1");
    let mut answers = Vec::new();
    for n in 0..25 {
        answers.push(guesser.sign_in(&format!("user.{n}"), "a wrong password").await);
    }
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!((3..=5).contains(&refused.len()), "{}", refused.len());
    let wait: u64 = refused[0].headers["retry-after"].parse().unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    // One address has a lower limit for one account.
    let mut guesser = Browser::new(&gateway.address).at("192.0.2.2");
    let mut tried = 0;
    for _ in 0..15 {
        tried += usize::from(guesser.sign_in("anna", "a wrong password").await.status == 401);
    }
    assert_eq!(tried, 10);
    // One account has a limit for all addresses together, which includes the attempts above.
    assert!((90..=93).contains(&guess_from_everywhere(&gateway).await));
    // She has to wait at a new address, but not at one that she has signed in from.
    let mut abroad = Browser::new(&gateway.address).at("192.0.2.77");
    assert_eq!(abroad.sign_in("anna", PASSWORD).await.status, 429);
    assert_eq!(anna.sign_in("anna", PASSWORD).await.status, 200);
    // A client can't claim another address: only the proxy is trusted.
    let mut liar = Browser::new(&gateway.address).at("203.0.113.1, 192.0.2.1");
    assert_eq!(liar.sign_in("anna", PASSWORD).await.status, 429);

    // Another gateway, or this one after a restart, also knows her address.
    let other = stage.starting("two", &settings).await;
    assert!((100..=103).contains(&guess_from_everywhere(&other).await));
    let mut abroad = Browser::new(&other.address).at("192.0.2.77");
    assert_eq!(abroad.sign_in("anna", PASSWORD).await.status, 429);
    let mut usual = Browser::new(&other.address).at("203.0.113.99");
    assert_eq!(usual.sign_in("anna", PASSWORD).await.status, 429, "another address there");
    let mut usual = Browser::new(&other.address).at("203.0.113.1");
    assert_eq!(usual.sign_in("anna", PASSWORD).await.status, 200);
    // A signed-in user can change the password from any address.
    usual.behind = Some("192.0.2.77".into());
    let new = json!({ "current_password": PASSWORD, "new_password": "an unlikely sequence of words" });
    assert_eq!(usual.ask("PUT", "/api/password", Some(&new.to_string())).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_guessed_slowly() {
    let (_stage, gateway) = gateway(&["--attempts-per-minute=20", "--trusted-proxy=127.0.0.1"]).await;
    let guess = |n: usize| format!("Bearer tb_{n:0>43}");
    let mut refused = 0;
    for n in 0..30 {
        let headers = [("authorization", &*guess(n)), ("x-forwarded-for", "198.51.100.1")];
        let answer = http::get(&gateway.address, "/api/me", &headers).await;
        assert!([401, 429].contains(&answer.status));
        refused += usize::from(answer.status == 429);
    }
    assert!(refused >= 8, "{refused}");
    let from = async |address| {
        let headers = [crate::guest::BEARER, ("x-forwarded-for", address)];
        http::get(&gateway.address, "/api/me", &headers).await.status
    };
    assert_eq!(from("198.51.100.1").await, 200, "a valid token is never refused because of others");
    let socket = Browser::new(&gateway.address).at("198.51.100.1");
    assert!(socket.socket_with(None, json!({ "token": crate::guest::TOKEN })).await.is_ok());
    let joined = socket.socket_with(None, json!({ "token": format!("tb_{:0>43}", 7) })).await;
    assert_eq!(refusal(joined), "too_many_attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_somebody_elses_is_not_there() {
    let (_stage, gateway) = gateway(&OPEN).await;
    let (mut anna, mut bert) = (Browser::new(&gateway.address), Browser::new(&gateway.address));
    anna.register("anna").await;
    bert.register("bert").await;
    let (id, token) = anna.make_token("bot").await;
    assert_eq!(bert.get("/api/tokens").await.json(), json!([]));
    assert_eq!(bert.delete(&format!("/api/tokens/{id}")).await.status, 404);
    let session = anna.get("/api/sessions").await.json()[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(bert.delete(&format!("/api/sessions/{session}")).await.status, 404);
    assert_eq!(anna.get("/api/me").await.status, 200);
    bert.put("/api/subscriptions", &json!({ "regions": ["uk"] })).await;
    assert_eq!(anna.get("/api/subscriptions").await.json()["regions"], json!([]));
    let mut bot = Socket::with_token(&gateway.address, &token).await.unwrap();
    bot.comes_to(&[]).await;
    bert.ask("POST", "/api/logout?everywhere=true", None).await;
    bot.is_alive().await;
    // Without sign-in, nothing can be read.
    let mut stranger = Browser::new(&gateway.address);
    for path in ["/api/me", "/api/subscriptions", "/api/tokens", "/api/sessions", "/api/regions", "/api/odds/uk"] {
        assert_eq!(stranger.get(path).await.status, 401, "{path}");
    }
}

/// If a proxy publishes a private gateway, its requests are refused with an explanation.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_gateway_is_not_published_by_accident() {
    let (_stage, open) = gateway(&OPEN).await;
    let proxied = [("x-forwarded-for", "192.0.2.1")];
    let refused = http::get(&open.address, "/api/site", &proxied).await;
    assert_eq!((refused.status, code(&refused)), (403, json!("not_public")));
    assert_eq!(http::get(&open.address, "/socket.io/?EIO=4&transport=polling", &proxied).await.status, 403);
    let old = format!("GET /api/site HTTP/1.0\r\nhost: {}\r\n\r\n", open.address);
    assert_eq!(http::send(&open.address, old.as_bytes()).await.status, 403, "as nginx sends it");
    let other = "GET /api/site HTTP/1.1\r\nhost: odds.example.com\r\nconnection: close\r\n\r\n";
    assert_eq!(http::send(&open.address, other.as_bytes()).await.status, 403);
    assert_eq!(http::get(&open.address, "/api/site", &[]).await.status, 200);

    let public = ["--registration=open", "--public-origin=https://odds.example.com", "--trusted-proxy=127.0.0.1"];
    for settings in [&public[..], &["--registration=closed"]] {
        let (_stage, gateway) = gateway(settings).await;
        assert_eq!(http::get(&gateway.address, "/api/site", &proxied).await.status, 200, "{settings:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_only_the_pages_own_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<title>Toteboard</title>").unwrap();
    let (_stage, gateway) = gateway(&["--page", folder.path().to_str().unwrap()]).await;
    for (path, status) in [
        ("/", 200),
        ("/index.html", 200),
        ("/event/1a", 200),
        ("/settings", 200),
        ("/nothing", 404),
        ("/assets/x.js", 404),
        ("/../x", 404),
    ] {
        let answer = http::get(&gateway.address, path, &[]).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.headers.contains_key("content-security-policy"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_browsers_to_be_careful() {
    let (_stage, gateway) = gateway(&["--public-origin=https://odds.example.com", "--registration=open"]).await;
    let mut anna = Browser { origin: Some("https://odds.example.com".into()), ..Browser::new(&gateway.address) };
    let polling = "/socket.io/?EIO=4&transport=polling";
    for path in ["/api/site", "/api/me", "/api/docs/", "/nothing", polling, "/socket.io/?EIO=4&transport=x&sid=y"] {
        let answer = anna.get(path).await;
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.split(';').any(|it| it.contains("script-src") && it.contains("unsafe-inline")), "{policy}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert!(answer.headers["strict-transport-security"].contains("max-age="));
    }
    let made = anna.post("/api/register", &json!({ "name": "anna", "password": PASSWORD })).await;
    let cookie = &made.headers["set-cookie"];
    assert!(cookie.starts_with("__Host-toteboard=") && cookie.contains("Secure"), "{cookie}");
    assert_eq!(anna.get("/api/me").await.headers["cache-control"], "no-store");
    let local = Browser::new(&gateway.address).sign_in("anna", PASSWORD).await;
    assert_eq!(code(&local), "forbidden_origin", "only the public origin counts, where there is one");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_user_there_are_only_so_many_sockets() {
    let (_stage, gateway) = gateway(&["--registration=open", "--max-connections-per-user=2"]).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    let first = anna.socket(None).await.unwrap();
    let _second = anna.socket(None).await.unwrap();
    assert_eq!(refusal(anna.socket(None).await), "too_many_connections");
    drop(first);
    crate::stage::until("a place is free again", async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        anna.socket(None).await.is_ok()
    })
    .await;
}
