//! Where an export is written to.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, ensure};

/// What is written to: a file, or standard output.
pub(super) type Target = BufWriter<Box<dyn Write + Send>>;

/// How much is read or written at once.
const BUFFER: usize = 256 << 10;

pub(super) fn standard_output() -> Target {
    BufWriter::with_capacity(BUFFER, Box::new(io::stdout()))
}

/// A file that may have a part of an export already. Only one export writes to it at a time.
pub(super) struct ExportFile(File);

impl Drop for ExportFile {
    fn drop(&mut self) {
        // A child process that is just being started may have the file open, too. It would keep the lock.
        let _ = self.0.unlock();
    }
}

impl ExportFile {
    /// Opens a file, and creates it if it is missing.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.with_context(|| format!("can't open {}", path.display()))?;
        // Some file systems have no locks.
        let is_free = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        ensure!(is_free, "{}: another export is writing to it", path.display());
        Ok(Self(file))
    }

    pub(super) fn is_empty(&mut self) -> io::Result<bool> {
        Ok(self.0.metadata()?.len() == 0)
    }

    /// Reads the file from its beginning.
    pub(super) fn reader(&mut self) -> io::Result<BufReader<impl Read>> {
        self.0.seek(SeekFrom::Start(0))?;
        Ok(BufReader::with_capacity(BUFFER, &self.0))
    }

    /// Goes on after this many bytes of the file. What it has behind them is cut off when something is written.
    pub(super) fn write_after(self, bytes: u64) -> Target {
        BufWriter::with_capacity(BUFFER, Box::new(Tail { file: self, begins: Some(bytes) }))
    }
}

/// The end of a file.
struct Tail {
    file: ExportFile,
    /// Where it begins, until something is written.
    begins: Option<u64>,
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(begins) = self.begins {
            self.file.0.set_len(begins)?;
            self.file.0.seek(SeekFrom::Start(begins))?;
            self.begins = None;
        }
        self.file.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.0.flush()
    }
}
