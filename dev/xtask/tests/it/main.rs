//! Checks of the deployment files, and of the dependencies between crates.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod alerts;
mod compose;
mod layers;
