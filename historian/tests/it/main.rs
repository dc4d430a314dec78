//! Tests of the historian: on an in-process Kafka cluster, whatever fails in between, every step is recorded; and what
//! is recorded can be exported, verified and imported.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod counting;
mod export;
mod histories;
mod import;
mod program;
mod recording;
mod stubborn;
mod verify;
