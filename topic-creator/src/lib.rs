//! Makes, lists and describes topics, and lets a person with nothing else look into them.

mod cluster;
mod records;
mod settings;

pub use cluster::{Cluster, Created, Difference, Partition, Topic, TopicError};
pub use records::{produce, tail};
pub use settings::{Command, CreateSettings, RecordSettings, TailSettings};
