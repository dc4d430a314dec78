//! Tests of the historian on an in-process Kafka cluster: whatever fails in between, every step is recorded.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod recording;
mod stubborn;
