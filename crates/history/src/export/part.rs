//! How far a file goes that was cut off.

use std::io::BufRead;

use odds::{Cursor, Timestamp};
use serde::Deserialize;

use super::{
    ExportError, ExportHeader,
    line::{Line, is_undamaged},
    lines::Lines,
};

/// The whole steps of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportedPart {
    /// How many bytes they take, from the beginning of the file. Without a step, none: the file begins anew.
    pub bytes: u64,
    pub steps: u64,
    /// How many gaps are before the last step.
    pub gaps: u64,
    /// The last one, and its time.
    pub last: Option<(Cursor, Timestamp)>,
}

/// Why an export can't go on in a file.
#[derive(Debug, thiserror::Error)]
pub enum OtherFile {
    #[error("it is not an exported history")]
    NotAnExport,
    #[error("it is an export of {}{}{}", .0.region, since(.0.from), until(.0.to))]
    OtherExport(ExportHeader),
    #[error(transparent)]
    Io(std::io::Error),
}

fn since(from: Option<Timestamp>) -> String {
    from.map(|from| format!(" from {from}")).unwrap_or_default()
}

fn until(to: Option<Timestamp>) -> String {
    to.map(|to| format!(" to {to}")).unwrap_or_default()
}

impl ExportedPart {
    /// Reads a file up to its last whole step. What comes after a line that was cut off or damaged is not counted: the
    /// same lines are written again.
    pub fn of(file: impl BufRead, header: &ExportHeader) -> Result<Self, OtherFile> {
        let mut lines = Lines::new(file);
        let first = header.line();
        let mut part = Self::default();
        match lines.next().map(|line| line.map(str::to_owned)) {
            Ok(Some(line)) if line == first.trim_end() => {}
            Ok(Some(line)) => {
                return Err(ExportHeader::read(&line).map_or(OtherFile::NotAnExport, OtherFile::OtherExport));
            }
            // The file is empty, or its first line was cut off.
            Ok(None) if first.as_bytes().starts_with(lines.rest()) => return Ok(part),
            Err(ExportError::Io(error)) => return Err(OtherFile::Io(error)),
            Ok(None) | Err(_) => return Err(OtherFile::NotAnExport),
        }
        let (mut bytes, mut gaps) = (first.len() as u64, 0);
        loop {
            match lines.next() {
                Ok(Some(line)) if is_undamaged(line) => {
                    bytes += line.len() as u64 + 1;
                    match Part::of(line) {
                        Part::Step(last) => part = Self { bytes, steps: part.steps + 1, gaps, last: Some(last) },
                        Part::Gap => gaps += 1,
                        Part::Other => {}
                    }
                }
                Err(ExportError::Io(error)) => return Err(OtherFile::Io(error)),
                Ok(_) | Err(_) => return Ok(part),
            }
        }
    }
}

/// What a line is about.
enum Part {
    Step((Cursor, Timestamp)),
    Gap,
    Other,
}

impl Part {
    fn of(line: &str) -> Self {
        #[derive(Deserialize)]
        struct Named {
            cursor: Cursor,
        }
        let Ok(line) = Line::read(line) else { return Self::Other };
        match (&*line.event, line.at, line.data::<Named>()) {
            ("snapshot" | "odds", Some(at), Ok(Named { cursor })) => Self::Step((cursor, at)),
            ("gap", ..) => Self::Gap,
            _ => Self::Other,
        }
    }
}
