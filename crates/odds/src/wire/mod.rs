//! The protocol between gateways and clients.

mod hello;
mod protocol;

pub use hello::{BadHello, Hello, read_regions};
pub use protocol::{Change, Feed, OddsPayload, PROTOCOL_VERSION, QuoteChange, SnapshotPayload, Subscriptions};
