//! The cluster's topics, and how they differ from the planned ones.

use std::time::{Duration, Instant};

use kafka::{KafkaSettings, TopicSpec};
use rdkafka::{
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
};
use tracing::info;

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new topic may take to appear with all its leaders.
const SEEN_WITHIN: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error("no broker of {brokers} answered within {} s: {error}", waited.as_secs())]
    NoBroker { brokers: String, waited: Duration, error: KafkaError },
    #[error(
        "topic {topic} needs {wanted} brokers for its replicas, but {brokers} answered: start more, \
         or accept fewer replicas with --fewer-replicas"
    )]
    TooFewBrokers { topic: String, wanted: i32, brokers: i32 },
    #[error("topic {topic}: {reason}")]
    Failed { topic: String, reason: String },
    #[error("topic {0} was created, but does not appear in the cluster")]
    NotSeen(String),
    #[error("there is no topic {0}")]
    Unknown(String),
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// The result of creating a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    New,
    WasThere {
        /// Settings that were other than planned, and are changed now.
        changed: Vec<Difference>,
        /// What is other than planned and was not changed.
        differs: Vec<Difference>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub planned: String,
    pub found: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub id: i32,
    pub leader: i32,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

pub struct Cluster {
    admin: AdminClient<DefaultClientContext>,
    brokers: String,
}

impl Cluster {
    pub fn new(settings: &KafkaSettings) -> Result<Self, TopicError> {
        let admin = settings.client(None, &[]).create()?;
        Ok(Self { admin, brokers: settings.brokers.clone() })
    }

    /// Waits until a broker answers. Returns how many there are.
    pub async fn wait_for_brokers(&self, within: Duration) -> Result<i32, TopicError> {
        let end = Instant::now() + within;
        loop {
            let error = match self.admin.inner().fetch_metadata(None, Duration::from_secs(2)) {
                Ok(metadata) if !metadata.brokers().is_empty() => return Ok(metadata.brokers().len() as i32),
                Ok(_) => KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerNotAvailable),
                Err(error) => error,
            };
            if Instant::now() >= end {
                return Err(TopicError::NoBroker { brokers: self.brokers.clone(), waited: within, error });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn topics(&self) -> Result<Vec<Topic>, TopicError> {
        let mut topics = topics_of(&self.admin.inner().fetch_metadata(None, TIMEOUT)?);
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    pub fn topic(&self, name: &str) -> Result<Topic, TopicError> {
        self.topics()?.into_iter().find(|topic| topic.name == name).ok_or_else(|| TopicError::Unknown(name.to_owned()))
    }

    /// Creates the topic if it is missing. If it exists, changes those of its settings that the plan names, and returns
    /// how it differed.
    pub async fn create(&self, plan: &TopicSpec, brokers: i32, fewer_replicas: bool) -> Result<Created, TopicError> {
        let mut plan = plan.clone();
        if plan.replication > brokers {
            if !fewer_replicas {
                return Err(TopicError::TooFewBrokers { topic: plan.name, wanted: plan.replication, brokers });
            }
            plan.replication = brokers;
        }
        if let Ok(found) = self.topic(&plan.name) {
            return self.adapt(&plan, &found).await;
        }
        let mut topic = NewTopic::new(&plan.name, plan.partitions, TopicReplication::Fixed(plan.replication));
        for (name, value) in &plan.settings {
            topic = topic.set(name, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        for result in self.admin.create_topics([&topic], &options).await? {
            match result {
                Ok(_) => {}
                // Another process created it first.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(TopicError::Failed { topic, reason: format!("can't be created: {code}") });
                }
            }
        }
        self.wait_until_seen(&plan.name).await?;
        info!(topic = plan.name, partitions = plan.partitions, replication = plan.replication, "topic created");
        Ok(Created::New)
    }

    async fn wait_until_seen(&self, name: &str) -> Result<(), TopicError> {
        let end = Instant::now() + SEEN_WITHIN;
        while Instant::now() < end {
            let seen =
                self.topic(name).is_ok_and(|topic| topic.partitions.iter().all(|partition| partition.leader >= 0));
            if seen {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(TopicError::NotSeen(name.to_owned()))
    }

    async fn adapt(&self, plan: &TopicSpec, found: &Topic) -> Result<Created, TopicError> {
        let replicas = found.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0);
        let differs = differences([
            ("partitions", plan.partitions.to_string(), found.partitions.len().to_string()),
            ("replication factor", plan.replication.to_string(), replicas.to_string()),
        ]);
        let settings = self.settings(&plan.name).await?;
        let value = |name: &str| settings.get(name).and_then(|entry| entry.value.clone()).unwrap_or_default();
        let planned = plan.settings.iter().map(|(name, planned)| (name.as_str(), planned.clone(), value(name)));
        let changed = differences(planned);
        if !changed.is_empty() {
            self.change(plan, &settings).await?;
        }
        Ok(Created::WasThere { changed, differs })
    }

    async fn settings(&self, topic: &str) -> Result<ConfigResource, TopicError> {
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let described = self.admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &options).await?;
        let failed = |reason: String| TopicError::Failed { topic: topic.to_owned(), reason };
        let described = described.into_iter().next().ok_or_else(|| failed("its settings are missing".to_owned()))?;
        described.map_err(|code| failed(format!("its settings can't be read: {code}")))
    }

    /// Changes the settings that the plan names. The request replaces all settings of a topic, so those that somebody
    /// else has set are in it, too.
    async fn change(&self, plan: &TopicSpec, settings: &ConfigResource) -> Result<(), TopicError> {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(&plan.name));
        for entry in settings.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic) {
            if let Some(value) = &entry.value {
                change = change.set(&entry.name, value);
            }
        }
        for (name, value) in &plan.settings {
            change = change.set(name, value);
        }
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        for result in self.admin.alter_configs([&change], &options).await? {
            result.map_err(|(_, code)| TopicError::Failed {
                topic: plan.name.clone(),
                reason: format!("its settings can't be changed: {code}"),
            })?;
        }
        info!(topic = plan.name, "settings changed");
        Ok(())
    }
}

/// Those of (what, planned, found) that are not as planned.
fn differences<'a>(all: impl IntoIterator<Item = (&'a str, String, String)>) -> Vec<Difference> {
    let differing = all.into_iter().filter(|(_, planned, found)| planned != found);
    differing.map(|(what, planned, found)| Difference { what: what.to_owned(), planned, found }).collect()
}

fn topics_of(metadata: &Metadata) -> Vec<Topic> {
    let partition = |it: &rdkafka::metadata::MetadataPartition| Partition {
        id: it.id(),
        leader: it.leader(),
        replicas: it.replicas().to_vec(),
        in_sync: it.isr().to_vec(),
    };
    metadata
        .topics()
        .iter()
        .map(|topic| {
            let mut partitions: Vec<Partition> = topic.partitions().iter().map(partition).collect();
            partitions.sort_by_key(|partition| partition.id);
            Topic { name: topic.name().to_owned(), partitions }
        })
        .collect()
}
