//! The address of an account store, which opens it.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use crate::{
    mongo::MongoStore,
    sqlite::SqliteStore,
    store::{Store, StoreError},
};

/// Where accounts are kept: `mongodb://…` or `sqlite:FILE`.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    Mongo(String),
    Sqlite(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected mongodb://…, mongodb+srv://… or sqlite:FILE")]
pub struct InvalidStore;

impl FromStr for StoreUrl {
    type Err = InvalidStore;

    fn from_str(text: &str) -> Result<Self, InvalidStore> {
        if text.starts_with("mongodb://") || text.starts_with("mongodb+srv://") {
            return Ok(Self::Mongo(text.to_owned()));
        }
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err(InvalidStore),
        }
    }
}

/// Hides the password that may be in the URL.
impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mongo(_) => f.write_str("StoreUrl(mongodb)"),
            Self::Sqlite(path) => write!(f, "StoreUrl(sqlite:{})", path.display()),
        }
    }
}

impl StoreUrl {
    /// Opens the store. A file is created if it is missing; a server need not be reachable yet.
    pub async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Mongo(url) => Arc::new(MongoStore::open(url).await?),
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_by_its_address_and_shows_no_password() {
        let mongo: StoreUrl = "mongodb://anna:s3cret@db/toteboard".parse().unwrap();
        assert!(!format!("{mongo:?}").contains("s3cret"));
        assert_eq!("sqlite:a/b.db".parse(), Ok(StoreUrl::Sqlite("a/b.db".into())));
        for text in ["", "sqlite:", "postgres://x"] {
            assert_eq!(text.parse::<StoreUrl>(), Err(InvalidStore), "{text:?}");
        }
    }
}
