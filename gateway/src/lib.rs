//! The gateway: reads the four topics into boards, and sends changes to the Socket.IO clients that subscribe to them.

mod brief;
mod client;
mod files;
mod filters;
mod free_memory;
mod gzip;
mod http;
mod messages;
mod metrics;
mod operator;
mod origin_policy;
mod page;
mod readiness;
mod region;
mod replay;
mod server;
mod session;
mod settings;
mod transport;
mod turns;

pub use http::asyncapi;
pub use messages::MessageParts;
pub use metrics::Metrics;
pub use operator::{AuditCommand, Role, StatusCommand, UserCommand};
pub use server::Gateway;
pub use settings::{AccountArgs, GatewaySettings, Registration};
