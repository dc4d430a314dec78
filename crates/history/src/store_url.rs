//! The address of a history store, which opens it.

use std::{path::PathBuf, str::FromStr, sync::Arc};

use crate::{QuestDbAddress, QuestDbStore, SqliteStore, Store, StoreError};

/// Where the history is kept: `sqlite:FILE`, or `questdb:` and the address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    QuestDb(QuestDbAddress),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected sqlite:FILE, or questdb:http://[USER:PASSWORD@]HOST:PORT[/TABLE_PREFIX]")]
pub struct InvalidStore;

impl FromStr for StoreUrl {
    type Err = InvalidStore;

    fn from_str(text: &str) -> Result<Self, InvalidStore> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("questdb", address)) => address.parse().map(Self::QuestDb).map_err(|()| InvalidStore),
            _ => Err(InvalidStore),
        }
    }
}

impl StoreUrl {
    /// Opens the store. A file is created if it is missing; a server need not be reachable yet.
    pub async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        match self.clone() {
            Self::Sqlite(path) => {
                let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await;
                Ok(Arc::new(opened.map_err(StoreError::new)??))
            }
            Self::QuestDb(address) => Ok(Arc::new(QuestDbStore::open(address).await?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_file_or_a_server() {
        assert_eq!("sqlite:a/b.db".parse(), Ok(StoreUrl::Sqlite("a/b.db".into())));
        assert!(matches!("questdb:http://db:9000".parse(), Ok(StoreUrl::QuestDb(_))));
        for text in ["", "sqlite:", "questdb:", "questdb:db:9000", "postgres://x"] {
            assert_eq!(text.parse::<StoreUrl>(), Err(InvalidStore), "{text:?}");
        }
    }
}
