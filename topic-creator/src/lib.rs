//! Creates, lists and describes topics, prints their records, and writes records by hand.

mod creator;
mod records;
mod settings;

pub use creator::{Created, TopicCreator, TopicError};
pub use records::{produce, tail};
pub use settings::{Command, CreateSettings, RecordSettings, TailSettings};
