//! Toteboard on Kafka: topics, client settings, and the ways to read and write a topic. It includes librdkafka's
//! in-process cluster, for use without Kafka.
//!
//! [`RegionFollower`] reads a region's odds into a verified board. [`TopicFollower`] reads all of a small topic.
//! [`Election`] elects one leader for a job.

mod client_log;
mod control;
mod drop_in_background;
mod election;
mod embedded;
mod publisher;
mod record;
mod region_follower;
mod region_log;
mod sender;
mod settings;
mod topic_follower;
mod topics;

pub use rdkafka::error::KafkaError;

pub use control::{ControlMessage, ControlWriter, follow_control};
pub use election::{Election, ElectionEvent};
pub use embedded::Embedded;
pub use publisher::{Delivered, MAX_RECORD_BYTES, Publisher};
pub use record::{from_message, to_headers};
pub use region_follower::{FollowerEvent, LostBoard, RegionFollower, Steps};
pub use region_log::{ConsumerMode, LagGauge, ReadError};
pub use settings::{InvalidProperty, KafkaSettings, Property, Role};
pub use topic_follower::{ReadFrom, TopicFollower};
pub use topics::{CONTROL, TopicSpec, all_topics, topic_of};
