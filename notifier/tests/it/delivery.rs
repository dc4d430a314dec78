//! What was accepted is delivered, whatever fails in between.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kafka::{ReadFrom, TopicFollower};
use messages::{Channel, EmailFiles, Folder, Refusal, SmsFiles, State};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::scene::{DEADLINE, Post, Scene, down, links};

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_becomes_an_email_and_an_sms() {
    let scene = Scene::new().await;
    let folder = Folder::new(scene.folder.path().join("sent"));
    let email = EmailFiles::new(folder.clone(), "Toteboard <odds@example.com>".parse().unwrap(), links());
    let sms = SmsFiles::new(folder, links());
    let running = [scene.notify(Channel::Email, Arc::new(email)), scene.notify(Channel::Sms, Arc::new(sms))];
    scene.produce(0..1).await;
    for channel in Channel::ALL {
        scene.wait_for(channel, 1, State::Sent).await;
    }
    for notifier in running {
        notifier.stop().await;
    }
    let mut files: Vec<(String, String)> = std::fs::read_dir(scene.folder.path().join("sent"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.extension().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    let [(eml, email), (txt, sms)] = <[_; 2]>::try_from(files).unwrap();
    assert_eq!((eml.as_str(), txt.as_str()), ("eml", "txt"));
    for part in [
        "From: Toteboard <odds@example.com>\r\n",
        "To: user0@example.com\r\n",
        "Subject: Transaction Successful: t-0\r\n",
        "Message-ID: <",
        "multipart/alternative",
    ] {
        assert!(email.contains(part), "{part}\n{email}");
    }
    assert_eq!(sms, "To: +447700900000\n\nTransaction Successful: t-0. Hello\n");
    let listed = scene.outbox.messages_of("anna", None, 10).await.unwrap();
    assert_eq!(listed.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_provider_is_down_it_is_asked_seldom_and_then_everything_is_sent_once() {
    let scene = Scene::new().await;
    let post = Arc::new(Post::default());
    post.refuse(Some(down()));
    let running = scene.notify(Channel::Email, post.clone());
    scene.produce(0..200).await;
    sleep(Duration::from_secs(5)).await;
    let asked = post.asked.load(Ordering::SeqCst);
    assert!(asked <= 40, "asked {asked} times");
    assert_eq!(scene.outbox.counts(Channel::Email).await.unwrap().open, 200);
    post.refuse(None);
    scene.wait_for(Channel::Email, 200, State::Sent).await;
    running.stop().await;
    assert_eq!(post.accepted(), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_repeats_an_email_under_the_same_id_and_never_an_sms() {
    for (channel, state, copies) in [(Channel::Email, State::Sent, 1), (Channel::Sms, State::Unknown, 0)] {
        let scene = Scene::new().await;
        let post = Arc::new(Post::default());
        post.lose(1);
        let running = scene.notify(channel, post.clone());
        scene.produce(0..1).await;
        scene.wait_for(channel, 1, state).await;
        running.stop().await;
        assert_eq!(post.accepted(), (1, copies), "{channel}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_never_takes_is_final_and_holds_up_nobody() {
    let scene = Scene::new().await;
    let post = Arc::new(Post::default());
    post.refuse(Some(Refusal::Never("no such mailbox".into())));
    let running = scene.notify(Channel::Email, post.clone());
    scene.produce(0..3).await;
    scene.wait_for(Channel::Email, 3, State::Failed).await;
    running.stop().await;
    let failed = scene.outbox.message(Channel::Email, &"m-0".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(failed.detail.as_deref(), Some("no such mailbox"));
    assert_eq!(post.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn notifiers_that_come_and_go_send_everything_once() {
    let scene = Scene::new().await;
    let post = Arc::new(Post::default());
    post.millis.store(5, Ordering::SeqCst);
    let mut running = vec![scene.notify(Channel::Email, post.clone())];
    for round in 0..4 {
        scene.produce(100 * round..100 * (round + 1)).await;
        running.push(scene.notify(Channel::Email, post.clone()));
        running.remove(0).stop().await;
    }
    scene.wait_for(Channel::Email, 400, State::Sent).await;
    for notifier in running {
        notifier.stop().await;
    }
    assert_eq!(post.accepted(), (400, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_no_transaction_is_a_dead_letter_and_the_next_one_is_sent() {
    let scene = Scene::new().await;
    scene.produce_value(r#"{"no": "transaction"}"#, &[]).await;
    scene.produce(0..1).await;
    let post = Arc::new(Post::default());
    let running = scene.notify(Channel::Sms, post.clone());
    scene.wait_for(Channel::Sms, 1, State::Sent).await;
    running.stop().await;
    let mut dead =
        TopicFollower::<Value>::new(&scene.cluster.settings(), "transactions.dead", ReadFrom::Beginning).unwrap();
    let dead = timeout(DEADLINE, dead.next()).await.expect("a dead letter");
    assert_eq!(dead, serde_json::json!({ "no": "transaction" }));
}
