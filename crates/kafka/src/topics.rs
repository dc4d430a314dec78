//! The topics of the project. Only topic-creator creates them; automatic creation is off.

use odds::Region;
use rdkafka::metadata::Metadata;

/// The topic of messages between gateways and producers: account changes, and requests to publish a board again.
pub const CONTROL: &str = "control";

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
    let odds = Region::ALL.into_iter().map(|region| {
        let (partitions, replication) = match region {
            Region::Us | Region::Uk => (2, 2),
            Region::Eu | Region::Au => (1, 1),
        };
        TopicSpec {
            name: topic_of(region).to_owned(),
            partitions,
            replication,
            // The topic holds the live board and little else. Only closed segments are compacted.
            settings: pairs(&[("cleanup.policy", "compact"), ("segment.ms", "600000")]),
        }
    });
    let control = TopicSpec {
        name: CONTROL.to_owned(),
        partitions: 1,
        replication: 2,
        settings: pairs(&[("cleanup.policy", "delete"), ("retention.ms", "86400000")]),
    };
    odds.chain([control]).collect()
}

fn pairs(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Returns the number of a topic's partitions; 0 if it doesn't exist.
pub(crate) fn partitions_of(metadata: &Metadata, topic: &str) -> usize {
    metadata.topics().iter().find(|it| it.name() == topic).map_or(0, |it| it.partitions().len())
}
