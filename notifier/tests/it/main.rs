//! Tests of the notifier on librdkafka's in-process cluster, with an outbox in SQLite.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod again;
mod alerts;
mod delivery;
mod killed;
mod mail_server;
mod scene;
mod smtp;
