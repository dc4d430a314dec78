//! One region of the odds: reads its topic into a board and sends what changes to its members.
//!
//! [`task`] is the loop that owns it all; [`delivery`] decides who gets what next, [`feed`] who is sent how fresh it is.

mod broadcast;
mod delivery;
mod due;
mod feed;
mod frames;
mod handle;
mod lag;
mod member;
mod room;
mod snapshot_cache;
mod task;
mod throughput;

pub(crate) use handle::{RegionHandle, Request};
pub(crate) use snapshot_cache::CachedSnapshot;
pub(crate) use task::{RegionContext, RegionTask};
