//! The records of a region's topic: images, removals, step markers and fences.

use std::str;

use crate::{EventId, Image, Marker, StepId, Term, Timestamp};

/// The key of markers and fences. No event id can begin with a tilde.
pub const STEP_KEY: &str = "~step";

/// The version of the record format, in the header `v`. Readers skip records of later versions.
pub const SCHEMA_VERSION: u32 = 1;

/// One record of a region's topic, and the step that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: StepId,
    pub kind: RecordKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RecordKind {
    /// The complete state of an event.
    Image(EventId, Box<Image>),
    /// The event is removed.
    Removal(EventId),
    /// The step is complete in this partition.
    Marker(Box<Marker>),
    /// A new term begins in this partition.
    Fence(Timestamp),
}

/// The headers of a record, as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<T> {
    pub v: T,
    pub term: T,
    pub step: T,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    #[error("header {0:?} is missing or malformed")]
    Header(&'static str),
    #[error("schema version {0} is newer than this program")]
    Newer(u32),
    #[error("the key is missing or not an event id")]
    Key,
    #[error("unknown kind of record {0:?}")]
    UnknownKind(String),
    #[error("the value can't be read: {0}")]
    Value(String),
    #[error("the value names event {value}, but the key names event {key}")]
    KeyAndValueDiffer { key: String, value: String },
}

#[derive(serde::Serialize, serde::Deserialize)]
struct FenceValue {
    fence: bool,
    at: Timestamp,
}

impl Record {
    pub fn key(&self) -> &str {
        match &self.kind {
            RecordKind::Image(event, _) | RecordKind::Removal(event) => event.as_str(),
            RecordKind::Marker(_) | RecordKind::Fence(_) => STEP_KEY,
        }
    }

    /// The record's JSON; `None` for a removal, which is a tombstone, so that compaction drops the event.
    pub fn value(&self) -> Option<String> {
        let json = match &self.kind {
            RecordKind::Image(event, image) => image.to_json(event),
            RecordKind::Removal(_) => return None,
            RecordKind::Marker(marker) => serde_json::to_string(marker).expect("plain values"),
            RecordKind::Fence(at) => serde_json::to_string(&FenceValue { fence: true, at: *at }).expect("plain values"),
        };
        Some(json)
    }

    pub fn headers(&self) -> Headers<String> {
        Headers { v: SCHEMA_VERSION.to_string(), term: self.id.term.to_string(), step: self.id.step.to_string() }
    }

    /// Parses a record. Unknown fields are ignored. Anything else that can't be parsed is an error, and the reader
    /// skips the record.
    pub fn read(headers: Headers<Option<&[u8]>>, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, BadRecord> {
        let v = header(headers.v, "v").and_then(|text| text.parse().map_err(|_| BadRecord::Header("v")))?;
        if v > SCHEMA_VERSION {
            return Err(BadRecord::Newer(v));
        }
        let term: Term = header(headers.term, "term")?.parse().map_err(|()| BadRecord::Header("term"))?;
        let step = header(headers.step, "step")?.parse().map_err(|_| BadRecord::Header("step"))?;
        let id = StepId::new(term, step);
        let key = key.and_then(|key| str::from_utf8(key).ok()).ok_or(BadRecord::Key)?;
        let kind = match (key.strip_prefix('~'), value) {
            (Some(_), None) => return Err(BadRecord::UnknownKind(key.to_owned())),
            (Some("step"), Some(value)) if id.is_fence() => {
                RecordKind::Fence(serde_json::from_slice::<FenceValue>(value).map_err(unreadable)?.at)
            }
            (Some("step"), Some(value)) => RecordKind::Marker(serde_json::from_slice(value).map_err(unreadable)?),
            (Some(_), Some(_)) => return Err(BadRecord::UnknownKind(key.to_owned())),
            (None, None) => RecordKind::Removal(key.parse().map_err(|_| BadRecord::Key)?),
            (None, Some(value)) => {
                let (event, image) = Image::from_json(value).map_err(unreadable)?;
                if event.as_str() != key {
                    return Err(BadRecord::KeyAndValueDiffer { key: key.to_owned(), value: event.to_string() });
                }
                RecordKind::Image(event, Box::new(image))
            }
        };
        Ok(Self { id, kind })
    }
}

fn header<'a>(value: Option<&'a [u8]>, name: &'static str) -> Result<&'a str, BadRecord> {
    value.and_then(|value| str::from_utf8(value).ok()).ok_or(BadRecord::Header(name))
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn unreadable(error: serde_json::Error) -> BadRecord {
    BadRecord::Value(error.to_string())
}
