//! The gateway: reads the four topics into boards, and pushes what changes to the Socket.IO rooms
//! of whoever wants it.

mod browsers;
mod client;
mod connection;
mod door;
mod due;
mod files;
mod filters;
mod http;
mod link;
mod listener;
mod member;
mod metrics;
mod operator;
mod pace;
mod packet;
mod page;
mod readiness;
mod region;
mod room;
mod sending;
mod server;
mod settings;
mod sockets;
mod transport;

pub use metrics::Metrics;
pub use operator::UserCommand;
pub use server::Gateway;
pub use settings::{AccountArgs, GatewaySettings, Registration};
