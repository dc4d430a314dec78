//! The recorded history of boards: every verified step of every region, and what any board was at any of them.
//!
//! [`Recorder`] turns verified boards into [`RecordedStep`]s, without I/O. A [`Store`] keeps them. A board that a store
//! returns has the digest that its step's marker had, or it is not returned. [`Playback`] goes through them, step by step.
//! [`ExportWriter`] writes them to a file, and [`ExportReader`] reads them from one.
//!
//! This crate doesn't read topics and doesn't serve HTTP.

mod events;
mod export;
mod keyframe_plan;
mod marker_patch;
mod playback;
mod questdb;
mod quote_prices;
mod rebuild;
mod recorder;
mod series;
mod sqlite;
mod step;
mod store;
mod store_url;
mod windows;

pub use events::{EventQuery, RecordedEvent};
pub use export::{BadLine, ExportError, ExportHeader, ExportReader, ExportWriter, ExportedPart, OtherFile};
pub use playback::{Playback, Played, Upcoming};
pub use questdb::{QuestDbAddress, QuestDbStore};
pub use recorder::Recorder;
pub use series::{Gap, KnownPrice, OutcomeKey, PriceAt, PriceHistory, PriceQuery, PriceSummary, RecordedTime, Series};
pub use sqlite::SqliteStore;
pub use step::{Difference, RecordedBoard, RecordedStep, StepsAfter, StoredStep, Then};
pub use store::{Append, HistoryError, Moment, Store, StoreError};
pub use store_url::{InvalidStore, StoreUrl};
