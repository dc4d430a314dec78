//! Tests of `RegionFollower`: after any failure of Kafka or the topic, it reaches the board that was written.

use std::{sync::Arc, time::Duration};

use kafka::{
    CONTROL, ConsumerMode, ControlMessage, ControlWriter, Embedded, FollowerEvent, KafkaSettings, LostBoard, Publisher,
    ReadError, RegionFollower, Role, Steps, TopicSpec, all_topics, follow_control, topic_of,
};
use odds::{Credits, Digest, FeedState, Marker, Outgoing, Record, RecordKind, Region, StepId, Timestamp};
use rand::{SeedableRng, rngs::StdRng};
use rdkafka::producer::{FutureProducer, FutureRecord};
use testkit::author::{Author, draw_board, draw_changes};
use tokio::time::{Instant, timeout, timeout_at};

const REGION: Region = Region::Uk;
const DEADLINE: Duration = Duration::from_secs(60);
const EVENTS: u32 = 20;

struct Scene {
    cluster: Embedded,
    random: StdRng,
}

impl Scene {
    /// Returns a scene with these topics only.
    fn with(topics: &[TopicSpec]) -> Self {
        Self { cluster: Embedded::start(topics).unwrap(), random: StdRng::seed_from_u64(7) }
    }

    fn new() -> Self {
        Self::with(&all_topics())
    }

    fn kafka(&self) -> KafkaSettings {
        self.cluster.settings()
    }

    /// Returns a writer of the topic that has published a first board.
    async fn author(&mut self) -> Author {
        let mut author = Author::start(&self.kafka(), REGION).await;
        author.step(draw_board(&mut self.random, EVENTS)).await;
        author
    }

    async fn steps(&mut self, author: &mut Author, count: u32) -> Vec<StepId> {
        let mut steps = Vec::new();
        for _ in 0..count {
            steps.push(author.step(draw_changes(&mut self.random, EVENTS)).await);
        }
        steps
    }

    fn follower(&self, steps: Steps) -> RegionFollower {
        RegionFollower::new(self.kafka(), REGION, ConsumerMode::Alone, steps)
    }

    fn all_brokers_down(&self) {
        (1..=3).for_each(|broker| self.cluster.broker_down(broker).unwrap());
    }

    fn all_brokers_up(&self) {
        (1..=3).for_each(|broker| self.cluster.broker_up(broker).unwrap());
    }
}

async fn next(follower: &mut RegionFollower) -> FollowerEvent {
    timeout(DEADLINE, follower.next()).await.expect("an event").unwrap()
}

/// Returns all events up to the first of this kind.
async fn until(follower: &mut RegionFollower, is_last: impl Fn(&FollowerEvent) -> bool) -> Vec<FollowerEvent> {
    let end = Instant::now() + DEADLINE;
    let mut events = Vec::new();
    while !events.last().is_some_and(&is_last) {
        let event = timeout_at(end, follower.next()).await;
        events.push(event.unwrap_or_else(|_| panic!("the event didn't come, only {events:?}")).unwrap());
    }
    events
}

async fn until_verified(follower: &mut RegionFollower, step: StepId) -> Vec<FollowerEvent> {
    until(follower, |event| matches!(event, FollowerEvent::Verified(it) if *it == step)).await
}

fn verified(events: &[FollowerEvent]) -> Vec<StepId> {
    let step = |event: &FollowerEvent| match event {
        FollowerEvent::Verified(step) => Some(*step),
        _ => None,
    };
    events.iter().filter_map(step).collect()
}

