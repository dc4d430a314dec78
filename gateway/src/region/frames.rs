//! The packets that bring clients from one cursor to another, encoded once for all clients.

use std::sync::Arc;

use odds::{Cursor, Frame, FrameKind};

use crate::transport::Packet;

/// The packets that bring a client to the room's cursor: one `odds`, or a snapshot in one or more parts.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) kind: FrameKind,
    pub(crate) parts: Vec<Arc<Packet>>,
    /// The cursor of a client that has received all parts.
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
