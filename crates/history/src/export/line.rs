//! One line: JSON with a checksum at its end.

use std::borrow::Cow;

use odds::{Cursor, Marker, Region, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::BadLine;

/// The version of the format. Versions that add lines or change their meaning get another number.
const VERSION: u32 = 1;
/// What the last line of each exported line's JSON looks like: `,"crc":"` and eight digits and `"}`.
const CHECKSUM_LENGTH: usize = 18;

/// Which part of the history a file has. It is the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportHeader {
    pub region: Region,
    /// `None`: from the first recorded step on.
    pub from: Option<Timestamp>,
    /// `None`: to the newest recorded step.
    pub to: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct VersionedHeader {
    version: u32,
    #[serde(flatten)]
    header: ExportHeader,
}

/// The data of a line about a time of which nothing is recorded.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct GapData {
    pub(super) region: Region,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Timestamp,
}

/// The data of the last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndData {
    /// The last step. `None` if the file has none.
    pub(super) cursor: Option<Cursor>,
    pub(super) steps: u64,
    pub(super) gaps: u64,
}

/// A line that was read. What its data means depends on the event.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    pub(super) at: Option<Timestamp>,
    #[serde(borrow)]
    pub(super) data: &'a RawValue,
    pub(super) marker: Option<Marker>,
}

impl ExportHeader {
    /// The first line of a file.
    pub(super) fn line(&self) -> String {
        let header = VersionedHeader { version: VERSION, header: *self };
        line("export", None, &json(&header), None)
    }

    /// Reads the first line of a file.
    pub(super) fn read(text: &str) -> Result<Self, BadLine> {
        #[derive(Deserialize)]
        struct AnyVersion {
            version: u32,
        }
        let first = Line::read(text).map_err(|error| match error {
            BadLine::Checksum => BadLine::NotAnExport,
            error => error,
        })?;
        if first.event != "export" {
            return Err(BadLine::NotAnExport);
        }
        match first.data::<AnyVersion>()?.version {
            VERSION => Ok(first.data::<VersionedHeader>()?.header),
            version => Err(BadLine::OtherVersion(version)),
        }
    }
}

impl<'a> Line<'a> {
    /// Reads a line, without its line feed.
    pub(super) fn read(text: &'a str) -> Result<Self, BadLine> {
        if !is_undamaged(text) {
            return Err(BadLine::Checksum);
        }
        serde_json::from_str(text).map_err(|error| BadLine::json(&error))
    }

    pub(super) fn data<T: Deserialize<'a>>(&self) -> Result<T, BadLine> {
        serde_json::from_str(self.data.get()).map_err(|error| BadLine::json(&error))
    }
}

/// Writes a line, with its line feed.
pub(super) fn line(event: &str, at: Option<Timestamp>, data: &str, marker: Option<&Marker>) -> String {
    let mut line = format!(r#"{{"event":"{event}","#);
    if let Some(at) = at {
        line += &format!(r#""at":"{at}","#);
    }
    line += &format!(r#""data":{data}"#);
    if let Some(marker) = marker {
        line += &format!(r#","marker":{}"#, json(marker));
    }
    let checksum = crc32fast::hash(line.as_bytes());
    line += &format!(",\"crc\":\"{checksum:08x}\"}}\n");
    line
}

/// Whether a line has the checksum of what is before it.
pub(super) fn is_undamaged(line: &str) -> bool {
    let Some((content, checksum)) = line.len().checked_sub(CHECKSUM_LENGTH).and_then(|at| line.split_at_checked(at))
    else {
        return false;
    };
    checksum == format!(",\"crc\":\"{:08x}\"}}", crc32fast::hash(content.as_bytes()))
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain values")
}
