//! Tests of the history stores, which all meet the same contract.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod contract;
mod questdb;
mod sqlite;

use testkit::region;
