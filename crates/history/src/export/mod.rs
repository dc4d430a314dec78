//! A recorded history as a file: lines of JSON, from which another store can be filled.
//!
//! docs/history.md describes the format. [`ExportWriter`] writes what a [`crate::Playback`] goes through,
//! [`ExportReader`] reads it back as the steps that were recorded, and [`ExportedPart`] finds out how far a file that
//! was cut off goes. All three read or write forward only, and hold one board and a few steps.

mod line;
mod lines;
mod part;
mod reader;
mod writer;

pub use line::ExportHeader;
pub use lines::BadLine;
pub use part::{ExportedPart, OtherFile};
pub use reader::{ExportError, ExportReader};
pub use writer::ExportWriter;
