//! How a board is recorded on a topic: records and steps, their writer and their reader.

mod log_position;
mod marker;
mod pending;
mod reader;
mod record;
mod writer;

pub use log_position::{LogId, LogPosition};
pub use marker::{Credits, DaySpending, FeedState, Marker, SportFreshness};
pub use pending::Pending;
pub use reader::{LooseEnd, Phase, Progress, Reader};
pub use record::{BadRecord, Headers, Record, RecordKind, SCHEMA_VERSION, STEP_KEY};
pub use writer::{LeaderState, Outgoing, Status, StepRecords, Writer};
