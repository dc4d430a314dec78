//! Tests of the outbox on every store, and of the providers on real servers.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod contract;
mod mongo;
mod sms;
mod sqlite;
