//! The cluster as it is: its brokers, its topics, and how those differ from the planned ones.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    metadata::{Metadata, MetadataPartition},
};

use crate::{KafkaSettings, TopicSpec};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    /// As host:port.
    pub address: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub id: i32,
    /// -1 if there is none.
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// What is other than planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub planned: String,
    pub found: String,
}

/// The brokers that answer, and all topics by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    pub brokers: Vec<Broker>,
    pub topics: Vec<Topic>,
}

impl ClusterState {
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// The brokers that have replicas, but don't answer.
    pub fn missing_brokers(&self) -> Vec<i32> {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let mut missing: Vec<i32> = partitions.flat_map(|partition| partition.replicas.iter().copied()).collect();
        missing.retain(|id| self.brokers.iter().all(|broker| broker.id != *id));
        missing.sort_unstable();
        missing.dedup();
        missing
    }
}

impl Topic {
    /// How many partitions nobody leads.
    pub fn without_leader(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.leader < 0).count()
    }

    /// How many partitions lack replicas that are in sync.
    pub fn out_of_sync(&self) -> usize {
        self.partitions.iter().filter(|partition| partition.in_sync.len() < partition.replicas.len()).count()
    }

    /// How many replicas each of its partitions has at least.
    pub fn replicas(&self) -> usize {
        self.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0)
    }

    /// How its partitions and replicas differ from the plan. It may have more replicas than planned.
    pub fn differences(&self, plan: &TopicSpec) -> Vec<Difference> {
        let (planned, found) = (plan.replication as usize, self.replicas());
        differences([
            ("partitions", plan.partitions.to_string(), self.partitions.len().to_string()),
            ("replication factor", planned.to_string(), found.min(planned).to_string()),
        ])
    }
}

/// Reads the state of a cluster.
#[derive(Clone)]
pub struct ClusterReader {
    admin: Arc<AdminClient<DefaultClientContext>>,
}

impl ClusterReader {
    pub fn new(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        Ok(Self { admin: Arc::new(settings.client(None, &[]).create()?) })
    }

    pub fn admin(&self) -> &AdminClient<DefaultClientContext> {
        &self.admin
    }

    /// Returns the brokers and topics that the cluster has now.
    pub async fn state(&self, within: Duration) -> Result<ClusterState, KafkaError> {
        let admin = self.admin.clone();
        let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(None, within));
        let metadata = asked.await.map_err(|error| KafkaError::ClientCreation(error.to_string()))??;
        Ok(state_of(&metadata))
    }

    /// Returns the settings of each of these topics.
    pub async fn settings(
        &self,
        topics: &[&str],
        within: Duration,
    ) -> Result<Vec<Result<ConfigResource, RDKafkaErrorCode>>, KafkaError> {
        let options = AdminOptions::new().request_timeout(Some(within));
        let topics: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        self.admin.describe_configs(&topics, &options).await
    }
}

/// Those settings that the plan names and that are other than planned.
pub fn different_settings(plan: &TopicSpec, settings: &ConfigResource) -> Vec<Difference> {
    let value = |name: &str| settings.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
    differences(plan.settings.iter().map(|(name, planned)| (name.as_str(), planned.clone(), value(name))))
}

/// Those of (what, planned, found) that are not as planned.
fn differences<'a>(all: impl IntoIterator<Item = (&'a str, String, String)>) -> Vec<Difference> {
    let differing = all.into_iter().filter(|(_, planned, found)| planned != found);
    differing.map(|(what, planned, found)| Difference { what: what.to_owned(), planned, found }).collect()
}

fn state_of(metadata: &Metadata) -> ClusterState {
    let partition = |it: &MetadataPartition| Partition {
        id: it.id(),
        leader: it.leader(),
        replicas: it.replicas().to_vec(),
        in_sync: it.isr().to_vec(),
    };
    let topics = metadata.topics().iter().map(|topic| {
        let mut partitions: Vec<Partition> = topic.partitions().iter().map(partition).collect();
        partitions.sort_by_key(|partition| partition.id);
        (topic.name().to_owned(), partitions)
    });
    // By name.
    let topics: BTreeMap<String, Vec<Partition>> = topics.collect();
    let mut brokers: Vec<Broker> = metadata
        .brokers()
        .iter()
        .map(|broker| Broker { id: broker.id(), address: format!("{}:{}", broker.host(), broker.port()) })
        .collect();
    brokers.sort_by_key(|broker| broker.id);
    ClusterState { brokers, topics: topics.into_iter().map(|(name, partitions)| Topic { name, partitions }).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(leader: i32, replicas: &[i32], in_sync: &[i32]) -> Partition {
        Partition { id: 0, leader, replicas: replicas.to_vec(), in_sync: in_sync.to_vec() }
    }

    #[test]
    fn brokers_that_should_answer_are_missed() {
        let broker = |id| Broker { id, address: format!("b{id}:9092") };
        let topic = |name: &str, partitions| Topic { name: name.into(), partitions };
        let state = ClusterState {
            brokers: vec![broker(1), broker(3)],
            topics: vec![
                topic("a", vec![partition(1, &[1, 2], &[1]), partition(-1, &[2], &[2])]),
                topic("b", vec![partition(3, &[3, 1], &[1, 3])]),
            ],
        };
        assert_eq!(state.missing_brokers(), [2]);
        let (a, b) = (state.topic("a").unwrap(), state.topic("b").unwrap());
        assert_eq!((a.without_leader(), a.out_of_sync(), b.without_leader(), b.out_of_sync()), (1, 1, 0, 0));
        let plan = TopicSpec { name: "b".into(), partitions: 2, replication: 2, settings: Vec::new() };
        let differs = b.differences(&plan);
        assert_eq!(differs, [Difference { what: "partitions".into(), planned: "2".into(), found: "1".into() }]);
        let plan = |replication| TopicSpec { name: "b".into(), partitions: 1, replication, settings: Vec::new() };
        assert_eq!(b.differences(&plan(1)), [], "it has more replicas than planned");
        assert_eq!(b.differences(&plan(3)).len(), 1);
    }
}