fn assert_nothing_was_lost(events: &[FollowerEvent]) {
    assert!(!events.iter().any(|event| matches!(event, FollowerEvent::Lost(_))), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_board_comes_first_and_then_every_step() {
    let mut scene = Scene::new();
    let mut author = scene.author().await;
    scene.steps(&mut author, 5).await;
    let mut follower = scene.follower(Steps::Newest);
    assert!(!follower.is_loaded() && follower.board().event_count() == 0);
    let events = until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;
    assert!(matches!(events[0], FollowerEvent::Loading), "{events:?}");
    assert_eq!(verified(&events), [], "steps read while loading are not returned");
    assert_eq!(follower.board().digest(), author.board().digest());
    for _ in 0..10 {
        let step = author.step(draw_changes(&mut scene.random, EVENTS)).await;
        assert_eq!(verified(&until_verified(&mut follower, step).await), [step]);
        assert_eq!(follower.board().digest(), author.board().digest());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_is_returned_also_while_loading() {
    let mut scene = Scene::new();
    let mut author = scene.author().await;
    let first = author.last_step();
    let steps = [vec![first], scene.steps(&mut author, 5).await].concat();
    // Another leader's fence between the steps verifies nothing.
    author.new_term().await;
    let steps = [steps, scene.steps(&mut author, 3).await].concat();
    let mut follower = scene.follower(Steps::Every);
    let mut passed = Vec::new();
    loop {
        match next(&mut follower).await {
            FollowerEvent::Verified(step) => {
                assert!(follower.reader().is_verified());
                passed.push(step);
            }
            FollowerEvent::Loaded => break,
            event => assert!(matches!(event, FollowerEvent::Loading | FollowerEvent::Advanced), "{event:?}"),
        }
    }
    assert_eq!(passed, steps);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_follower_rests_records_wait_and_none_is_lost() {
    for mode in
        [ConsumerMode::Alone, ConsumerMode::Group { group: "rests".into(), instance: "one".into(), consumers: 2 }]
    {
        let mut scene = Scene::new();
        let mut author = scene.author().await;
        let mut follower = RegionFollower::new(scene.kafka(), REGION, mode, Steps::Newest);
        until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;
        let step = author.step(draw_changes(&mut scene.random, EVENTS)).await;
        until_verified(&mut follower, step).await;
        // What is left of the last records.
        while let Ok(event) = timeout(Duration::from_millis(300), follower.next()).await {
            event.unwrap();
        }
        let end = Instant::now() + Duration::from_secs(4);
        follower.rest_until(end);
        let steps = scene.steps(&mut author, 3).await;
        let mut passed = verified(&[next(&mut follower).await]);
        assert!(Instant::now() >= end, "it did not rest");
        passed.extend(verified(&until_verified(&mut follower, steps[2]).await));
        assert_eq!(passed, steps);
        assert_eq!(follower.board().digest(), author.board().digest());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_at_the_start_are_waited_for() {
    let mut scene = Scene::new();
    let author = scene.author().await;
    scene.all_brokers_down();
    let mut follower = scene.follower(Steps::Newest);
    let event = next(&mut follower).await;
    assert!(matches!(event, FollowerEvent::Unavailable(ReadError::Kafka { .. })), "{event:?}");
    scene.all_brokers_up();
    until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;
    assert_eq!(follower.board().digest(), author.board().digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_go_away_later_cost_nothing_but_time() {
    let mut scene = Scene::new();
    let mut author = scene.author().await;
    let mut follower = scene.follower(Steps::Newest);
    until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;
    scene.all_brokers_down();
    assert!(timeout(Duration::from_secs(3), follower.next()).await.is_err(), "an event came without brokers");
    assert_eq!(follower.board().digest(), author.board().digest());
    scene.all_brokers_up();
    let step = author.step(draw_changes(&mut scene.random, EVENTS)).await;
    assert_nothing_was_lost(&until_verified(&mut follower, step).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_reported() {
    let others: Vec<TopicSpec> = all_topics().into_iter().filter(|topic| topic.name == CONTROL).collect();
    let scene = Scene::with(&others);
    let mut follower = scene.follower(Steps::Newest);
    let FollowerEvent::Unavailable(error) = next(&mut follower).await else { panic!("there is no topic") };
    assert!(matches!(error, ReadError::NoTopic(topic) if topic == topic_of(REGION)), "{error}");
    assert!(error.to_string().contains("topic-creator create"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_too_many_partitions_is_reported() {
    let mut topics = all_topics();
    topics.iter_mut().for_each(|topic| topic.partitions = 65);
    let scene = Scene::with(&topics);
    let event = next(&mut scene.follower(Steps::Newest)).await;
    let too_many = |error: &ReadError| matches!(error, ReadError::TooManyPartitions { partitions: 65, .. });
    assert!(matches!(&event, FollowerEvent::Unavailable(error) if too_many(error)), "{event:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_skipped_and_counted() {
    let mut scene = Scene::new();
    let mut author = scene.author().await;
    let mut follower = scene.follower(Steps::Newest);
    until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;
    let producer: FutureProducer = scene.kafka().client(Role::Producer, &[]).create().unwrap();
    for partition in 0..2 {
        let nonsense = FutureRecord::<str, str>::to(topic_of(REGION)).partition(partition).key("a").payload("{");
        producer.send(nonsense, DEADLINE).await.unwrap();
    }
    let step = author.step(draw_changes(&mut scene.random, EVENTS)).await;
    assert_nothing_was_lost(&until_verified(&mut follower, step).await);
    assert_eq!(follower.unreadable(), 2);
    assert_eq!(follower.board().digest(), author.board().digest());
}

/// Writes a marker of the step after `last`, with the digest of another board.
async fn write_wrong_marker(kafka: &KafkaSettings, last: StepId) -> StepId {
    let marker = Marker {
        digest: Digest::default(),
        at: far_ahead(),
        position: None,
        next_by: far_ahead(),
        state: FeedState::Live,
        reason: None,
        source: "test".into(),
        credits: Credits::default(),
        sports: [].into(),
        bookmakers: [].into(),
        bookmaker_names: [].into(),
        spent_today: None,
    };
    let record = Record { id: last.next(), kind: RecordKind::Marker(Box::new(marker)) };
    let outgoing = |partition| Outgoing {
        partition,
        id: record.id,
        key: record.key().to_owned(),
        value: record.value().map(Arc::from),
    };
    let markers: Vec<Outgoing> = (0..2).map(outgoing).collect();
    Publisher::new(kafka, REGION).unwrap().send(&markers).await.unwrap();
    record.id
}

fn far_ahead() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_that_does_not_match_is_read_again_and_then_requested() {
    let mut scene = Scene::new();
    let mut author = scene.author().await;
    scene.steps(&mut author, 3).await;
    let kafka = scene.kafka();
    let mut control = follow_control(&kafka).unwrap();
    let mut follower = scene.follower(Steps::Newest).requesting_republish(ControlWriter::new(&kafka).unwrap());
    until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;

    // A board that was verified before is read again at once.
    let wrong = write_wrong_marker(&kafka, author.last_step()).await;
    let is_mismatch = |event: &FollowerEvent| matches!(event, FollowerEvent::Lost(LostBoard::Mismatch(_)));
    until(&mut follower, is_mismatch).await;
    assert_eq!(follower.board().event_count(), 0, "a wrong board is not returned");
    let began = Instant::now();
    until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;
    assert!(began.elapsed() < Duration::from_millis(1_500), "it took {:?}", began.elapsed());
    assert!(!follower.reader().is_verified(), "the topic still ends with the wrong marker");

    // A board that was just read is read again later, and the leader is asked to publish everything.
    let wrong = write_wrong_marker(&kafka, wrong).await;
    until(&mut follower, is_mismatch).await;
    let began = Instant::now();
    let asked = timeout(DEADLINE, control.next()).await.expect("the leader gets a request");
    assert_eq!(asked, ControlMessage::Republish { region: REGION });
    until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;
    assert!(began.elapsed() > Duration::from_millis(1_500), "it took only {:?}", began.elapsed());

    let mut leader = Author::start(&kafka, REGION).await;
    assert!(leader.last_step() > wrong);
    let step = leader.step(draw_board(&mut scene.random, EVENTS)).await;
    until_verified(&mut follower, step).await;
    assert_eq!(follower.board().digest(), leader.board().digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_reads_a_wrong_board_again_at_once() {
    // Less than the pause of other readers after as many mismatches.
    const AT_ONCE: Duration = Duration::from_secs(3);
    let mut scene = Scene::new();
    let author = scene.author().await;
    let kafka = scene.kafka();
    let mut follower = scene.follower(Steps::Newest);
    let mut last = author.last_step();
    for _ in 0..3 {
        until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;
        last = write_wrong_marker(&kafka, last).await;
        until(&mut follower, |event| matches!(event, FollowerEvent::Lost(LostBoard::Mismatch(_)))).await;
    }
    follower.set_writer(true);
    for _ in 0..2 {
        let began = Instant::now();
        until(&mut follower, |event| matches!(event, FollowerEvent::Loading)).await;
        assert!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
        until(&mut follower, |event| matches!(event, FollowerEvent::Loaded)).await;
        last = write_wrong_marker(&kafka, last).await;
        until(&mut follower, |event| matches!(event, FollowerEvent::Lost(LostBoard::Mismatch(_)))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_in_the_middle_of_steps_disturb_no_board() {
    let mut scene = Scene::new();
    let mut author = scene.author().await;
    let member = |instance: &str| {
        let (group, instance) = ("test-group".to_owned(), instance.to_owned());
        let mode = ConsumerMode::Group { group, instance, consumers: 1 };
        RegionFollower::new(scene.kafka(), REGION, mode, Steps::Newest)
    };
    let (mut stays, mut comes) = (member("stays"), member("comes"));
    let mut random = StdRng::seed_from_u64(3);
    let writing = tokio::spawn(async move {
        let end = Instant::now() + Duration::from_secs(12);
        while Instant::now() < end {
            author.step(draw_changes(&mut random, EVENTS)).await;
        }
        author
    });
    until(&mut stays, |event| matches!(event, FollowerEvent::Loaded)).await;
    // The first member has both partitions, then one of them, then both again.
    let both_for = Instant::now() + Duration::from_secs(4);
    let mut events = Vec::new();
    while let Ok(event) = timeout_at(both_for, stays.next()).await {
        events.push(event.unwrap());
    }
    let shared_for = Instant::now() + Duration::from_secs(5);
    let mut of_the_other = Vec::new();
    loop {
        tokio::select! {
            event = stays.next() => events.push(event.unwrap()),
            event = comes.next() => of_the_other.push(event.unwrap()),
            () = tokio::time::sleep_until(shared_for) => break,
        }
    }
    drop(comes);
    let mut author = writing.await.unwrap();
    let step = author.step(draw_changes(&mut scene.random, EVENTS)).await;
    events.extend(until_verified(&mut stays, step).await);
    for events in [&events, &of_the_other] {
        assert_nothing_was_lost(events);
        assert!(verified(events).len() > 10, "{} steps", verified(events).len());
    }
    assert_eq!(stays.board().digest(), author.board().digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_may_be_interrupted_and_dropped_at_any_time() {
    let mut scene = Scene::new();
    let mut author = scene.author().await;
    scene.steps(&mut author, 100).await;
    for patience in [0, 1, 5, 20, 100] {
        let mut stopped = scene.follower(Steps::Every);
        let _ = timeout(Duration::from_millis(patience), async { while stopped.next().await.is_ok() {} }).await;
        let began = Instant::now();
        drop(stopped);
        assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    }
    let mut follower = scene.follower(Steps::Every);
    let end = Instant::now() + DEADLINE;
    let mut steps = 0;
    while !follower.is_loaded() {
        assert!(Instant::now() < end, "{steps} steps");
        // Interrupted, as in a loop with other work.
        if let Ok(event) = timeout(Duration::from_millis(1), follower.next()).await {
            steps += u32::from(matches!(event.unwrap(), FollowerEvent::Verified(_)));
        }
    }
    while !matches!(next(&mut follower).await, FollowerEvent::Loaded) {
        steps += 1;
    }
    assert_eq!(follower.board().digest(), author.board().digest());
    assert!(steps >= 101, "{steps} of 101 steps");
}
