//! The Kafka crate on librdkafka's in-process cluster.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod region_follower;
mod topic_follower;
