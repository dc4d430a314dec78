//! The gateway: reads the four topics into boards, and pushes what changes to the Socket.IO rooms
//! of whoever wants it.

mod broadcast;
mod client;
mod connection;
mod delivery_tracker;
mod door;
mod due;
mod files;
mod filters;
mod http;
mod listener;
mod member;
mod metrics;
mod operator;
mod origin_policy;
mod pace;
mod packet;
mod page;
mod readiness;
mod region;
mod room;
mod server;
mod settings;
mod sockets;
mod transport;

pub use metrics::Metrics;
pub use operator::UserCommand;
pub use server::Gateway;
pub use settings::{AccountArgs, GatewaySettings, Registration};
