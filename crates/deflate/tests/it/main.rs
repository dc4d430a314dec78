//! Tests of the extension.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod compressing;
mod frames;
mod inflating;
