//! The standalone program, from outside.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod cap;
mod delivery_log;
mod program;
