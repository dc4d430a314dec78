//! What operators see and do: the reports of all programs, the state of the cluster, slow clients, and the commands.

mod audit_command;
pub(crate) mod audit_file;
mod client_watch;
mod cluster_watch;
mod fleet_watch;
mod live;
mod status_command;
mod user_command;

pub use audit_command::AuditCommand;
pub(crate) use client_watch::ClientWatch;
pub(crate) use fleet_watch::{FleetWatch, ProgramNow};
pub use status_command::StatusCommand;
pub use user_command::{Role, UserCommand};
