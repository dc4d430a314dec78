//! The domain of Toteboard, without I/O: what an odds feed says, how it is recorded on a topic in
//! steps, and the board that every reader of the topic ends up with.
//!
//! Nothing here knows a clock, a socket or Kafka, so the same code runs in producers, gateways,
//! tests and, compiled to wasm, in the page.

mod board;
mod canonical;
mod cursor;
mod decimal;
mod digest;
mod event;
mod filter;
mod hello;
mod marker;
mod pending;
mod protocol;
mod reader;
mod record;
mod region;
mod step;
mod timestamp;
mod writer;

pub use board::{Board, Frame, FrameKind, PART_BYTES, Revision};
pub use cursor::{Cursor, InvalidCursor};
pub use decimal::{Decimal, InvalidDecimal};
pub use digest::Digest;
pub use event::{
    BookmakerKey, Details, EventId, Image, InvalidKey, Market, MarketKey, Outcome, Outcomes, Quotes, SportKey,
};
pub use filter::{Filter, InvalidFilter};
pub use hello::{BadHello, Hello, read_regions};
pub use marker::{Credits, DaySpending, FeedState, Marker, SportFreshness};
pub use pending::Pending;
pub use protocol::{Change, Feed, OddsPayload, PROTOCOL_VERSION, QuoteChange, SnapshotPayload, Subscriptions};
pub use reader::{LooseEnd, Phase, Progress, Reader};
pub use record::{BadRecord, Headers, Record, RecordKind, SCHEMA_VERSION, STEP_KEY};
pub use region::{Region, UnknownRegion};
pub use step::{StepId, Term};
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use writer::{LeaderState, Outgoing, Status, StepRecords, Writer};
