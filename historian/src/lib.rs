//! Records every verified step of a region in a history store.
//!
//! Any number of historians may run: one leads for each region and records, the others stand by. A former leader that
//! goes on writing for a moment does no harm, because both write the same rows.

mod historian;
mod metrics;
mod recording;

pub use historian::Historian;
pub use metrics::Metrics;
