//! The SMS provider, against servers that answer as a provider does, or worse.

use std::time::Duration;

use messages::{
    Accepted, Channel, Content, Delivery, Fault, Links, NewMessage, Provider, Refusal, SigningKey, SmsAccount,
    SmsProvider, State, StoredMessage,
};
use odds::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

fn message() -> StoredMessage {
    let at = Timestamp::from_millis(0);
    StoredMessage {
        message: NewMessage {
            id: "m-1".parse().unwrap(),
            channel: Channel::Sms,
            recipient: "+447700900123".into(),
            user: None,
            content: Content::Transaction { transaction_id: "t-1".into(), body: "2 tickets & more".into() },
            created_at: at,
            deadline: at,
            skipped: None,
        },
        order: 1,
        state: State::Sending,
        attempts: 0,
        detail: None,
        provider_id: None,
        batch: None,
        changed_at: at,
    }
}

/// Answers one request with this text, and returns the request.
async fn server(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !String::from_utf8_lossy(&request).contains("StatusCallback=") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (url, serving)
}

async fn send(url: &str) -> Result<Accepted, Refusal> {
    // Programs do so when they start. Fails only if another test was faster.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let account =
        SmsAccount { url: url.into(), account: "AC1".into(), token: "s3cret".into(), sender: "+15550100".into() };
    let messages = [message()];
    let sent = SmsProvider::new(account, Links::new("https://odds.example.com", SigningKey::random())).unwrap();
    tokio::time::timeout(Duration::from_secs(60), sent.send(&Delivery::of(&messages).unwrap())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_message_has_the_providers_id() {
    let (url, serving) =
        server("HTTP/1.1 201 Created\r\ncontent-length: 34\r\n\r\n{\"sid\": \"SM1\", \"status\": \"queued\"}").await;
    assert_eq!(send(&url).await, Ok(Accepted { provider_id: Some("SM1".into()), detail: Some("queued".into()) }));
    let request = serving.await.unwrap();
    assert!(request.starts_with("POST /2010-04-01/Accounts/AC1/Messages.json "), "{request}");
    assert!(request.to_lowercase().contains("authorization: basic qumxonmzy3jlda=="), "{request}");
    assert!(
        request.contains("To=%2B447700900123&From=%2B15550100&Body=Transaction+Successful%3A+t-1.+2+tickets+%26+more&"),
        "{request}"
    );
    assert!(
        request.ends_with("StatusCallback=https%3A%2F%2Fodds.example.com%2Fapi%2Fhooks%2Fsms%2Fstatus%2FbS0x"),
        "{request}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_final_only_if_the_number_is_wrong() {
    for (answer, is_final) in [
        (
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 40\r\n\r\n{\"code\": 21211, \"message\": \"no number\" }  ",
            true,
        ),
        ("HTTP/1.1 400 Bad Request\r\ncontent-length: 15\r\n\r\n{\"code\": 21606}", false),
        ("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 1\r\n\r\nx", false),
    ] {
        let (url, serving) = server(answer).await;
        match send(&url).await {
            Err(Refusal::NoRecipient(reason)) if is_final => assert_eq!(reason, "400 Bad Request: 21211 no number"),
            Err(Refusal::Later { at_fault: Fault::Provider, .. }) if !is_final => {}
            other => panic!("{answer}: {other:?}"),
        }
        serving.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unknown_and_a_refused_connection_is_not() {
    let (url, serving) = server("").await;
    assert!(matches!(send(&url).await, Err(Refusal::Unknown(_))));
    serving.await.unwrap();
    assert!(matches!(send(&url).await, Err(Refusal::Later { at_fault: Fault::Provider, .. })));
}
