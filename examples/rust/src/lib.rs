//! A client of the gateway: its side of Socket.IO, and that over one websocket with tokio. What
//! events mean is [`odds::Live`]'s to know.

mod protocol;
#[cfg(feature = "tokio")]
mod websocket;

pub use protocol::{Heard, Protocol};
#[cfg(feature = "tokio")]
pub use websocket::{Client, ClientError, Said};
