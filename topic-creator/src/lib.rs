//! Creates, lists and describes topics, prints their records, and writes records by hand.

mod cluster;
mod records;
mod settings;

pub use cluster::{Cluster, Created, Difference, Partition, Topic, TopicError};
pub use records::{produce, tail};
pub use settings::{Command, CreateSettings, RecordSettings, TailSettings};
