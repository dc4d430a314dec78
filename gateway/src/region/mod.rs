//! One region: reads its topic into a board and sends changes to its members.
//!
//! [`task`] is the loop that owns the region's state. [`delivery`] decides which frames each member gets next, and
//! [`feed`] when members get the feed.

mod broadcast;
mod delivery;
mod due;
mod excerpt;
mod feed;
mod frames;
mod handle;
mod lag;
mod member;
mod room;
mod snapshot_cache;
mod task;
mod throughput;

pub(crate) use excerpt::{Excerpt, Wanted};
pub(crate) use handle::{RegionHandle, Request};
pub(crate) use snapshot_cache::CachedSnapshot;
pub(crate) use task::{RegionContext, RegionTask};
