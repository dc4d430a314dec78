//! The protocol between gateways and clients.

mod hello;
mod protocol;

pub use hello::{BadHello, Hello, read_regions};
pub use protocol::{Feed, OddsPayload, PROTOCOL_VERSION, SnapshotPayload, Subscriptions};
