//! Stores today's spent credits in a file, for a process whose topics are lost when it ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use odds::DaySpending;

#[derive(Clone, Debug)]
pub(crate) struct SpendingFile(PathBuf);

impl SpendingFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Reads the file; returns none if it doesn't exist yet.
    pub(crate) fn read(&self) -> anyhow::Result<Option<DaySpending>> {
        let path = self.0.display();
        match fs::read(&self.0) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .with_context(|| format!("{path} can't be parsed: delete it if no credits were spent today")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {path}")),
        }
    }

    /// Writes the file, and returns when it is on disk.
    pub(crate) fn write(&self, spending: &DaySpending) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = self.0.with_extension("new");
        let file = fs::File::create(&new)?;
        serde_json::to_writer(&file, spending)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        // A rename is on disk only when its directory is synced.
        fs::File::open(self.0.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}
