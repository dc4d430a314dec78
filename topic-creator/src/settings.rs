//! What topic-creator is told.

use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Makes what is missing of the plan (odds.us, odds.uk, odds.eu, odds.au, control), or one topic
    /// named by flags. Says what differs, and never deletes anything. Exits with 2 if something differs.
    Create(CreateSettings),
    /// Lists the topics of the cluster.
    List,
    /// Shows leader, replicas and replicas in sync of each partition.
    Describe {
        /// Only this topic.
        #[arg(long, value_name = "NAME")]
        topic: Option<String>,
    },
    /// Prints records as they come, until it is interrupted.
    Tail(TailSettings),
    /// Sends each line of standard input as a record.
    Produce(RecordSettings),
}

#[derive(Clone, Debug, Args)]
pub struct CreateSettings {
    /// One topic beside the plan.
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,

    /// Its partitions.
    #[arg(long, value_name = "COUNT", requires = "topic", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,

    /// Its replicas.
    #[arg(long, value_name = "COUNT", requires = "topic", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
    pub replication_factor: i32,

    /// Its settings, as name=value; repeat for more.
    #[arg(long = "setting", id = "setting", value_name = "NAME=VALUE", requires = "topic")]
    pub settings: Vec<String>,

    /// Where there are fewer brokers than replicas are planned, make as many as there are brokers.
    #[arg(long)]
    pub fewer_replicas: bool,

    /// How long to wait for brokers, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u64,
}

impl CreateSettings {
    pub fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }
}

#[derive(Clone, Debug, Args)]
pub struct RecordSettings {
    /// Which topic.
    #[arg(long, value_name = "NAME")]
    pub topic: String,

    /// Which partition; without, by the key, or in turn if there is none.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,

    /// The key of each record.
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct TailSettings {
    /// Which topic.
    #[arg(long, value_name = "NAME")]
    pub topic: String,

    /// Only this partition.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,

    /// Share the partitions with the other members of this consumer group, and go on where it ended.
    #[arg(long, value_name = "NAME", conflicts_with = "partition")]
    pub group: Option<String>,

    /// Begin with the oldest record, not with what comes from now on. A group that was there before goes on where it
    /// ended all the same.
    #[arg(long)]
    pub from_beginning: bool,

    /// End after so many records.
    #[arg(long, value_name = "RECORDS")]
    pub count: Option<usize>,
}
