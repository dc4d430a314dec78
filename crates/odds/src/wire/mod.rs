//! What gateway and clients say to each other.

mod hello;
mod protocol;

pub use hello::{BadHello, Hello, read_regions};
pub use protocol::{Change, Feed, OddsPayload, PROTOCOL_VERSION, QuoteChange, SnapshotPayload, Subscriptions};
