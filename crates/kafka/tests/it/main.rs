//! Tests of the Kafka crate on librdkafka's in-process cluster.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod partition_group;
mod region_follower;
mod topic_consumer;
mod topic_follower;
