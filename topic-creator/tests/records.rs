//! `tail` and `produce` on an in-memory cluster. The drill tests what needs real brokers.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::io::BufReader;

use kafka::{Embedded, KafkaSettings, all_topics};
use tokio_util::sync::CancellationToken;
use topic_creator::{RecordSettings, TailSettings, TopicError, produce, tail};

/// It has two partitions.
const TOPIC: &str = "odds.us";

fn write(kafka: &KafkaSettings, key: Option<&str>, lines: &[String]) -> Result<usize, TopicError> {
    let settings = RecordSettings { topic: TOPIC.into(), partition: None, key: key.map(str::to_owned) };
    produce(kafka, &settings, &mut BufReader::new(lines.join("\n").as_bytes()))
}

/// Prints this many records from the beginning. Returns the partition and value of each.
fn read(kafka: &KafkaSettings, count: usize, partition: Option<i32>, group: Option<&str>) -> Vec<(i32, String)> {
    let settings = TailSettings {
        topic: TOPIC.into(),
        partition,
        group: group.map(str::to_owned),
        from_beginning: true,
        count: Some(count),
    };
    let mut printed = Vec::new();
    tail(kafka, &settings, &mut printed, &CancellationToken::new()).unwrap();
    let text = String::from_utf8(printed).unwrap();
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split('\t').collect();
        (words[0].parse().unwrap(), words[5].to_owned())
    };
    text.lines().map(of_line).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("line {number}")).collect()
}

#[test]
fn records_without_a_key_go_to_the_partitions_in_turn() {
    let cluster = Embedded::start(&all_topics()).unwrap();
    let kafka = cluster.settings();
    assert_eq!(write(&kafka, None, &numbered(10)).unwrap(), 10);
    let mut records = read(&kafka, 10, None, None);
    records.sort();
    let expected: Vec<_> = (0..10).map(|number| (number % 2, format!("line {number}"))).collect();
    let mut sorted = expected.clone();
    sorted.sort();
    assert_eq!(records, sorted);
    assert_eq!(read(&kafka, 5, Some(1), None).iter().filter(|(partition, _)| *partition == 1).count(), 5);
}

#[test]
fn records_with_a_key_stay_in_one_partition() {
    let cluster = Embedded::start(&all_topics()).unwrap();
    let kafka = cluster.settings();
    write(&kafka, Some("a key"), &numbered(10)).unwrap();
    let records = read(&kafka, 10, None, None);
    let first = records[0].0;
    let expected: Vec<_> = numbered(10).into_iter().map(|line| (first, line)).collect();
    assert_eq!(records, expected, "and in order");
}

#[test]
fn produce_waits_while_its_queue_is_full() {
    let cluster = Embedded::start(&all_topics()).unwrap();
    let mut kafka = cluster.settings();
    kafka.properties.push("producer.queue.buffering.max.messages=10".parse().unwrap());
    kafka.properties.push("producer.linger.ms=20".parse().unwrap());
    assert_eq!(write(&kafka, None, &numbered(500)).unwrap(), 500);
    assert_eq!(read(&kafka, 500, None, None).len(), 500);
}

#[test]
fn a_group_continues_where_it_stopped() {
    let cluster = Embedded::start(&all_topics()).unwrap();
    let kafka = cluster.settings();
    write(&kafka, Some("a key"), &numbered(6)).unwrap();
    let values = |records: Vec<(i32, String)>| records.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
    assert_eq!(values(read(&kafka, 4, None, Some("a group"))), numbered(6)[..4]);
    assert_eq!(values(read(&kafka, 2, None, Some("a group"))), numbered(6)[4..]);
    assert_eq!(values(read(&kafka, 6, None, Some("another"))), numbered(6));
}

#[test]
fn an_unknown_topic_or_partition_is_named_in_the_error() {
    let cluster = Embedded::start(&all_topics()).unwrap();
    let kafka = cluster.settings();
    let settings = |topic: &str, partition| TailSettings {
        topic: topic.into(),
        partition,
        group: None,
        from_beginning: true,
        count: None,
    };
    for (settings, named) in [(settings("odds.xx", None), "odds.xx"), (settings(TOPIC, Some(7)), "odds.us partition 7")]
    {
        let error = tail(&kafka, &settings, &mut Vec::new(), &CancellationToken::new()).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}
