//! The gateway: reads the four topics into boards, and pushes what changes to the Socket.IO rooms
//! of whoever wants it.

mod client;
mod filters;
mod http;
mod link;
mod listener;
mod metrics;
mod page;
mod readiness;
mod region;
mod room;
mod server;
mod settings;
mod sockets;
mod transport;
mod wire;

pub use metrics::Metrics;
pub use server::Gateway;
pub use settings::GatewaySettings;
