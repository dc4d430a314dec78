//! The domain as its users see it: histories of leaders and readers.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod exhaustive;
mod forged;
mod history;
mod random;
