//! The gateway: reads the four topics into boards, and pushes what changes to the Socket.IO rooms
//! of whoever wants it.

mod page;
mod region;
mod server;
mod settings;
mod sockets;

pub use server::Gateway;
pub use settings::GatewaySettings;
