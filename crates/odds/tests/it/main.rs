//! Histories of leaders and readers, through the crate's public interface.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod exhaustive;
mod forged;
mod history;
mod random;
