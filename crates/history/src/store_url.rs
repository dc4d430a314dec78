//! The address of a history store, which opens it.

use std::{path::PathBuf, str::FromStr, sync::Arc};

use crate::{SqliteStore, Store, StoreError};

/// Where the history is kept: `sqlite:FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected sqlite:FILE")]
pub struct InvalidStore;

impl FromStr for StoreUrl {
    type Err = InvalidStore;

    fn from_str(text: &str) -> Result<Self, InvalidStore> {
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err(InvalidStore),
        }
    }
}

impl StoreUrl {
    /// Opens the store. A file is created if it is missing.
    pub async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        let Self::Sqlite(path) = self.clone();
        let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await;
        Ok(Arc::new(opened.map_err(StoreError::new)??))
    }
}
