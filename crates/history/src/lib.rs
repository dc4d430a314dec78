//! The recorded history of boards: every verified step of every region, and what any board was at any of them.
//!
//! [`Recorder`] turns verified boards into [`RecordedStep`]s, without I/O. A [`Store`] keeps them. A board that a store
//! returns has the digest that its step's marker had, or it is not returned.
//!
//! This crate doesn't read topics and doesn't serve HTTP.

mod marker_patch;
mod rebuild;
mod recorder;
mod sqlite;
mod step;
mod store;
mod store_url;

pub use recorder::Recorder;
pub use sqlite::SqliteStore;
pub use step::{Difference, RecordedBoard, RecordedStep};
pub use store::{Append, EventSummary, HistoryError, Moment, Store, StoreError};
pub use store_url::{InvalidStore, StoreUrl};
