//! What leads clients from one cursor to another, made once for all who need it.

use std::sync::Arc;

use odds::{Cursor, Frame, FrameKind};

use crate::transport::Packet;

/// What leads a client to the room's cursor: an `odds` or a snapshot in one or more parts.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) kind: FrameKind,
    pub(crate) parts: Vec<Arc<Packet>>,
    /// Where a client is that has all parts.
    pub(crate) cursor: Cursor,
}

impl Frames {
    pub(super) fn new(kind: FrameKind, frames: Vec<Frame>, cursor: Cursor) -> Arc<Self> {
        let event = match kind {
            FrameKind::Snapshot => "snapshot",
            FrameKind::Odds => "odds",
        };
        let parts = frames.into_iter().map(|frame| Arc::new(Packet::new(event, &frame.json))).collect();
        Arc::new(Self { kind, parts, cursor })
    }
}
