//! Alerts reach their users' addresses, unless they are not to.

use std::{sync::Arc, time::Duration};

use messages::{Channel, Content, Refusal, State};
use notifier::ChannelOf;
use tokio::time::sleep;

use crate::scene::{Post, Scene, down};

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_sent_to_the_confirmed_addresses_of_its_user() {
    let scene = Scene::new().await;
    let anna = scene.user("").await;
    let post = Arc::new(Post::default());
    let running = Channel::ALL.map(|channel| scene.notify(channel, post.clone()));
    scene.alert(&anna, 0..1).await;
    for (channel, address) in [(Channel::Email, "anna@example.com"), (Channel::Sms, "+447700900123")] {
        scene.wait_for(channel, 1, State::Sent).await;
        let sent = scene.message(channel, 0).await.unwrap().message;
        assert_eq!((sent.recipient.as_str(), sent.user.as_deref()), (address, Some(anna.as_str())));
        assert!(matches!(sent.content, Content::Alert { title, text, .. }
            if title == "Arsenal - Leeds" && text == "Arsenal reached 2.10 (UK)"));
    }
    for notifier in running {
        notifier.stop().await;
    }
    assert_eq!(post.accepted(), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_in_quiet_hours_is_listed_and_not_sent() {
    let scene = Scene::new().await;
    let anna = scene.user(r#","quiet_hours":{"from":"00:00","until":"23:59","time_zone":"UTC"}"#).await;
    let post = Arc::new(Post::default());
    let running = scene.notify(Channel::Email, post.clone());
    scene.alert(&anna, 0..1).await;
    scene.wait_for(Channel::Email, 1, State::Skipped).await;
    running.stop().await;
    let skipped = scene.message(Channel::Email, 0).await.unwrap();
    assert_eq!(skipped.detail.as_deref(), Some("quiet hours"));
    assert_eq!(post.accepted(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_have_piled_up_are_sent_as_one() {
    let scene = Scene::new().await;
    let anna = scene.user("").await;
    let post = Arc::new(Post::default());
    post.refuse(Some(down()));
    let running = scene.notify(Channel::Email, post.clone());
    scene.alert(&anna, 0..40).await;
    while scene.outbox.counts(Channel::Email).await.unwrap().open < 40 {
        sleep(Duration::from_millis(20)).await;
    }
    // What was tried is due again by then.
    sleep(Duration::from_secs(11)).await;
    post.refuse(None);
    scene.wait_for(Channel::Email, 40, State::Sent).await;
    running.stop().await;
    let (deliveries, copies) = post.accepted();
    assert!(deliveries <= 5 && copies == 0, "{deliveries} e-mails");
    assert_eq!(post.sizes.lock().unwrap().iter().sum::<usize>(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_skip_alerts_and_hold_back_other_messages() {
    let scene = Scene::new().await;
    let anna = scene.user("").await;
    let post = Arc::new(Post::default());
    let channel = Scene::channel(Channel::Sms, post.clone());
    let running = scene.notify_by(ChannelOf { alerts_a_day: 2, most_a_day: Some(4), ..channel });
    // One by one, so that they are no digest.
    for number in 0..3 {
        scene.alert(&anna, number..number + 1).await;
        while scene.state(Channel::Sms, number).await.is_none_or(State::is_open) {
            sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(scene.state(Channel::Sms, 1).await, Some(State::Sent));
    let skipped = scene.message(Channel::Sms, 2).await.unwrap();
    assert_eq!((skipped.state, skipped.detail.as_deref()), (State::Skipped, Some("limit: 2 a day")));
    // Two of these are left today. The third waits for tomorrow.
    scene.produce(10..13).await;
    let detail = async || {
        let mut waiting = Vec::new();
        for number in 10..13 {
            let message = scene.message(Channel::Sms, number).await;
            waiting.extend(message.filter(|it| it.state == State::Waiting).and_then(|it| it.detail));
        }
        waiting
    };
    while detail().await.is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    running.stop().await;
    assert_eq!(detail().await, ["4 messages were sent today, as many as are allowed"]);
    assert_eq!(post.accepted(), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_hard_bounce_nothing_more_is_sent_to_the_address() {
    let scene = Scene::new().await;
    let anna = scene.user("").await;
    let post = Arc::new(Post::default());
    post.refuse(Some(Refusal::NoRecipient("550 no such user".into())));
    let running = scene.notify(Channel::Email, post.clone());
    scene.alert(&anna, 0..1).await;
    scene.wait_for(Channel::Email, 1, State::Failed).await;
    post.refuse(None);
    scene.alert(&anna, 1..2).await;
    while scene.state(Channel::Email, 1).await.is_none_or(State::is_open) {
        sleep(Duration::from_millis(10)).await;
    }
    running.stop().await;
    let skipped = scene.message(Channel::Email, 1).await.unwrap();
    assert_eq!(skipped.detail.as_deref(), Some("the address takes no messages: 550 no such user"));
    assert_eq!(post.accepted(), (0, 0));
}
