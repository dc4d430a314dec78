//! What every Toteboard process does alike: read its settings, write its logs, start and stop its
//! tasks, read the clock, and answer on its admin port.

mod admin;
mod clock;
mod lifecycle;
mod logs;
mod settings;

pub use admin::{Admin, AdminSettings};
pub use clock::now;
pub use lifecycle::{Lifecycle, exit};
pub use logs::{LogSettings, Logs};
pub use settings::{load, load_from};
