//! Tests of the gateway from outside: real sockets, a real topic, and boards that must be exact.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod accounts;
mod alerts;
mod asyncapi;
mod break_in;
mod bridge;
mod browser;
mod caddy;
mod compressed;
mod conformance;
mod contacts;
mod documents;
mod examples;
mod files;
mod history;
mod hostile;
mod http;
mod joining;
mod live_board;
mod mirror;
mod mongo;
mod operator;
mod opportunities;
mod past;
mod polling;
mod produce;
mod proxy;
mod recorded_events;
mod replay;
mod restore;
mod sockets;
mod stage;
mod tls;
mod trouble;
mod upgrade;

use testkit::{author, guest};
