//! E-mails by SMTP, to a server that misbehaves in every way.

use std::{sync::Arc, time::Duration};

use messages::{Channel, SmtpProvider, State};
use notifier::ChannelOf;
use tokio::time::sleep;

use crate::{
    mail_server::{MailServer, Mood},
    scene::{Running, Scene, links},
};

async fn start() -> (Scene, MailServer, Running) {
    let (scene, server) = (Scene::new().await, MailServer::start().await);
    let url = format!("smtp://{}", server.address).parse().unwrap();
    let provider = SmtpProvider::new(&url, "Toteboard <odds@example.com>".parse().unwrap(), links(), 4);
    let running = scene.notify(Channel::Email, Arc::new(provider));
    (scene, server, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_accepted_email_arrives_under_one_id_whatever_the_server_does() {
    let (scene, server, running) = start().await;
    scene.produce(0..50).await;
    scene.wait_for(Channel::Email, 50, State::Sent).await;
    for (round, mood) in [
        Mood::Closes,
        Mood::Refuses("451 4.3.0 try again later"),
        Mood::Refuses("421 4.3.2 shutting down"),
        Mood::SaysHalf,
    ]
    .into_iter()
    .enumerate()
    {
        server.is(mood, false);
        let first = 50 + 10 * round;
        scene.produce(first..first + 10).await;
        sleep(Duration::from_secs(2)).await;
        server.is(Mood::Good, false);
        scene.wait_for(Channel::Email, first + 10, State::Sent).await;
    }
    assert!(server.accepted().values().all(|copies| copies.len() == 1), "no answer was lost after an e-mail was taken");
    server.is(Mood::CutsAfterTheDot, true);
    scene.produce(90..91).await;
    scene.wait_for(Channel::Email, 91, State::Sent).await;
    running.stop().await;
    let accepted = server.accepted();
    assert_eq!(accepted.len(), 91);
    let copies: Vec<usize> = accepted.values().map(Vec::len).filter(|copies| *copies > 1).collect();
    assert_eq!(copies, [2], "the one whose answer was lost, again under its id");
    let email = &accepted.values().next().unwrap()[0];
    for part in ["To: user", "From: Toteboard <odds@example.com>", "Subject: Transaction Successful: t-"] {
        assert!(email.contains(part), "{email}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_there_is_not_is_final_and_spam_is_only_about_the_message() {
    let (scene, server, running) = start().await;
    server.is(Mood::Refuses("550 5.1.1 no such user"), false);
    scene.produce(0..1).await;
    scene.wait_for(Channel::Email, 1, State::Failed).await;
    let failed = scene.message(Channel::Email, 0).await.unwrap();
    assert!(failed.detail.as_deref().unwrap().contains("5.1.1 no such user"), "{failed:?}");
    server.is(Mood::Refuses("550 5.7.1 it looks like spam"), false);
    scene.produce(1..2).await;
    while scene.state(Channel::Email, 1).await != Some(State::Failed) {
        sleep(Duration::from_millis(20)).await;
    }
    server.is(Mood::Good, false);
    let again =
        |user: usize| format!(r#"{{"transaction_id":"t","message_body":"again","email":"user{user}@example.com"}}"#);
    scene.produce_value(&again(0), &[("message_id", b"m-2")]).await;
    scene.produce_value(&again(1), &[("message_id", b"m-3")]).await;
    while scene.state(Channel::Email, 3).await != Some(State::Sent) {
        sleep(Duration::from_millis(20)).await;
    }
    while scene.state(Channel::Email, 2).await.is_none_or(State::is_open) {
        sleep(Duration::from_millis(20)).await;
    }
    running.stop().await;
    assert_eq!(scene.state(Channel::Email, 2).await, Some(State::Skipped));
    assert_eq!(server.accepted().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_too_late_is_not_taken_for_that_to_the_next_email() {
    let (scene, server) = (Scene::new().await, MailServer::start().await);
    let url = format!("smtp://{}", server.address).parse().unwrap();
    let provider = SmtpProvider::new(&url, "Toteboard <odds@example.com>".parse().unwrap(), links(), 1);
    let channel = Scene::channel(Channel::Email, Arc::new(provider));
    // An attempt may take a second.
    let running = scene.notify_by(ChannelOf { lease: Duration::from_secs(5), ..channel });
    server.is(Mood::Late(Duration::from_secs(2)), false);
    scene.produce(0..1).await;
    // It is given up, and the next one finds its connection, if it is still there.
    while scene.message(Channel::Email, 0).await.is_none_or(|it| it.attempts == 0) {
        sleep(Duration::from_millis(10)).await;
    }
    server.is(Mood::RefusesAfterTheDot("552 5.3.4 too large"), false);
    scene.produce(1..2).await;
    while scene.state(Channel::Email, 1).await.is_none_or(State::is_open) {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(scene.state(Channel::Email, 1).await, Some(State::Failed));
    assert_eq!(server.accepted().len(), 1);
    running.stop().await;
}
