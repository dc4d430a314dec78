//! The domain of Toteboard, without I/O: events and quotes, how they are recorded on a topic in steps, and the board
//! that every reader of the topic arrives at.
//!
//! This crate uses no clock, no socket and no Kafka, so the same code runs in producers, gateways, tests and, compiled
//! to WASM, in the page.

mod board;
mod model;
mod topic;
mod wire;

pub use board::{
    Board, Cursor, Digest, Filter, Frame, FrameDigest, FrameKind, InvalidCursor, InvalidFilter, PART_BYTES, Revision,
};
pub use model::{
    BookmakerKey, Change, Decimal, Details, Event, EventId, Image, InvalidDecimal, InvalidKey, InvalidTimestamp,
    Market, MarketKey, Outcome, Outcomes, QuoteChange, Quotes, Region, SportKey, StepId, Term, Timestamp,
    UnknownRegion,
};
pub use topic::{
    BadRecord, Credits, DaySpending, FeedState, Headers, LeaderState, LogId, LogPosition, LooseEnd, Marker, Outgoing,
    Pending, Phase, Progress, Reader, Record, RecordKind, SCHEMA_VERSION, STEP_KEY, SportFreshness, Status,
    StepRecords, Writer,
};
pub use wire::{
    BadHello, Feed, Hello, InvalidReplay, OddsPayload, PROTOCOL_VERSION, REPLAYED, Replay, SIMULATOR, SnapshotPayload,
    Subscriptions, read_regions,
};
