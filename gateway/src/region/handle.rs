//! The interface of a region's task.

use std::sync::Arc;

use odds::{Cursor, Feed, Filter, Region, Timestamp};
use socketioxide::socket::Sid;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    excerpt::{Excerpt, Wanted},
    snapshot_cache::CachedSnapshot,
};
use crate::client::Client;

/// The most requests that may wait for a region's task.
const REQUESTS: usize = 1_024;

/// A request to a region's task.
pub(crate) enum Request {
    /// A client joins, or joins again with another cursor or filter.
    Join { client: Arc<Client>, filter: Arc<Filter>, from: Option<Cursor> },
    /// A client leaves. No frame of this region is sent after `left`.
    Leave { sid: Sid, left: oneshot::Sender<()> },
    /// A member requests the frames from a cursor to the room's, or a snapshot.
    Resync { sid: Sid, from: Option<Cursor> },
    /// Requests the board under a filter, for HTTP.
    Board { filter: Filter, answer: oneshot::Sender<Option<Arc<CachedSnapshot>>> },
    /// Requests some events of the board.
    Excerpt { wanted: Wanted, answer: oneshot::Sender<Option<Excerpt>> },
}

/// A handle to a region's task.
#[derive(Clone, Debug)]
pub(crate) struct RegionHandle {
    requests: mpsc::Sender<Request>,
    feed: watch::Receiver<Feed>,
}

impl RegionHandle {
    pub(crate) async fn ask(&self, request: Request) {
        // The task ends only with the process.
        let _ = self.requests.send(request).await;
    }

    /// Removes a client from the region. Returns when no more frames are sent to it.
    pub(crate) async fn leave(&self, sid: Sid) {
        let (left, done) = oneshot::channel();
        self.ask(Request::Leave { sid, left }).await;
        let _ = done.await;
    }

    /// Returns the board under a filter, or `None` while there is no verified board.
    pub(crate) async fn board(&self, filter: Filter) -> Option<Arc<CachedSnapshot>> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Board { filter, answer }).await;
        answered.await.ok().flatten()
    }

    /// Returns some events of the board, or `None` while there is no verified board.
    pub(crate) async fn excerpt(&self, wanted: Wanted) -> Option<Excerpt> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Excerpt { wanted, answer }).await;
        answered.await.ok().flatten()
    }

    pub(crate) fn feed(&self) -> Feed {
        self.feed.borrow().clone()
    }
}

/// The other end of a [`RegionHandle`].
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(super) requests: mpsc::Receiver<Request>,
    /// The feed that was published last.
    pub(super) published: watch::Sender<Feed>,
}

impl RegionHandle {
    pub(crate) fn new(region: Region, now: Timestamp) -> (Self, Inbox) {
        let (send, requests) = mpsc::channel(REQUESTS);
        let (published, feed) = watch::channel(Feed::down(region, now, "the board is being read"));
        (Self { requests: send, feed }, Inbox { requests, published })
    }
}
