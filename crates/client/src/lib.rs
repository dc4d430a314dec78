//! A client of the gateway: its side of Socket.IO, exact mirrors of boards, and a websocket to put under them.
//!
//! [`Protocol`] takes packets and says what to send; [`BoardMirrors`] takes events and keeps the boards. Neither knows a
//! socket or a clock, so the page uses them in a browser. [`Client`] is the websocket for programs.

mod board_mirrors;
mod mirror;
mod protocol;
#[cfg(feature = "tokio")]
mod websocket;

pub use board_mirrors::{BoardMirrors, ChangedEvents, MirrorUpdate};
pub use mirror::{Mirror, MirrorEvent, OutOfStep};
pub use protocol::{Heard, Protocol, event_of};
#[cfg(feature = "tokio")]
pub use websocket::{Client, ClientError, Said};
