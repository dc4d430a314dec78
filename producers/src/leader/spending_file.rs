//! What was spent of credits today, in a file: for a process whose topics don't outlive it.

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

    /// What it says; nothing if it is not there yet.
    pub(crate) fn read(&self) -> anyhow::Result<Option<DaySpending>> {
        let path = self.0.display();
        match fs::read(&self.0) {
            Ok(json) => serde_json::from_slice(&json)
                .map(Some)
                .with_context(|| format!("{path} can't be read: delete it if nothing was spent today")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{path}")),
        }
    }

    /// Returns when it is on the disk.
    pub(crate) fn write(&self, spending: &DaySpending) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = self.0.with_extension("new");
        let file = fs::File::create(&new)?;
        serde_json::to_writer(&file, spending)?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        // The name is on the disk when its folder is.
        fs::File::open(self.0.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}
