//! Everything below Socket.IO: the listener, connections with their delivery trackers, and the layer around Engine.IO.

mod connection;
mod connection_slots;
mod door;
mod engine_session;
mod exchange;
mod layer;
mod listener;
mod long_poll;
mod open_packet;
mod packet;
mod peer;
mod protective_headers;

pub(crate) use connection::{DeliveryTracker, Passed, WritableQueues};
pub(crate) use connection_slots::{Most, one_less};
pub(crate) use door::Door;
pub(crate) use engine_session::EngineSession;
pub(crate) use layer::{PATH, Transport};
pub(crate) use listener::serve;
pub(crate) use packet::Packet;
pub(crate) use peer::Peer;
