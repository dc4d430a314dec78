//! Toteboard on Kafka: the plan of topics, the settings of every client, and one way to read a
//! region's topic into a board. With librdkafka's in-process cluster for where there is no Kafka.

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
mod topics;

pub use rdkafka::error::KafkaError;

pub use control::{ControlMessage, ControlReader, ControlWriter};
pub use election::{Election, ElectionEvent};
pub use embedded::Embedded;
pub use publisher::{Delivered, MAX_RECORD_BYTES, Publisher};
pub use record::{from_message, to_headers};
pub use region_follower::{FollowerEvent, LostBoard, RegionFollower, Steps};
pub use region_log::{ConsumerMode, LagGauge, ReadError};
pub use settings::{InvalidProperty, KafkaSettings, Property, Role};
pub use topics::{CONTROL, TopicSpec, all_topics, topic_of};
