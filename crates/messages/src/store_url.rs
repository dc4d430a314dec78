//! The address of an outbox, which opens it.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use crate::{MongoOutbox, Outbox, SqliteOutbox, StoreError};

/// Where messages are kept: `mongodb://…` or `sqlite:FILE`.
#[derive(Clone, PartialEq, Eq)]
pub enum OutboxUrl {
    Mongo(String),
    Sqlite(PathBuf),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected mongodb://…, mongodb+srv://… or sqlite:FILE")]
pub struct InvalidOutbox;

impl FromStr for OutboxUrl {
    type Err = InvalidOutbox;

    fn from_str(text: &str) -> Result<Self, InvalidOutbox> {
        if text.starts_with("mongodb://") || text.starts_with("mongodb+srv://") {
            return Ok(Self::Mongo(text.to_owned()));
        }
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            _ => Err(InvalidOutbox),
        }
    }
}

/// Hides the password that may be in the URL.
impl fmt::Debug for OutboxUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mongo(_) => f.write_str("OutboxUrl(mongodb)"),
            Self::Sqlite(path) => write!(f, "OutboxUrl(sqlite:{})", path.display()),
        }
    }
}

impl OutboxUrl {
    /// Opens it. A file is created if it is missing; a server need not be reachable yet.
    pub async fn open(&self) -> Result<Arc<dyn Outbox>, StoreError> {
        Ok(match self {
            Self::Mongo(url) => Arc::new(MongoOutbox::open(url).await?),
            Self::Sqlite(path) => Arc::new(SqliteOutbox::open(path)?),
        })
    }
}
