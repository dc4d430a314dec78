//! Records every verified step of a region in a history store.
//!
//! Any number of historians may run: one leads for each region and records, the others stand by. A former leader that
//! goes on writing for a moment does no harm, because both write the same rows.
//!
//! [`HistoryCommand`] has what else can be done with a history: export, verify, import.

mod command;
mod export;
mod historian;
mod import;
mod metrics;
mod progress;
mod recorded_range;
mod recording;
mod settings;
mod verify;

pub use command::HistoryCommand;
pub use export::{ExportFormat, ExportSettings, Exported, GoOn};
pub use historian::Historian;
pub use import::{ImportSettings, Imported, Refusal, import};
pub use metrics::Metrics;
pub use progress::Progress;
pub use settings::{HistorianSettings, Retention};
pub use verify::{Verified, VerifySettings};
