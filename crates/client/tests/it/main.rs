//! Mirrors, fed by boards as a gateway does it.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod resume;
