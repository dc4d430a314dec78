//! What is produced again: dead letters, and what an in-process Kafka has forgotten.

use std::sync::Arc;

use kafka::{Embedded, Replayed, TRANSACTIONS, all_topics};
use messages::{Channel, ProduceRequest, Produced, State};
use notifier::{ReplayCommand, produce_again};

use crate::scene::{Post, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_produced_again_and_nothing_is_sent_twice() {
    let scene = Scene::new().await;
    let post = Arc::new(Post::default());
    // An address that can't be read is a dead letter of its channel; the other one has sent its message.
    let value = r#"{"transaction_id":"t-0","message_body":"Hello","email":"nobody","phone":"+447700900123"}"#;
    scene.produce_value(value, &[("message_id", b"m-0")]).await;
    scene.produce(1..2).await;
    let running = Channel::ALL.map(|channel| scene.notify(channel, post.clone()));
    scene.wait_for(Channel::Sms, 2, State::Sent).await;
    while scene.state(Channel::Email, 1).await != Some(State::Sent) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(post.accepted(), (3, 0));
    let command = ReplayCommand { from: "transactions.dead".into() };
    assert_eq!(
        command.execute(&scene.cluster.settings(), service::now()).await.unwrap(),
        Replayed { produced: 1, refused: 0 }
    );
    // It is a dead letter again, and behind it comes a record that is sent.
    scene.produce(2..3).await;
    for channel in Channel::ALL {
        while scene.state(channel, 2).await != Some(State::Sent) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    for notifier in running {
        notifier.stop().await;
    }
    assert_eq!(post.accepted(), (5, 0));
    assert_eq!(
        command.execute(&scene.cluster.settings(), service::now()).await.unwrap(),
        Replayed { produced: 2, refused: 0 }
    );
    let missing = ReplayCommand { from: "transactions.lost".into() };
    assert!(missing.execute(&scene.cluster.settings(), service::now()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_has_forgotten_is_produced_again_unless_it_is_in_the_outbox() {
    let scene = Scene::new().await;
    let now = service::now();
    for number in 0..3 {
        let request = ProduceRequest {
            user: "anna".into(),
            request_id: format!("r-{number}"),
            topic: TRANSACTIONS.into(),
            hash: "h".into(),
            partition: number,
            message_id: format!("m-{number}").parse().unwrap(),
            key: Some("k".into()),
            value: format!(r#"{{"transaction_id":"t","message_body":"b","email":"user{number}@example.com"}}"#),
            began_at: now,
        };
        scene.outbox.begin_request(&request, now, now.plus_millis(30_000)).await.unwrap();
        let produced = Produced { partition: number, offset: 0, timestamp: now, latency_ms: 1 };
        scene.outbox.finish_request("anna", &request.request_id, &produced).await.unwrap();
    }
    // The first one reaches the outbox before Kafka is lost.
    let post = Arc::new(Post::default());
    produce_again(&*scene.outbox, &scene.cluster.settings(), now).await.unwrap();
    let running = scene.notify(Channel::Email, post.clone());
    scene.wait_for(Channel::Email, 3, State::Sent).await;
    running.stop().await;
    let empty = Embedded::start(&all_topics()).unwrap();
    produce_again(&*scene.outbox, &empty.settings(), now).await.unwrap();
    let mut topic = kafka::WholeTopic::open(&empty.settings(), TRANSACTIONS).unwrap().unwrap();
    assert_eq!(topic.next_record().unwrap(), None, "all of it is in the outbox");
    assert_eq!(post.accepted(), (3, 0));
}
