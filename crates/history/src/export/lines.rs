//! Splits a file into lines of bounded length, and says why one is refused.

use std::io::{BufRead, Read};

use super::ExportError;

/// The longest line, in bytes. A board of a million quotes takes less.
const MOST_BYTES: u64 = 256 << 20;

/// How much memory is kept for the next line.
const KEPT_BYTES: usize = 1 << 20;

/// Why a line is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    #[error("this is not an exported history")]
    NotAnExport,
    #[error("its format {0} is that of another version of this program")]
    OtherVersion(u32),
    #[error("it is damaged: its checksum is not that of its content")]
    Checksum,
    #[error("it is not text in UTF-8")]
    NotText,
    #[error("it has more than {MOST_BYTES} bytes")]
    TooLong,
    #[error("{0}")]
    Json(String),
    #[error("no line of this name, {0:?}, is known")]
    UnknownEvent(String),
    #[error("it has no marker with a position in the log")]
    NoPosition,
    #[error("its marker, cursor, time and region contradict each other")]
    Contradiction,
    #[error("the board is not the one that its digest is of")]
    Digest,
    #[error("it does not follow the line before it")]
    Unconnected,
    #[error("what is before it is not all that it says")]
    Incomplete,
    #[error("it comes after the end")]
    AfterEnd,
}

impl BadLine {
    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

/// The lines of a file, one after the other.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    /// How many were read.
    count: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), count: 0 }
    }

    /// The number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.count
    }

    /// The next line, without its line feed. `None` at the end of the file, and if the last line has no line feed: then
    /// it was cut off.
    pub(super) fn next(&mut self) -> Result<Option<&str>, ExportError> {
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
        self.input.by_ref().take(MOST_BYTES).read_until(b'\n', &mut self.buffer)?;
        let is_whole = self.buffer.pop_if(|last| *last == b'\n').is_some();
        if !is_whole && (self.buffer.len() as u64) < MOST_BYTES {
            return Ok(None);
        }
        self.count += 1;
        if !is_whole {
            return Err(self.bad(BadLine::TooLong));
        }
        let number = self.count;
        match str::from_utf8(&self.buffer) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(ExportError::Line { number, reason: BadLine::NotText }),
        }
    }

    /// The end of a line that was cut off, after [`Self::next`] returned `None`.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Checks that nothing comes after the last line.
    pub(super) fn finish(&mut self) -> Result<(), ExportError> {
        let number = self.count + 1;
        match self.next()?.is_some() || !self.buffer.is_empty() {
            true => Err(ExportError::Line { number, reason: BadLine::AfterEnd }),
            false => Ok(()),
        }
    }

    pub(super) fn bad(&self, reason: BadLine) -> ExportError {
        ExportError::Line { number: self.count, reason }
    }
}
