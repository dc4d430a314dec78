//! Addresses: how they are confirmed, what is sent to them, and how one replaces a forgotten password.

use std::time::Duration;

use messages::{Channel, Content, EmailText, Links, NewMessage, OutboxUrl, State, StoredMessage, signature, sms_text};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    browser::{Browser, PASSWORD},
    http::{self, Answer},
    stage::{DEADLINE, Running, SMS_TOKEN, Stage},
};

const OPEN: [&str; 3] = ["--registration=open", "--attempts-per-minute=100000", "--recheck=1"];
const EMAIL: &str = "anna@example.com";
const PHONE: &str = "+447700900123";

/// A gateway, its outbox, and what signs its links.
struct Scene {
    _stage: Stage,
    gateway: Running,
    outbox: std::sync::Arc<dyn messages::Outbox>,
    links: Links,
}

impl Scene {
    async fn set() -> Self {
        let stage = Stage::set().await;
        let setting = stage.outbox_setting();
        let gateway = stage.starting("one", &[&OPEN[..], &[&setting]].concat()).await;
        let url: OutboxUrl = setting.strip_prefix("--outbox=").unwrap().parse().unwrap();
        let links = Links::new(&format!("http://{}", gateway.address), stage.key.clone());
        Self { outbox: url.open().await.unwrap(), _stage: stage, gateway, links }
    }

    async fn visitor(&self, name: &str) -> Browser {
        let mut browser = Browser::new(&self.gateway.address);
        browser.register(name).await;
        browser
    }

    /// The user's messages of a kind, the newest first.
    async fn messages(&self, browser: &mut Browser, kind: &str) -> Vec<StoredMessage> {
        let me = browser.get("/api/me").await.json();
        let mut all = self.outbox.messages_of(me["id"].as_str().unwrap(), None, 100).await.unwrap();
        all.retain(|it| it.message.content.kind() == kind);
        all
    }

