//! The common parts of every Toteboard program: start and stop, settings, logs, metrics, clock and admin port.

mod admin;
mod clock;
mod host;
mod lifecycle;
mod logs;
mod metrics;
mod origin;
mod program;
mod settings;
mod troubles;

pub use admin::{Admin, AdminSettings};
pub use clock::now;
pub use host::{hostname, memory};
pub use lifecycle::Lifecycle;
pub use logs::{LogSettings, Logs};
pub use metrics::{Labelled, MetricRegistry, MetricScope};
pub use origin::{InvalidOrigin, Origin};
pub use program::{Program, ProgramSettings, install_tls_provider, main};
pub use settings::{load, load_from};
pub use troubles::{Trouble, Troubles};
