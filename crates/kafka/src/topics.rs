//! The topics of the project. Only topic-creator creates them; automatic creation is off.

use std::time::Duration;

use odds::Region;
use rdkafka::metadata::Metadata;

use crate::topic_consumer::dead_letters_of;

/// The topic of messages between gateways and producers: account changes, and requests to publish a board again.
pub const CONTROL: &str = "control";

/// The topic on which every program reports of itself.
pub const FLEET: &str = "fleet";

/// The topic of what fired. The partition is the shard of the user.
pub const ALERTS: &str = "alerts";
pub const ALERT_PARTITIONS: i32 = 8;

/// The topic of what other systems want people to be told.
pub const TRANSACTIONS: &str = "transactions";

/// How long every step stays readable on a region's topic, unless topic-creator is told otherwise.
pub const KEEP_CHANGES: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: i32,
    pub replication: i32,
    /// Settings of the topic that differ from the broker's.
    pub settings: Vec<(String, String)>,
}

pub fn topic_of(region: Region) -> &'static str {
    match region {
        Region::Us => "odds.us",
        Region::Uk => "odds.uk",
        Region::Eu => "odds.eu",
        Region::Au => "odds.au",
    }
}

/// The topics of the project.
pub fn all_topics() -> Vec<TopicSpec> {
    all_topics_with(KEEP_CHANGES)
}

/// The topics of the project, on which every step stays readable for at least `keep_changes`.
pub fn all_topics_with(keep_changes: Duration) -> Vec<TopicSpec> {
    let odds = Region::ALL.into_iter().map(|region| region_topic(region, keep_changes));
    let control = TopicSpec {
        name: CONTROL.to_owned(),
        partitions: 1,
        replication: 2,
        settings: pairs(&[("cleanup.policy", "delete"), ("retention.ms", "86400000")]),
    };
    // The newest report of each program; those of programs that are gone are deleted after an hour or two.
    let fleet = TopicSpec {
        name: FLEET.to_owned(),
        partitions: 1,
        replication: 2,
        settings: pairs(&[("cleanup.policy", "compact,delete"), ("retention.ms", "3600000"), ("segment.ms", "600000")]),
    };
    // What is acknowledged survives the loss of a broker.
    let durable = |name: &str, partitions, days: u32| TopicSpec {
        name: name.to_owned(),
        partitions,
        replication: 3,
        settings: pairs(&[
            ("cleanup.policy", "delete"),
            ("retention.ms", &(86_400_000 * u64::from(days)).to_string()),
            ("min.insync.replicas", "2"),
        ]),
    };
    let transactions = durable(TRANSACTIONS, 3, 7);
    let alerts = durable(ALERTS, ALERT_PARTITIONS, 7);
    let dead_letters = [ALERTS, TRANSACTIONS].map(|topic| durable(&dead_letters_of(topic), 1, 30));
    odds.chain([control, fleet, alerts, transactions]).chain(dead_letters).collect()
}

/// The topic of a region, on which every step stays readable for at least `keep_changes`.
pub fn region_topic(region: Region, keep_changes: Duration) -> TopicSpec {
    let (partitions, replication) = match region {
        Region::Us | Region::Uk => (2, 2),
        Region::Eu | Region::Au => (1, 1),
    };
    TopicSpec {
        name: topic_of(region).to_owned(),
        partitions,
        replication,
        // The topic holds the live board and the newest changes. Only closed segments are compacted. How old a record
        // is counts by the broker's clock.
        settings: pairs(&[
            ("cleanup.policy", "compact"),
            ("segment.ms", "600000"),
            ("min.compaction.lag.ms", &keep_changes.as_millis().to_string()),
            ("message.timestamp.type", "LogAppendTime"),
        ]),
    }
}

fn pairs(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Returns the number of a topic's partitions; 0 if it doesn't exist.
pub(crate) fn partitions_of(metadata: &Metadata, topic: &str) -> usize {
    metadata.topics().iter().find(|it| it.name() == topic).map_or(0, |it| it.partitions().len())
}