    /// Waits for this many messages of a kind. Returns the newest.
    async fn message(&self, browser: &mut Browser, kind: &str, count: usize) -> StoredMessage {
        let end = Instant::now() + DEADLINE;
        loop {
            let mut found = self.messages(browser, kind).await;
            if found.len() >= count {
                assert_eq!(found.len(), count, "{found:?}");
                return found.remove(0);
            }
            assert!(Instant::now() < end, "no message: {kind}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The path of the link in an e-mail.
    fn link(&self, message: StoredMessage) -> String {
        let text = EmailText::of(&[message], &self.links).text;
        let (_, rest) = text.split_once(self.links.page()).unwrap_or_else(|| panic!("no link in {text}"));
        rest.split_whitespace().next().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        read(&http::get(&self.gateway.address, path, &[]).await)
    }

    /// Presses the button of a page, or lets a program do so.
    async fn submit(&self, path: &str, headers: &[(&str, &str)], form: &str) -> (u16, String) {
        read(&self.post(path, headers, form).await)
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], form: &str) -> Answer {
        let address = &self.gateway.address;
        let mut request = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "content-type: application/x-www-form-urlencoded\r\n";
        request += &format!("content-length: {}\r\n\r\n{form}", form.len());
        http::send(address, request.as_bytes()).await
    }

    /// Gives an address and confirms it.
    async fn with_email(&self, browser: &mut Browser) {
        let set = browser.put("/api/contacts/email", &json!({ "address": EMAIL, "password": PASSWORD })).await;
        assert_eq!(set.status, 200, "{}", String::from_utf8_lossy(&set.body));
        let link = self.link(self.message(browser, "confirm_email", 1).await);
        assert_eq!(self.submit(&link, &[], "").await.0, 200);
    }
}

fn read(answer: &Answer) -> (u16, String) {
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

fn code(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["error"]["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_with_their_account() {
    let scene = Scene::set().await;
    let mut anna = scene.visitor("anna").await;
    let id = anna.get("/api/me").await.json()["id"].as_str().unwrap().to_owned();
    scene.with_email(&mut anna).await;
    assert!(!scene.outbox.messages_of(&id, None, 10).await.unwrap().is_empty());
    let wrong = json!({ "password": "not her password" }).to_string();
    assert_eq!(anna.ask("DELETE", "/api/me", Some(&wrong)).await.status, 403);
    assert!(!scene.outbox.messages_of(&id, None, 10).await.unwrap().is_empty());
    let right = json!({ "password": PASSWORD }).to_string();
    assert_eq!(anna.ask("DELETE", "/api/me", Some(&right)).await.status, 204);
    assert_eq!(scene.outbox.messages_of(&id, None, 10).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_address_is_confirmed_by_a_link() {
    let scene = Scene::set().await;
    let mut anna = scene.visitor("anna").await;
    assert_eq!(anna.get("/api/contacts").await.json(), json!({}));
    let wrong = anna.put("/api/contacts/email", &json!({ "address": EMAIL, "password": "not her password" })).await;
    assert_eq!(code(&wrong), (403, json!("wrong_password")));
    let wrong = anna.put("/api/contacts/email", &json!({ "address": "anna", "password": PASSWORD })).await;
    assert_eq!(code(&wrong), (422, json!("invalid")));
    let set = anna.put("/api/contacts/email", &json!({ "address": "Anna@example.com", "password": PASSWORD })).await;
    assert_eq!(set.json(), json!({ "email": { "address": "Anna@example.com", "confirmed": false, "alerts": true } }));
    let test = anna.ask("POST", "/api/contacts/email/test", None).await;
    assert_eq!(code(&test), (409, json!("not_confirmed")));
    let asked = scene.message(&mut anna, "confirm_email", 1).await;
    assert_eq!((asked.message.recipient.as_str(), asked.state), ("Anna@example.com", State::Waiting));
    let link = scene.link(asked);
    // A program that looks at links does nothing by it.
    let (status, page) = scene.get(&link).await;
    assert!(status == 200 && page.contains("Anna@example.com") && page.contains("<form method=\"post\">"), "{page}");
    assert_eq!(anna.get("/api/contacts").await.json()["email"]["confirmed"], false);
    // Another site's page can't press the button for somebody.
    assert_eq!(scene.submit(&link, &[("origin", "https://evil.example")], "").await.0, 403);
    let origin = format!("http://{}", scene.gateway.address);
    assert_eq!(scene.submit(&link, &[("origin", &origin)], "").await.0, 200);
    assert_eq!(anna.get("/api/contacts").await.json()["email"]["confirmed"], true);
    assert_eq!(code(&anna.ask("POST", "/api/contacts/email/confirmation", None).await), (409, json!("confirmed")));
    assert_eq!(anna.ask("POST", "/api/contacts/email/test", None).await.status, 202);
    scene.message(&mut anna, "test", 1).await;
    // After another address was given, the link for the first one is of no use.
    let other = json!({ "address": "bo@example.com", "password": PASSWORD });
    assert_eq!(anna.put("/api/contacts/email", &other).await.status, 200);
    let told = scene.message(&mut anna, "account_changed", 1).await;
    assert_eq!(told.message.recipient, "Anna@example.com", "the former owner hears of it");
    assert_eq!(scene.submit(&link, &[], "").await.0, 409);
    assert_eq!(anna.get("/api/contacts").await.json()["email"]["confirmed"], false);
    let forged = format!("{link}x");
    assert_eq!(scene.submit(&forged, &[], "").await.0, 403);
    assert_eq!(scene.submit(&link.replace("confirm?", "password?"), &[], "password=x").await.0, 403);
    let listed = anna.get("/api/messages").await.json();
    let kinds: Vec<&str> =
        listed["messages"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 4);
    let text = listed.to_string();
    assert!(!text.contains("token=") && !text.contains("nonce"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_number_is_confirmed_by_a_code_that_can_be_entered_a_few_times() {
    let scene = Scene::set().await;
    let mut anna = scene.visitor("anna").await;
    assert_eq!(
        code(&anna.post("/api/contacts/sms/code", &json!({ "code": "000000" })).await),
        (409, json!("no_address"))
    );
    let set = anna.put("/api/contacts/sms", &json!({ "address": "+44 7700 900123" })).await;
    assert_eq!(set.json(), json!({ "sms": { "address": PHONE, "confirmed": false, "alerts": true } }));
    let sent = scene.message(&mut anna, "confirm_phone", 1).await;
    assert_eq!((sent.message.channel, sent.message.recipient.as_str()), (Channel::Sms, PHONE));
    let digits = |sent: StoredMessage| sms_text(&[sent], &scene.links).split(' ').next().unwrap().to_owned();
    let right = digits(sent);
    let wrong = if right == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        let refused = anna.post("/api/contacts/sms/code", &json!({ "code": wrong })).await;
        assert_eq!(code(&refused), (403, json!("wrong_code")));
    }
    // Guessing is over, also for whoever knows it now.
    let late = anna.post("/api/contacts/sms/code", &json!({ "code": right })).await;
    assert_eq!(code(&late), (409, json!("code_expired")));
    assert_eq!(anna.ask("POST", "/api/contacts/sms/confirmation", None).await.status, 202);
    let right = digits(scene.message(&mut anna, "confirm_phone", 2).await);
    let confirmed = anna.post("/api/contacts/sms/code", &json!({ "code": right })).await;
    assert_eq!(confirmed.json()["sms"]["confirmed"], true);
    assert_eq!(anna.delete("/api/contacts/sms").await.json(), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_floods_an_address() {
    let scene = Scene::set().await;
    let mut eve = scene.visitor("eve").await;
    assert_eq!(eve.put("/api/contacts/sms", &json!({ "address": PHONE })).await.status, 200);
    for _ in 0..9 {
        assert_eq!(eve.ask("POST", "/api/contacts/sms/confirmation", None).await.status, 202);
    }
    let refused = eve.ask("POST", "/api/contacts/sms/confirmation", None).await;
    assert_eq!(code(&refused), (429, json!("too_many_attempts")));
    // Neither does removing it begin anew.
    assert_eq!(eve.delete("/api/contacts/sms").await.status, 200);
    let again = eve.put("/api/contacts/sms", &json!({ "address": "+447700900124" })).await;
    assert_eq!(code(&again), (429, json!("too_many_attempts")));
    assert_eq!(scene.messages(&mut eve, "confirm_phone").await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_replaced_once_by_a_link() {
    let scene = Scene::set().await;
    let mut anna = scene.visitor("anna").await;
    let mut other = Browser::new(&scene.gateway.address);
    // Without a confirmed address, nothing is sent, and the answer is the same as for a name that nobody has.
    for name in ["anna", "nobody", "nobody@example.com"] {
        assert_eq!(other.post("/api/password/forgotten", &json!({ "name": name })).await.status, 202);
    }
    scene.with_email(&mut anna).await;
    assert_eq!(other.post("/api/password/forgotten", &json!({ "name": "ANNA@EXAMPLE.COM" })).await.status, 202);
    let link = scene.link(scene.message(&mut anna, "forgot_password", 1).await);
    assert_eq!(other.post("/api/password/forgotten", &json!({ "name": "anna" })).await.status, 202);
    let second = scene.link(scene.message(&mut anna, "forgot_password", 2).await);
    let (status, page) = scene.get(&link).await;
    assert!(status == 200 && page.contains("type=\"password\""), "{page}");
    let (status, page) = scene.submit(&link, &[], "password=short").await;
    assert!(status == 200 && page.contains("The password"), "{page}");
    assert_eq!(anna.get("/api/me").await.status, 200, "nothing has changed yet");
    let new = "four+other+wet+badgers";
    let (status, page) = scene.submit(&link, &[], &format!("password={new}")).await;
    assert!(status == 200 && page.contains("was changed"), "{page}");
    assert_eq!(anna.get("/api/me").await.status, 401, "all devices are signed out");
    for used in [&link, &second] {
        assert_eq!(scene.submit(used, &[], "password=yet+another+wet+badger").await.0, 409);
    }
    assert_eq!(anna.sign_in("anna", PASSWORD).await.status, 401);
    assert_eq!(anna.sign_in("anna", "four other wet badgers").await.status, 200);
    let told = scene.message(&mut anna, "account_changed", 1).await;
    assert_eq!(told.message.recipient, EMAIL);
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_unsubscribed_from_by_one_click() {
    let scene = Scene::set().await;
    let mut anna = scene.visitor("anna").await;
    scene.with_email(&mut anna).await;
    let me = anna.get("/api/me").await.json();
    let at = service::now();
    let alert = StoredMessage {
        message: NewMessage {
            content: Content::Alert { title: "A - B".into(), text: "A reached 2.10".into(), at },
            user: Some(me["id"].as_str().unwrap().to_owned()),
            ..scene.message(&mut anna, "confirm_email", 1).await.message
        },
        ..scene.message(&mut anna, "confirm_email", 1).await
    };
    let link = EmailText::of(&[alert], &scene.links).unsubscribe.unwrap();
    let link = link.strip_prefix(scene.links.page()).unwrap().to_owned();
    assert_eq!(scene.get(&link).await.0, 200);
    assert_eq!(anna.get("/api/contacts").await.json()["email"]["alerts"], true, "a look changes nothing");
    // As a mail program does it.
    assert_eq!(scene.submit(&link, &[], "List-Unsubscribe=One-Click").await.0, 200);
    assert_eq!(anna.get("/api/contacts").await.json()["email"]["alerts"], false);
    let quiet = json!({ "from": "22:00", "until": "07:00", "time_zone": "Europe/London" });
    let changes = json!({ "email_alerts": true, "quiet_hours": quiet });
    let changed = anna.ask("PATCH", "/api/contacts", Some(&changes.to_string())).await.json();
    assert_eq!((&changed["email"]["alerts"], &changed["quiet_hours"]), (&json!(true), &quiet));
    let same = anna.ask("PATCH", "/api/contacts", Some("{}")).await.json();
    assert_eq!(same, changed);
    let none = anna.ask("PATCH", "/api/contacts", Some(r#"{"quiet_hours":null}"#)).await.json();
    assert_eq!(none.get("quiet_hours"), None);
    for wrong in [r#"{"sms_alerts":false}"#, r#"{"quiet_hours":{"from":"25:00","until":"07:00","time_zone":"UTC"}}"#] {
        assert!([409, 422].contains(&anna.ask("PATCH", "/api/contacts", Some(wrong)).await.status), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_provider_reports_about_sms() {
    let scene = Scene::set().await;
    let mut anna = scene.visitor("anna").await;
    assert_eq!(anna.put("/api/contacts/sms", &json!({ "address": PHONE })).await.status, 200);
    let sent = scene.message(&mut anna, "confirm_phone", 1).await;
    let id = base64_of(sent.message.id.as_str());
    let path = format!("/api/hooks/sms/status/{id}");
    let report = |status: &str| {
        vec![("MessageSid".to_owned(), "SM1".to_owned()), ("MessageStatus".to_owned(), status.to_owned())]
    };
    let signed = async |path: &str, form: Vec<(String, String)>, token: &str| {
        let url = format!("http://{}{path}", scene.gateway.address);
        let signature = signature(token, &url, &form);
        let body: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", value.replace('+', "%2B"))).collect();
        scene.post(path, &[("x-twilio-signature", &signature)], &body.join("&")).await
    };
    assert_eq!(code(&signed(&path, report("delivered"), "another secret").await), (403, json!("wrong_signature")));
    let unsigned = scene.post(&path, &[], "MessageStatus=delivered").await;
    assert_eq!(code(&unsigned), (403, json!("wrong_signature")));
    let state = async || scene.outbox.message(Channel::Sms, &sent.message.id).await.unwrap().unwrap();
    assert_eq!(state().await.state, State::Waiting);
    for (status, expected) in [("queued", State::Sent), ("delivered", State::Delivered), ("sent", State::Delivered)] {
        assert_eq!(signed(&path, report(status), SMS_TOKEN).await.status, 204);
        assert_eq!(state().await.state, expected, "{status}");
    }
    assert_eq!(state().await.provider_id.as_deref(), Some("SM1"));
    let incoming = "/api/hooks/sms/incoming";
    let says = |word: &str| vec![("From".to_owned(), PHONE.to_owned()), ("Body".to_owned(), word.to_owned())];
    let next = async |id: &str| {
        let now = service::now();
        let message = NewMessage {
            id: id.parse().unwrap(),
            recipient: PHONE.into(),
            content: Content::Transaction { transaction_id: "t".into(), body: String::new() },
            deadline: now.plus_millis(60_000),
            ..sent.message.clone()
        };
        scene.outbox.add(&[message], now).await.unwrap();
        let until = now.plus_millis(1);
        let mut claims = scene.outbox.claim(Channel::Sms, id, service::now(), until, 10).await.unwrap();
        sleep(Duration::from_millis(5)).await;
        claims.remove(0).suppressed
    };
    assert_eq!(next("m-1").await, None);
    assert_eq!(signed(incoming, says("Stop"), SMS_TOKEN).await.status, 200);
    assert_eq!(next("m-2").await.as_deref(), Some("the recipient has sent STOP"));
    assert_eq!(signed(incoming, says("START"), SMS_TOKEN).await.status, 200);
    assert_eq!(next("m-3").await, None);
}

fn base64_of(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(text)
}
