//! The settings of topic-creator.

use std::time::Duration;

use clap::{Args, Subcommand};
use kafka::KEEP_CHANGES;

const MINUTE: u64 = 60;
const DEFAULT_KEEP: u32 = (KEEP_CHANGES.as_secs() / MINUTE) as u32;
/// A week, in minutes.
const MAX_KEEP: i64 = 7 * 24 * 60;

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Creates the planned topics that are missing, or one topic given by flags. Changes the settings of existing topics
    /// to those planned, and reports that. Never deletes anything, and never changes how many partitions and replicas
    /// there are: exits with 2 if partitions differ or replicas are fewer.
    Create(CreateSettings),
    /// Lists the topics of the cluster.
    List,
    /// Shows the leader, the replicas and the in-sync replicas of each partition.
    Describe {
        /// Only this topic.
        #[arg(long, value_name = "NAME")]
        topic: Option<String>,
    },
    /// Prints records as they arrive, until it is interrupted.
    Tail(TailSettings),
    /// Sends each line of standard input as a record.
    Produce(RecordSettings),
}

#[derive(Clone, Debug, Args)]
pub struct CreateSettings {
    /// Create this topic instead of the planned ones.
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,

    /// How many partitions it has.
    #[arg(long, value_name = "COUNT", requires = "topic", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,

    /// How many replicas each partition has.
    #[arg(long, value_name = "COUNT", requires = "topic", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub replication_factor: i32,

    /// Its settings, as name=value; repeat for more.
    #[arg(long = "setting", id = "setting", value_name = "NAME=VALUE", requires = "topic")]
    pub settings: Vec<String>,

    /// How many minutes every change stays readable on the planned topics of odds: so long, a historian can be away and
    /// miss nothing. A gateway reads all of them when it starts.
    #[arg(
        long, value_name = "MINUTES", conflicts_with = "topic", default_value_t = DEFAULT_KEEP,
        value_parser = clap::value_parser!(u32).range(..=MAX_KEEP)
    )]
    pub keep_changes: u32,

    /// Give each planned topic at least this many replicas, so that none is lost with a zone.
    #[arg(
        long, value_name = "COUNT", conflicts_with = "topic", default_value_t = 1,
        value_parser = clap::value_parser!(i32).range(1..)
    )]
    pub least_replicas: i32,

    /// If there are fewer brokers than planned replicas, create as many replicas as there are brokers.
    #[arg(long)]
    pub fewer_replicas: bool,

    /// How long to wait for brokers, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u64,
}

impl CreateSettings {
    pub fn keep_changes(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_changes) * MINUTE)
    }

    pub fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}

#[derive(Clone, Debug, Args)]
pub struct RecordSettings {
    /// The topic.
    #[arg(long, value_name = "NAME")]
    pub topic: String,

    /// The partition. Without it, records are partitioned by their key, or in turn if there is none.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,

    /// The key of each record.
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct TailSettings {
    /// The topic.
    #[arg(long, value_name = "NAME")]
    pub topic: String,

    /// Only this partition.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,

    /// Share the partitions with the other members of this consumer group, and continue where the group stopped.
    #[arg(long, value_name = "NAME", conflicts_with = "partition")]
    pub group: Option<String>,

    /// Begin with the oldest record, not with the next one. A group that has committed offsets continues from them in
    /// any case.
    #[arg(long)]
    pub from_beginning: bool,

    /// Stop after this many records.
    #[arg(long, value_name = "RECORDS")]
    pub count: Option<usize>,
}
