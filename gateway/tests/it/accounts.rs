//! Tests of accounts from outside: what people and programs do, and how it affects sockets at all gateways.

use std::collections::BTreeSet;

use accounts::{Identity, SessionKey, StoreUrl};
use client::MirrorUpdate;
use gateway::UserCommand;
use odds::{Region, Timestamp};
use serde_json::{Value, json};

use crate::{
    browser::{Browser, PASSWORD, Socket, refusal},
    http,
    stage::{Running, Stage, until},
};

const OPEN: [&str; 3] = ["--registration=open", "--attempts-per-minute=100000", "--recheck=1"];

async fn two_gateways() -> (Stage, Running, Running) {
    let stage = Stage::set().await;
    let one = stage.starting("one", &OPEN).await;
    let other = stage.starting("other", &OPEN).await;
    one.is_ready().await;
    other.is_ready().await;
    (stage, one, other)
}

async fn one_gateway(settings: &[&str]) -> (Stage, Running) {
    let stage = Stage::set().await;
    let gateway = stage.starting("one", &[&OPEN, settings].concat()).await;
    (stage, gateway)
}

fn regions(answer: &http::Answer) -> Value {
    assert_eq!(answer.status, 200);
    answer.json()["regions"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_register_sign_in_and_out() {
    let (_stage, gateway) = one_gateway(&[]).await;
    let mut anna = Browser::new(&gateway.address);
    assert_eq!(anna.get("/api/site").await.json()["registration"], "open");
    assert_eq!(anna.get("/api/me").await.status, 401);
    let made = anna.post("/api/register", &json!({ "name": "Anna@example.com", "password": PASSWORD })).await;
    assert_eq!((made.status, made.json()["name"].as_str()), (201, Some("Anna@example.com")));
    let cookie = &made.headers["set-cookie"];
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert_eq!(anna.get("/api/me").await.json()["name"], "Anna@example.com");
    assert_eq!(anna.ask("POST", "/api/logout", None).await.status, 204);
    assert_eq!(anna.cookie, None);
    assert_eq!(anna.get("/api/me").await.status, 401);
    assert_eq!(anna.sign_in("anna@EXAMPLE.com", "not her password").await.status, 401);
    assert_eq!(anna.sign_in("anna@EXAMPLE.com", PASSWORD).await.status, 200);
    assert_eq!(anna.get("/api/me").await.status, 200);
    // Signing out without a session succeeds.
    assert_eq!(Browser::new(&gateway.address).ask("POST", "/api/logout", None).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_of_the_field() {
    let (_stage, gateway) = one_gateway(&[]).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    for (path, body, field, says) in [
        ("/api/register", json!({ "name": "x", "password": PASSWORD }), "name", "3 to 64"),
        ("/api/register", json!({ "name": "ANNA", "password": PASSWORD }), "name", "already taken"),
        ("/api/register", json!({ "name": "bert", "password": "short" }), "password", "at least 12"),
        ("/api/register", json!({ "name": "bert", "password": "password1234" }), "password", "easy to guess"),
        ("/api/register", json!({ "name": "bert" }), "body", "password"),
        ("/api/tokens", json!({ "name": "", "password": PASSWORD }), "name", "1 to 64"),
        (
            "/api/tokens",
            json!({ "name": "bot", "password": PASSWORD, "expires_in_days": 0 }),
            "expires_in_days",
            "1 or more",
        ),
    ] {
        let answer = anna.post(path, &body).await;
        assert_eq!(answer.status, 422, "{path} {body}");
        let error = &answer.json()["error"];
        assert_eq!(error["code"], "invalid");
        let reason = error["fields"][field].as_str().unwrap_or_else(|| panic!("{error}"));
        assert!(reason.contains(says), "{reason}");
    }
    let wanted = anna.put("/api/subscriptions", &json!({ "regions": ["uk", "mars"] })).await;
    assert!(wanted.json()["error"]["fields"]["regions"].as_str().unwrap().contains("mars"));
    let new = json!({ "current_password": PASSWORD, "new_password": "aaaaaaaaaaaaa" });
    let answer = anna.put("/api/password", &new).await;
    assert!(answer.json()["error"]["fields"]["new_password"].is_string());
}

/// One gateway notifies the other through Kafka; both read the change from the store.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_move_every_socket_everywhere() {
    let (_stage, one, other) = two_gateways().await;
    let mut anna = Browser::new(&one.address);
    anna.register("anna").await;
    let before = anna.get("/api/subscriptions").await;
    assert_eq!(regions(&before), json!([]));
    let mut here = anna.socket(None).await.unwrap();
    let mut there = anna_at(&other, &anna).await;
    let mut own = anna.socket_with(None, json!({ "regions": ["au"] })).await.unwrap();
    for socket in [&mut here, &mut there] {
        socket.comes_to(&[]).await;
    }
    own.comes_to(&["au"]).await;

    let began = tokio::time::Instant::now();
    let put = anna.put("/api/subscriptions", &json!({ "regions": ["eu", "uk", "eu"] })).await;
    assert_eq!(regions(&put), json!(["uk", "eu"]));
    for socket in [&mut here, &mut there] {
        socket.comes_to(&["uk", "eu"]).await;
    }
    println!("both gateways followed after {:?}", began.elapsed());
    // An older answer that arrives late is ignored.
    for socket in [&mut here, &mut there] {
        assert_eq!(socket.mirrors.take("subscriptions", &before.json().to_string()), MirrorUpdate::Nothing);
        assert_eq!(socket.mirrors.take("subscriptions", &put.json().to_string()), MirrorUpdate::Regions);
    }
    // A socket's `subscribe` has the same effect.
    there.client.ask("subscribe", &json!({ "regions": ["us"] })).await.unwrap();
    for socket in [&mut here, &mut there] {
        socket.comes_to(&["us"]).await;
    }
    assert_eq!(regions(&anna.get("/api/subscriptions").await), json!(["us"]));
    assert_eq!(regions(&anna.put("/api/subscriptions", &json!({ "regions": [] })).await), json!([]));
    here.comes_to(&[]).await;
    // A socket that chose its own regions keeps them and does not change the account's.
    own.client.ask("subscribe", &json!({ "regions": ["au", "us"] })).await.unwrap();
    own.comes_to(&["us", "au"]).await;
    assert_eq!(regions(&anna.get("/api/subscriptions").await), json!([]));
}

async fn anna_at(gateway: &Running, anna: &Browser) -> Socket {
    let there = Browser { origin: Some(format!("http://{}", gateway.address)), ..anna.clone() };
    there.socket(Some(&gateway.address)).await.unwrap()
}

/// As if a gateway had died between writing a change and sending its `control` message.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_told_is_found_all_the_same() {
    let (stage, gateway) = one_gateway(&[]).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    let mut socket = anna.socket(None).await.unwrap();
    socket.comes_to(&[]).await;
    let (user, _) = stage.store.user_and_password(&"anna".parse().unwrap()).await.unwrap().unwrap();
    stage.store.set_regions(&user.id, &BTreeSet::from([Region::Au])).await.unwrap();
    socket.comes_to(&["au"]).await;
    // The same for a session and a token that end without a message.
    let (_, token) = anna.make_token("bot").await;
    let mut bot = Socket::with_token(&gateway.address, &token).await.unwrap();
    bot.comes_to(&["au"]).await;
    let key = session_of(&anna);
    stage.store.end_session(&key).await.unwrap();
    assert_eq!(socket.ends().await.as_deref(), Some("signed_out"));
    bot.is_alive().await;
    let token = stage.store.tokens_of(&user.id).await.unwrap().remove(0);
    stage.store.revoke_token(&user.id, &token.id).await.unwrap();
    assert_eq!(bot.ends().await.as_deref(), Some("signed_out"));
}

fn session_of(browser: &Browser) -> SessionKey {
    SessionKey::of_cookie(browser.cookie.as_ref().unwrap().split_once('=').unwrap().1).unwrap()
}

/// Many changes at once, at both gateways, while new sockets connect: in the end, each socket has what is stored.
#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_end_with_what_is_stored() {
    let (_stage, one, other) = two_gateways().await;
    let mut anna = Browser::new(&one.address);
    anna.register("anna").await;
    let mut sockets = Vec::new();
    for n in 0..6 {
        let gateway = [&one, &other][n % 2];
        sockets.push(anna_at(gateway, &anna).await);
    }
    let sets: [&[&str]; 5] = [&["us"], &["uk", "eu"], &[], &["au", "us"], &["us", "uk", "eu", "au"]];
    let mut changing = tokio::task::JoinSet::new();
    for (n, set) in (0..20).zip(sets.into_iter().cycle()) {
        let gateway = [&one, &other][n % 2];
        let mut tab = Browser { address: gateway.address.clone(), ..anna.clone() };
        tab.origin = Some(format!("http://{}", gateway.address));
        changing.spawn(async move {
            let put = tab.put("/api/subscriptions", &json!({ "regions": set })).await;
            assert_eq!(put.status, 200);
            // A socket that connects during the changes.
            tab.socket(None).await.unwrap()
        });
    }
    while let Some(joined) = changing.join_next().await {
        sockets.push(joined.unwrap());
    }
    let stored = regions(&anna.get("/api/subscriptions").await);
    let stored: Vec<&str> = stored.as_array().unwrap().iter().map(|region| region.as_str().unwrap()).collect();
    for socket in &mut sockets {
        let shows = async {
            loop {
                let shown: Vec<&str> = socket.mirrors.regions.iter().map(|region| region.key()).collect();
                if shown == stored {
                    // Nothing else may follow.
                    if tokio::time::timeout(std::time::Duration::from_millis(300), next_regions(socket)).await.is_err()
                    {
                        return;
                    }
                } else {
                    next_regions(socket).await;
                }
            }
        };
        tokio::time::timeout(crate::stage::DEADLINE, shows).await.expect("it shows what is stored");
    }
}

async fn next_regions(socket: &mut Socket) {
    loop {
        if let client::ServerMessage::Event { name, payload } = socket.client.next().await.unwrap()
            && socket.mirrors.take(&name, &payload) == client::MirrorUpdate::Regions
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_socket_outlives_what_let_it_in() {
    let (stage, one, other) = two_gateways().await;
    let mut anna = Browser::new(&one.address);
    anna.register("anna").await;
    let (token_id, token) = anna.make_token("bot").await;
    let signed_out = Some("signed_out".to_owned());

    // Signing out ends the session's sockets at both gateways, and no others.
    let mut phone = Browser::new(&one.address);
    phone.sign_in("anna", PASSWORD).await;
    let (mut here, mut there) = (anna.socket(None).await.unwrap(), anna_at(&other, &anna).await);
    let mut on_phone = anna_at(&other, &phone).await;
    let mut bot = Socket::with_token(&other.address, &token).await.unwrap();
    anna.ask("POST", "/api/logout", None).await;
    assert_eq!(here.ends().await, signed_out);
    assert_eq!(there.ends().await, signed_out);
    on_phone.is_alive().await;
    bot.is_alive().await;

    // Signing out everywhere ends all sessions, but no tokens.
    anna.sign_in("anna", PASSWORD).await;
    let mut here = anna.socket(None).await.unwrap();
    assert_eq!(anna.ask("POST", "/api/logout?everywhere=true", None).await.status, 204);
    assert_eq!(here.ends().await, signed_out);
    assert_eq!(on_phone.ends().await, signed_out);
    assert_eq!(phone.get("/api/me").await.status, 401);
    bot.is_alive().await;

    // So does a new password, but the browser that changed it gets a new session.
    anna.sign_in("anna", PASSWORD).await;
    phone.sign_in("anna", PASSWORD).await;
    let mut on_phone = anna_at(&other, &phone).await;
    let before = anna.cookie.clone();
    let wrong = json!({ "current_password": "not the password", "new_password": "eight dry badgers" });
    assert_eq!(anna.put("/api/password", &wrong).await.json()["error"]["code"], "wrong_password");
    let new = json!({ "current_password": PASSWORD, "new_password": "eight dry badgers" });
    assert_eq!(anna.put("/api/password", &new).await.status, 204);
    assert_eq!(on_phone.ends().await, signed_out);
    assert_ne!(anna.cookie, before);
    assert_eq!(anna.get("/api/me").await.status, 200);
    assert_eq!(phone.sign_in("anna", PASSWORD).await.status, 401);
    bot.is_alive().await;

    // Revoking a token ends its sockets, even one that reads nothing any more.
    let mut stalled = stalled_socket(&other.address, &token).await;
    let deleted = anna.delete(&format!("/api/tokens/{token_id}")).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(bot.ends().await, signed_out);
    until("the stalled one is cut off", async || is_cut(&mut stalled).await).await;
    assert_eq!(refusal(Socket::with_token(&one.address, &token).await), "unauthenticated");

    // Disabling or deleting an account ends its sockets.
    let mut here = anna.socket(None).await.unwrap();
    operator(&stage, UserCommand::Disable { name: "anna".into() }).await.unwrap();
    assert_eq!(here.ends().await, signed_out);
    assert_eq!(anna.sign_in("anna", "eight dry badgers").await.json()["error"]["code"], "disabled");
    operator(&stage, UserCommand::Enable { name: "anna".into() }).await.unwrap();
    assert_eq!(anna.sign_in("anna", "eight dry badgers").await.status, 200);
    let mut there = anna_at(&other, &anna).await;
    let body = json!({ "password": "eight dry badgers" }).to_string();
    assert_eq!(anna.ask("DELETE", "/api/me", Some(&body)).await.status, 204);
    assert_eq!(there.ends().await, signed_out);
    assert_eq!(anna.sign_in("anna", "eight dry badgers").await.status, 401);
}

/// Opens a websocket that doesn't read, and fills its buffers.
async fn stalled_socket(address: &str, token: &str) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\n\
         connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // A client's frames are masked; a mask of zeros leaves the text unchanged.
    let hello = format!("40{}", json!({ "token": token }));
    let frame = |text: &str| [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text.as_bytes()].concat();
    stream.write_all(&frame(&hello)).await.unwrap();
    for _ in 0..40 {
        // None of the answers is read.
        stream.write_all(&frame("421[\"resync\",{\"region\":\"none\"}]")).await.unwrap();
    }
    stream
}

async fn is_cut(stream: &mut tokio::net::TcpStream) -> bool {
    use tokio::io::AsyncReadExt;
    let mut buffer = [0; 65_536];
    loop {
        match tokio::time::timeout(std::time::Duration::from_millis(50), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
            Err(_) => return false,
        }
    }
}

async fn operator(stage: &Stage, command: UserCommand) -> anyhow::Result<String> {
    use clap::Parser;
    #[derive(Parser)]
    struct Settings {
        #[command(flatten)]
        accounts: gateway::AccountArgs,
    }
    let settings = Settings::try_parse_from(["gateway"]).unwrap().accounts;
    let mut out = Vec::new();
    command.execute(stage.store.clone(), &settings, service::now, &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_accounts_where_registration_is_closed() {
    let stage = Stage::set().await;
    let gateway = stage.starting("one", &[]).await;
    let mut anna = Browser::new(&gateway.address);
    assert_eq!(anna.get("/api/site").await.json()["registration"], "closed");
    let refused = anna.post("/api/register", &json!({ "name": "anna", "password": PASSWORD })).await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (403, Some("registration_closed")));

    let create = || UserCommand::Create { name: "anna".into(), password_stdin: false };
    let printed = operator(&stage, create()).await.unwrap();
    let password = printed.lines().find_map(|line| line.strip_prefix("password: ")).unwrap();
    assert_eq!(anna.sign_in("anna", password).await.status, 200);
    assert!(operator(&stage, create()).await.unwrap_err().to_string().contains("already taken"));

    let printed = operator(&stage, UserCommand::ResetPassword { name: "Anna".into(), password_stdin: false }).await;
    let printed = printed.unwrap();
    let another = printed.lines().find_map(|line| line.strip_prefix("password: ")).unwrap();
    assert_eq!(anna.get("/api/me").await.status, 401, "her session is over");
    assert_eq!(anna.sign_in("anna", password).await.status, 401);
    assert_eq!(anna.sign_in("anna", another).await.status, 200);
    let listed = operator(&stage, UserCommand::List).await.unwrap();
    assert!(listed.lines().any(|line| line.starts_with("anna\tactive\t")), "{listed}");
    let error = operator(&stage, UserCommand::Disable { name: "bert".into() }).await.unwrap_err();
    assert!(error.to_string().contains("no account is named \"bert\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_shown_once_and_listed_with_their_use() {
    let (stage, gateway) = one_gateway(&[]).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    let (id, token) = anna.make_token("my bot").await;
    let listed = anna.get("/api/tokens").await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(&token));
    let listed = listed.json();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["name"], &listed[0]["used_at"]),
        (&json!(id), &json!("my bot"), &Value::Null)
    );
    let bearer = format!("Bearer {token}");
    let me = http::get(&gateway.address, "/api/me", &[("authorization", &bearer)]).await;
    assert_eq!(me.json()["name"], "anna");
    assert!(anna.get("/api/tokens").await.json()[0]["used_at"].is_string());
    for (path, status) in [("/api/subscriptions", 200), ("/api/regions", 200), ("/api/tokens", 403)] {
        let answer = http::get(&gateway.address, path, &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, status, "{path}");
    }
    // The store doesn't have the secret.
    let (user, _) = stage.store.user_and_password(&"anna".parse().unwrap()).await.unwrap().unwrap();
    let stored = stage.store.tokens_of(&user.id).await.unwrap();
    assert!(!format!("{stored:?}").contains(&token[3..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_needs_the_password_and_ends() {
    let (stage, gateway) = one_gateway(&["--token-lifetime=30"]).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    for (body, status) in [
        (json!({ "name": "bot" }), 422),
        (json!({ "name": "bot", "password": "another good guess" }), 403),
        (json!({ "name": "bot", "password": PASSWORD, "expires_in_days": 90 }), 201),
        (json!({ "name": "short", "password": PASSWORD, "expires_in_days": 1 }), 201),
    ] {
        assert_eq!(anna.post("/api/tokens", &body).await.status, status, "{body}");
    }
    let listed = anna.get("/api/tokens").await.json();
    let lasts = |at: usize| {
        let time = |field: &str| serde_json::from_value::<Timestamp>(listed[at][field].clone()).unwrap();
        time("expires_at").millis_since(time("created_at")) / (24 * 3_600_000)
    };
    assert_eq!((lasts(0), lasts(1)), (30, 1), "never longer than any token may last");

    // An expired token is refused, and its socket ends.
    let (user, _) = stage.store.user_and_password(&"anna".parse().unwrap()).await.unwrap().unwrap();
    let text = accounts::TokenText::random();
    let now = service::now();
    let new = accounts::NewToken {
        id: accounts::TokenId::random(),
        user: user.id,
        name: "soon".parse().unwrap(),
        hash: text.hash(),
        created_at: now,
        expires_at: Some(now.plus_millis(3_000)),
        scopes: [accounts::Scope::Stream].into(),
    };
    stage.store.create_token(&new, 50).await.unwrap();
    let mut bot = Socket::with_token(&gateway.address, text.reveal()).await.unwrap();
    assert_eq!(bot.ends().await.as_deref(), Some("signed_out"));
    let bearer = format!("Bearer {}", text.reveal());
    assert_eq!(http::get(&gateway.address, "/api/me", &[("authorization", &bearer)]).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_one_by_one() {
    let (_stage, gateway) = one_gateway(&[]).await;
    let (mut phone, mut desk) = (Browser::new(&gateway.address), Browser::new(&gateway.address));
    phone.register("anna").await;
    assert_eq!(desk.sign_in("anna", PASSWORD).await.status, 200);
    let listed = desk.get("/api/sessions").await.json();
    let current: Vec<&Value> = listed.as_array().unwrap().iter().map(|it| &it["current"]).collect();
    assert_eq!(current, [&json!(false), &json!(true)]);
    assert_eq!(listed[0]["address"], "127.0.0.1");
    let mut socket = phone.socket(None).await.unwrap();
    socket.is_alive().await;
    let other = format!("/api/sessions/{}", listed[0]["id"].as_str().unwrap());
    assert_eq!(desk.delete(&other).await.status, 204);
    assert_eq!(phone.get("/api/me").await.status, 401);
    assert_eq!(socket.ends().await.as_deref(), Some("signed_out"));
    assert_eq!(desk.delete(&other).await.status, 404);
    assert_eq!(desk.get("/api/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_learn_the_version() {
    let (_stage, gateway) = one_gateway(&[]).await;
    let mut anna = Browser::new(&gateway.address);
    assert_eq!(anna.get("/api/site").await.json()["version"], Value::Null);
    anna.register("anna").await;
    assert!(anna.get("/api/site").await.json()["version"].is_string());
    let document = anna.get("/api/openapi.json").await.json();
    assert_ne!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_user_reads_is_limited() {
    let (_stage, gateway) = one_gateway(&[]).await;
    let (mut anna, mut bert) = (Browser::new(&gateway.address), Browser::new(&gateway.address));
    anna.register("anna").await;
    bert.register("bert").await;
    let mut refused = None;
    for _ in 0..5_000 {
        let answer = anna.get("/api/me").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("there is a limit");
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("too_many_requests")));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(bert.get("/api/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lasts_while_it_is_used_and_no_longer() {
    let (stage, gateway) = one_gateway(&["--session-idle=1", "--session-lifetime=2"]).await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    let key = session_of(&anna);
    let now = service::now();
    let stored = async || stage.store.session(&key, Timestamp::from_millis(0)).await.unwrap().unwrap();
    let mut session = stored().await;
    assert!((3_590_000..=3_600_000).contains(&session.data.until.millis_since(now)));
    // If it is used half an hour later, it lasts an hour from then.
    session.data.until = now.plus_millis(1_800_000);
    stage.store.extend_session(&session).await.unwrap();
    assert_eq!(anna.get("/api/me").await.status, 200);
    assert!(stored().await.data.until.millis_since(now) > 3_590_000);
    // If it is unused for longer, it ends, together with its sockets.
    let mut socket = anna.socket(None).await.unwrap();
    socket.is_alive().await;
    session.data.until = now;
    stage.store.extend_session(&session).await.unwrap();
    assert_eq!(anna.get("/api/me").await.status, 401);
    assert_eq!(socket.ends().await.as_deref(), Some("signed_out"));
}

async fn is_unready_for_the_store(gateway: &Running) -> bool {
    let answer = http::get(&gateway.address, "/readyz", &[]).await;
    answer.status == 503 && String::from_utf8_lossy(&answer.body).contains("accounts can't be stored")
}

/// Another process locks the file for writing. As with a full disk, reads succeed and writes fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_can_store_nothing_is_not_ready() {
    let (stage, gateway) = one_gateway(&[]).await;
    gateway.is_ready().await;
    let mut anna = Browser::new(&gateway.address);
    anna.register("anna").await;
    until("the store was checked", async || gateway.metric("toteboard_gateway_store_writable") == 1.0).await;

    let holder = rusqlite::Connection::open(stage.accounts_file()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    until("it says that accounts can't be stored", async || is_unready_for_the_store(&gateway).await).await;
    assert_eq!(gateway.metric("toteboard_gateway_store_writable"), 0.0);
    assert_eq!(anna.get("/api/me").await.status, 200, "signed-in users go on");
    let refused = anna.put("/api/subscriptions", &json!({ "regions": ["uk"] })).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("store_unavailable")));

    holder.execute_batch("COMMIT").unwrap();
    gateway.is_ready().await;
    assert_eq!(anna.put("/api/subscriptions", &json!({ "regions": ["uk"] })).await.status, 200);
}

/// No server listens at the store's address.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_what_needs_it_says_so() {
    let mut stage = Stage::set().await;
    stage.store = "mongodb://127.0.0.1:1/x".parse::<StoreUrl>().unwrap().open().await.unwrap();
    let gateway = stage.starting("one", &OPEN).await;
    until("it says that accounts can't be stored", async || is_unready_for_the_store(&gateway).await).await;
    assert_eq!(gateway.metric("toteboard_gateway_store_writable"), 0.0);
    let mut anna = Browser::new(&gateway.address);
    let answer = anna.sign_in("anna", PASSWORD).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (503, Some("store_unavailable")));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("127.0.0.1"), "the response has no internal details");
    let token = crate::guest::TOKEN;
    assert_eq!(refusal(Socket::with_token(&gateway.address, token).await), "store_unavailable");
    anna.cookie = Some("toteboard=AAAAAAAAAAAAAAAAAAAAAA".into());
    assert_eq!(anna.get("/api/me").await.status, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interface_describes_itself() {
    let (_stage, gateway) = one_gateway(&[]).await;
    let mut anna = Browser::new(&gateway.address);
    let document = anna.get("/api/openapi.json").await.json();
    for path in [
        "/api/site",
        "/api/register",
        "/api/login",
        "/api/logout",
        "/api/me",
        "/api/password",
        "/api/subscriptions",
        "/api/tokens",
        "/api/tokens/{id}",
        "/api/sessions",
        "/api/sessions/{id}",
        "/api/regions",
        "/api/odds/{region}",
        "/api/history/board/{region}",
        "/api/history/events/{id}",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let schemas = &document["components"]["schemas"];
    for (request, field) in [("TokenRequest", "password"), ("RegionsRequest", "regions")] {
        assert!(schemas[request]["properties"][field].is_object(), "{request}: {field}");
    }
    assert_eq!(schemas["Feed"]["properties"]["state"]["enum"], json!(["live", "stale", "down"]));
    // A generated client has one type for all of them.
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let answers = operations.flat_map(|operation| operation["responses"].as_object().unwrap());
    let refusals: Vec<_> = answers.filter(|(status, _)| *status.as_str() >= *"400").collect();
    assert!(refusals.len() > 100, "{}", refusals.len());
    for (status, refusal) in refusals {
        let schema = &refusal["content"]["application/json"]["schema"];
        assert_eq!(*schema, json!({ "$ref": "#/components/schemas/ErrorBody" }), "{status}: {refusal}");
    }
    assert!(schemas["ErrorBody"].is_object());
    let docs = anna.get("/api/docs/").await;
    assert_eq!(docs.status, 200);
    assert!(String::from_utf8_lossy(&docs.body).contains("swagger"));
    assert_eq!(anna.get("/api/nothing").await.json()["error"]["code"], "not_found");
}

#[test]
fn identities_name_their_user() {
    let user = accounts::UserId::random();
    let token = Identity::Token { user: user.clone(), token: accounts::TokenId::random() };
    assert_eq!(token.user(), &user);
}
