//! Tests of the alerter on librdkafka's in-process cluster.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod faults;
mod scene;
mod suspended;
mod watching;
