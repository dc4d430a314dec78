//! A client of the gateway: the client side of Socket.IO, exact mirrors of boards, and a websocket.
//!
//! [`Protocol`] parses packets and builds replies; [`BoardMirrors`] applies events to copies of the boards. Neither
//! uses a socket or a clock, so the page runs them in a browser. [`Client`] is the websocket for programs.

mod board_mirrors;
mod mirror;
mod protocol;
#[cfg(feature = "tokio")]
mod websocket;

pub use board_mirrors::{BoardMirrors, ChangedEvents, MirrorUpdate};
pub use mirror::{Mirror, OutOfStep};
pub use protocol::{Protocol, ProtocolEvent, event_of};
#[cfg(feature = "tokio")]
pub use websocket::{Client, ClientError, ServerMessage};
