//! Notifiers that are killed anywhere, again and again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use messages::{Channel, State};
use notifier::{ChannelOf, Metrics, Notifier};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use service::MetricRegistry;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::scene::{Post, Scene};

const COUNT: usize = 300;
const ROUNDS: u64 = 25;
/// Longer than anything here takes, and short enough to wait for.
const LEASE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_each_email_arrives_under_one_id_and_each_sms_once_or_is_unknown() {
    let scene = Scene::new().await;
    let posts = Channel::ALL.map(|channel| (channel, Arc::new(Post::default())));
    for (_, post) in &posts {
        post.millis.store(2, Ordering::SeqCst);
    }
    let mut random = StdRng::seed_from_u64(7);
    for round in 0..ROUNDS {
        let first = COUNT * round as usize / ROUNDS as usize;
        scene.produce(first..COUNT * (round as usize + 1) / ROUNDS as usize).await;
        // All of its tasks are dropped where they wait, as a killed process ends between any two of its actions.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        for (channel, post) in &posts {
            let channel = ChannelOf { lease: LEASE, ..Scene::channel(*channel, post.clone()) };
            let metrics = Metrics::new(&mut MetricRegistry::default(), channel.channel);
            let (kafka, outbox, accounts) = (scene.cluster.settings(), scene.outbox.clone(), scene.accounts.clone());
            let notifier = Notifier::new(kafka, outbox, accounts, channel, service::now, metrics);
            runtime.spawn(notifier.run(CancellationToken::new()));
        }
        sleep(Duration::from_millis(random.random_range(100..1_200))).await;
        runtime.shutdown_background();
    }
    let running = posts
        .clone()
        .map(|(channel, post)| scene.notify_by(ChannelOf { lease: LEASE, ..Scene::channel(channel, post) }));
    let mut states = [Vec::new(), Vec::new()];
    for (channel, states) in Channel::ALL.into_iter().zip(&mut states) {
        for number in 0..COUNT {
            while scene.state(channel, number).await.is_none_or(State::is_open) {
                sleep(Duration::from_millis(20)).await;
            }
            states.push(scene.state(channel, number).await.unwrap());
        }
    }
    for notifier in running {
        notifier.stop().await;
    }
    let [emails, sms] = posts.map(|(_, post)| post.accepted());
    let count = |states: &[State], state: State| states.iter().filter(|it| **it == state).count();
    println!(
        "e-mails: {} and {} copies; SMS: {}, and {} unknown",
        emails.0,
        emails.1,
        sms.0,
        count(&states[1], State::Unknown)
    );
    assert_eq!((emails.0, count(&states[0], State::Sent)), (COUNT, COUNT));
    assert_eq!(sms.1, 0, "no SMS is sent twice");
    assert_eq!(count(&states[1], State::Sent) + count(&states[1], State::Unknown), COUNT);
    assert!(sms.0 >= count(&states[1], State::Sent));
}
