//! A folder for messages, in the place of a provider.

use std::{io::Write, path::PathBuf};

use tokio::task::spawn_blocking;

use crate::{Accepted, Fault, Refusal};

#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Writes a file whole or not at all. One of the same name is replaced.
    pub(crate) async fn write(&self, name: &str, content: Vec<u8>) -> Result<Accepted, Refusal> {
        let (folder, file) = (self.0.clone(), self.0.join(name));
        let part = self.0.join(format!(".{name}.part"));
        let shown = file.display().to_string();
        let write = move || {
            std::fs::create_dir_all(&folder)?;
            let mut new = std::fs::File::create(&part)?;
            new.write_all(&content)?;
            new.sync_all()?;
            std::fs::rename(&part, &file)
        };
        let written = spawn_blocking(write).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        match written {
            Ok(()) => Ok(Accepted { provider_id: None, detail: Some(format!("written to {shown}")) }),
            Err(error) => Err(Refusal::Later { reason: format!("{shown}: {error}"), at_fault: Fault::Provider }),
        }
    }
}
