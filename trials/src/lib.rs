//! What the trials share: `soak` on the embedded cluster, `drill` on real engines.

mod engines;
mod fleet;
mod watcher;

pub use engines::{Engine, Engines, Part, Recipe};
pub use fleet::Fleet;
pub use watcher::{Seen, Watcher};

/// How much faster than reality the world moves.
pub const SPEED: f64 = 20.0;
/// How much more often than in reality it is polled.
pub const POLL_SPEED: f64 = 60.0;
