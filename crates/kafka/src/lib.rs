//! Toteboard on Kafka: topics, client settings, and the ways to read and write a topic. It includes librdkafka's
//! in-process cluster, for use without Kafka.
//!
//! [`RegionFollower`] reads a region's odds into a verified board. [`TopicFollower`] reads all of a small topic.
//! [`TopicConsumer`] reads topics in a consumer group and gives each record to a handler. [`PartitionGroup`] divides the
//! partitions of a topic among processes. [`WholeTopic`] reads what a topic has now. [`Election`] elects one leader for a
//! job; [`SoleLeader`] leads a region where nobody else can. [`ClusterReader`] tells how the brokers and topics are.

mod client_log;
mod cluster;
mod control;
mod dead_letters;
mod drop_in_background;
mod election;
mod embedded;
mod partition_group;
mod publisher;
mod record;
mod record_producer;
mod region_follower;
mod region_log;
mod sender;
mod settings;
mod sole_leader;
mod topic_consumer;
mod topic_follower;
mod topic_writer;
mod topics;
mod whole_topic;

pub use rdkafka::error::KafkaError;

pub use cluster::{Broker, ClusterReader, ClusterState, Difference, Partition, Topic, different_settings};
pub use control::{ControlMessage, ControlWriter, follow_control};
pub use dead_letters::{DeadLetter, DeadLetterError, Replayed, newest_dead_letters, replay_dead_letters};
pub use election::{Election, ElectionEvent};
pub use embedded::Embedded;
pub use partition_group::{GroupEvent, PartitionGroup};
pub use publisher::{Delivered, MAX_RECORD_BYTES, Publisher};
pub use record::{from_message, to_headers};
pub use record_producer::{NewRecord, Placed, RecordProducer, partition_of_key};
pub use region_follower::{FollowerEvent, LostBoard, RegionFollower, Steps};
pub use region_log::{ConsumerMode, LagGauge, ReadError};
pub use settings::{InvalidProperty, KafkaSettings, Property, Role};
pub use sole_leader::{LeadError, SoleLeader};
pub use topic_consumer::{
    ConsumerCounts, ConsumerError, ConsumerSpec, RecordHandler, Refused, TopicConsumer, TopicRecord, Verdict,
    dead_letters_of,
};
pub use topic_follower::{ReadFrom, TopicFollower};
pub use topic_writer::TopicWriter;
pub use topics::{
    ALERT_PARTITIONS, ALERTS, CONTROL, FLEET, KEEP_CHANGES, TRANSACTIONS, TopicSpec, all_topics, all_topics_with,
    region_topic, topic_of,
};
pub use whole_topic::WholeTopic;
