//! The protocol between gateways and clients.

mod feed;
mod hello;
mod protocol;
mod replay;

pub use feed::{Feed, REPLAYED, SIMULATOR};
pub use hello::{BadHello, Hello, read_regions};
pub use protocol::{OddsPayload, PROTOCOL_VERSION, SnapshotPayload, Subscriptions};
pub use replay::{InvalidReplay, Replay};
