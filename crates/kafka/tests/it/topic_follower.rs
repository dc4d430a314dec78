//! Tests of `TopicFollower`: every process gets every message.

use std::time::Duration;

use kafka::{
    ControlMessage, ControlWriter, Embedded, KafkaSettings, ReadFrom, Role, TopicFollower, TopicSpec, follow_control,
};
use odds::Region;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::time::timeout;

const TOPIC: &str = "numbers";
const DEADLINE: Duration = Duration::from_secs(60);
/// Longer than existing messages take to arrive.
const A_WHILE: Duration = Duration::from_secs(2);

fn cluster() -> Embedded {
    let topic =
        |name: &str, partitions| TopicSpec { name: name.into(), partitions, replication: 1, settings: Vec::new() };
    Embedded::start(&[topic(TOPIC, 3), topic(kafka::CONTROL, 1)]).unwrap()
}

async fn write(kafka: &KafkaSettings, partition: i32, value: &str) {
    let producer: FutureProducer = kafka.client(Role::Producer, &[]).create().unwrap();
    let record = FutureRecord::<str, str>::to(TOPIC).partition(partition).payload(value);
    producer.send(record, DEADLINE).await.unwrap();
}

async fn numbers(follower: &mut TopicFollower<u32>, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(timeout(DEADLINE, follower.next()).await.expect("a message"));
    }
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_follower_reads_all_partitions_from_the_beginning_and_skips_unknown_messages() {
    let cluster = cluster();
    let kafka = cluster.settings();
    for partition in 0..3 {
        write(&kafka, partition, &partition.to_string()).await;
        write(&kafka, partition, r#"{"of": "a later version"}"#).await;
    }
    let follower = || TopicFollower::<u32>::new(&kafka, TOPIC, ReadFrom::Beginning).unwrap();
    let mut followers = [follower(), follower()];
    for follower in &mut followers {
        assert_eq!(numbers(follower, 3).await, [0, 1, 2]);
    }
    for partition in 0..3 {
        write(&kafka, partition, "7").await;
    }
    for follower in &mut followers {
        assert_eq!(numbers(follower, 3).await, [7, 7, 7]);
        assert!(timeout(A_WHILE, follower.next()).await.is_err(), "a message arrived twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_from_the_end_misses_old_messages_only() {
    let cluster = cluster();
    let kafka = cluster.settings();
    for partition in 0..3 {
        write(&kafka, partition, "1").await;
    }
    let mut follower = TopicFollower::<u32>::new(&kafka, TOPIC, ReadFrom::End).unwrap();
    assert!(timeout(A_WHILE, follower.next()).await.is_err());
    for partition in 0..3 {
        write(&kafka, partition, "2").await;
    }
    assert_eq!(numbers(&mut follower, 3).await, [2, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_waits_while_no_broker_can_be_reached() {
    let cluster = cluster();
    let kafka = cluster.settings();
    write(&kafka, 2, "1").await;
    (1..=3).for_each(|broker| cluster.broker_down(broker).unwrap());
    let mut follower = TopicFollower::<u32>::new(&kafka, TOPIC, ReadFrom::Beginning).unwrap();
    assert!(timeout(A_WHILE, follower.next()).await.is_err());
    (1..=3).for_each(|broker| cluster.broker_up(broker).unwrap());
    assert_eq!(numbers(&mut follower, 1).await, [1]);
    (1..=3).for_each(|broker| cluster.broker_down(broker).unwrap());
    assert!(timeout(A_WHILE, follower.next()).await.is_err());
    (1..=3).for_each(|broker| cluster.broker_up(broker).unwrap());
    write(&kafka, 1, "2").await;
    assert_eq!(numbers(&mut follower, 1).await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_messages_reach_every_follower() {
    let cluster = cluster();
    let kafka = cluster.settings();
    let mut followers = [follow_control(&kafka).unwrap(), follow_control(&kafka).unwrap()];
    // Until a follower has found the topic's end, it may miss messages.
    for follower in &mut followers {
        assert!(timeout(A_WHILE, follower.next()).await.is_err());
    }
    let message = ControlMessage::Republish { region: Region::Uk };
    ControlWriter::new(&kafka).unwrap().send(&message).await.unwrap();
    for follower in &mut followers {
        assert_eq!(timeout(DEADLINE, follower.next()).await.unwrap(), message);
    }
}
