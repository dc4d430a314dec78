//! What tests of several crates share: an author of topics, and accounts to connect with.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

pub mod author;
pub mod guest;
