//! What the trials share: `soak` on the embedded cluster, `drill` on real engines, `race` beside others, and
//! `hostile` against peers who mean harm.

mod account;
mod engines;
mod fleet;
mod forger;
pub mod hostile;
pub mod race;
mod watcher;

use std::net::{Ipv4Addr, TcpListener};

pub use account::{PASSWORD, token};
pub use engines::{Engine, Engines, Part, Recipe};
pub use fleet::Fleet;
pub use forger::{Forger, forgeries};
pub use watcher::{Seen, Watcher};

/// How much faster than reality the world moves.
pub const SPEED: f64 = 20.0;
/// How much more often than in reality it is polled.
pub const POLL_SPEED: f64 = 60.0;

/// On loopback. A port that is free now is free in a moment, too.
pub fn free_address() -> std::io::Result<String> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string())
}
