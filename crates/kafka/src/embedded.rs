//! librdkafka's in-process Kafka cluster: three brokers on loopback, in memory.
//!
//! It answers produce, fetch and group requests over the real protocol. It elects no leaders, can't create topics by
//! the admin protocol, and keeps a few megabytes in each partition.

use std::{
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use rdkafka::{
    error::{KafkaError, KafkaResult},
    mocking::{MockCluster, MockCoordinator},
    producer::DefaultProducerContext,
};

use crate::{KafkaSettings, TopicSpec};

const BROKERS: i32 = 3;
/// After this time, an unanswered request was probably missed by the cluster.
const WAKE_AFTER: Duration = Duration::from_millis(20);

type Work = Box<dyn FnOnce(&Cluster) + Send>;
type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A running cluster. It stops when this is dropped.
#[derive(Debug)]
pub struct Embedded {
    brokers: String,
    // The cluster's handle must stay on one thread, which is reached through this channel.
    work: mpsc::Sender<Work>,
}

impl Embedded {
    /// Starts the brokers and creates the topics.
    pub fn start(topics: &[TopicSpec]) -> KafkaResult<Self> {
        let (work, todo) = mpsc::channel::<Work>();
        let (ready, started) = mpsc::channel();
        thread::Builder::new()
            .name("embedded-kafka".into())
            .spawn(move || match MockCluster::new(BROKERS) {
                Err(error) => drop(ready.send(Err(error))),
                Ok(cluster) => {
                    drop(ready.send(Ok(cluster.bootstrap_servers())));
                    todo.iter().for_each(|work| work(&cluster));
                }
            })
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        let brokers = started.recv().map_err(|_| KafkaError::ClientCreation("the cluster's thread died".into()))??;
        let this = Self { brokers, work };
        for topic in topics {
            let TopicSpec { name, partitions, replication, .. } = topic.clone();
            this.ask(move |cluster| cluster.create_topic(&name, partitions, replication))?;
        }
        Ok(this)
    }

    /// The settings for the cluster's clients, with properties that suit a cluster in memory.
    pub fn settings(&self) -> KafkaSettings {
        let properties = [
            "consumer.session.timeout.ms=6000",
            "consumer.heartbeat.interval.ms=500",
            // The cluster's long poll doesn't return early when data arrives.
            "consumer.fetch.wait.max.ms=5",
            "log_level=2",
        ];
        let properties = properties.map(|text| text.parse().expect("a valid property")).to_vec();
        KafkaSettings { brokers: self.brokers.clone(), properties }
    }

    /// Makes a broker the leader of a partition, as Kafka does by itself when one dies.
    pub fn move_leader(&self, topic: &str, partition: i32, broker: i32) -> KafkaResult<()> {
        let topic = topic.to_owned();
        self.ask(move |cluster| cluster.partition_leader(&topic, partition, Some(broker)))
    }

    pub fn move_coordinator(&self, group: &str, broker: i32) -> KafkaResult<()> {
        let group = group.to_owned();
        self.ask(move |cluster| cluster.coordinator(MockCoordinator::Group(group), broker))
    }

    pub fn broker_down(&self, broker: i32) -> KafkaResult<()> {
        self.ask(move |cluster| cluster.broker_down(broker))
    }

    pub fn broker_up(&self, broker: i32) -> KafkaResult<()> {
        self.ask(move |cluster| cluster.broker_up(broker))
    }

    fn ask<T: Send + 'static>(&self, what: impl FnOnce(&Cluster) -> KafkaResult<T> + Send + 'static) -> KafkaResult<T> {
        let (answer, answered) = mpsc::channel();
        let gone = || KafkaError::ClientCreation("the cluster's thread died".into());
        self.work.send(Box::new(move |cluster| drop(answer.send(what(cluster))))).map_err(|_| gone())?;
        loop {
            match answered.recv_timeout(WAKE_AFTER) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) => self.wake(),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }

    /// The cluster can miss a request, because it checks for requests before it reads the byte that wakes it. It then
    /// sleeps for up to a second, unless a connection wakes it.
    fn wake(&self) {
        let brokers = self.brokers.split(',').filter_map(|broker| broker.parse::<SocketAddr>().ok());
        for broker in brokers {
            if TcpStream::connect_timeout(&broker, WAKE_AFTER).is_ok() {
                return;
            }
        }
    }
}
