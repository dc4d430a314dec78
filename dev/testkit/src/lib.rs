//! Code shared by the tests of several crates: an author that writes topics, the same without Kafka, and accounts to
//! connect with.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

pub mod author;
pub mod guest;
pub mod region;
