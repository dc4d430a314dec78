//! What the files beside the program promise, and which crate may need what.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod alerts;
mod compose;
mod layers;
