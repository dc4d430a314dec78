//! Mirrors that are updated by boards, as a gateway does it.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod resume;
