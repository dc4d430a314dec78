//! Everything below Socket.IO: the listener, connections with their delivery trackers, and the layer around Engine.IO.

mod certificate;
mod connection;
mod connection_slots;
mod door;
mod engine;
mod engine_session;
mod exchange;
mod heartbeat;
mod layer;
mod listener;
mod long_poll;
mod packet;
mod peer;
mod protective_headers;
mod websocket;

pub(crate) use certificate::Certificate;
pub(crate) use connection::{DeliveryTracker, Passed, WritableQueues};
pub(crate) use connection_slots::{Most, Turnover, one_less};
pub(crate) use door::Door;
pub(crate) use engine::Engine;
pub(crate) use engine_session::EngineSession;
pub(crate) use heartbeat::HeartbeatTimes;
pub(crate) use layer::{PATH, Transport};
pub(crate) use listener::{Entrance, serve};
pub(crate) use packet::Packet;
pub(crate) use peer::Peer;
