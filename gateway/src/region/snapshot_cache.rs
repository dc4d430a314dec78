//! Caches the whole boards that HTTP serves. A board is serialized once until it changes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use odds::{Cursor, Filter, Phase, Reader, Region};

/// The most boards in the cache.
const CACHED_SNAPSHOTS: usize = 32;

/// A board under a filter, as JSON.
#[derive(Debug)]
pub(crate) struct CachedSnapshot {
    pub(crate) cursor: Cursor,
    pub(crate) json: Bytes,
    /// The compressed JSON; empty until it is first requested.
    pub(crate) gzip: OnceLock<Bytes>,
}

/// The boards that were requested last, the most recent at the end.
#[derive(Debug, Default)]
pub(crate) struct SnapshotCache(Vec<(Filter, Arc<CachedSnapshot>)>);

impl SnapshotCache {
    /// Returns the board under a filter, or `None` while there is no verified board.
    pub(crate) fn get(&mut self, reader: &Reader, region: Region, filter: Filter) -> Option<Arc<CachedSnapshot>> {
        let board = reader.board();
        if reader.phase() != Phase::Live {
            return None;
        }
        if let Some(at) = self.0.iter().position(|(known, _)| *known == filter) {
            let (filter, cached) = self.0.remove(at);
            if !board.differs(&cached.cursor, &filter) && !board.is_growing_old(&cached.cursor, &filter) {
                self.0.push((filter, cached.clone()));
                return Some(cached);
            }
        }
        let cursor = board.cursor(&filter)?;
        let json = board.whole(region, &cursor, &filter).into();
        let cached = Arc::new(CachedSnapshot { cursor, json, gzip: OnceLock::new() });
        if self.0.len() == CACHED_SNAPSHOTS {
            self.0.remove(0);
        }
        self.0.push((filter, cached.clone()));
        Some(cached)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
