//! Replays: connections that get what was recorded of the past, as live clients got it then.

mod clock;
mod player;
mod task;

use std::sync::Arc;

use odds::{Cursor, Filter, Region, Replay};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, debug_span};

use crate::{client::Client, metrics::Metrics, turns::Turn};
use task::ReplayTask;

/// The most requests that may wait for a replay.
const REQUESTS: usize = 16;

/// A request to a replay.
enum Request {
    /// The client begins to follow these regions, each from its cursor or from the time of the replay.
    Join { regions: Vec<(Region, Option<Cursor>)>, filter: Arc<Filter> },
    /// The client no longer follows these regions. No frame of them is sent after `left`.
    Leave { regions: Vec<Region>, left: oneshot::Sender<()> },
    /// The client wants the frames from a cursor to that of the replay, or a snapshot.
    Resync { region: Region, from: Option<Cursor> },
}

/// A client's replay. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ReplayHandle {
    requests: mpsc::Sender<Request>,
    _stop: DropGuard,
}

impl ReplayHandle {
    /// Starts a replay, of which the client follows nothing yet.
    pub(crate) fn start(
        replay: Replay,
        client: Arc<Client>,
        store: Arc<dyn history::Store>,
        metrics: Metrics,
        turn: Turn,
    ) -> Self {
        let (requests, receive) = mpsc::channel(REQUESTS);
        let stop = CancellationToken::new();
        let span = debug_span!("replay", socket = %client.sid(), at = %replay.at);
        let task = ReplayTask::new(replay, client, store, metrics, receive, stop.clone());
        let run = task.run(turn);
        let runtime = Handle::current();
        // On a thread of its own: the runtime's threads deliver the stream of live odds.
        tokio::task::spawn_blocking(move || runtime.block_on(run.instrument(span)));
        Self { requests, _stop: stop.drop_guard() }
    }

    pub(crate) async fn join(&self, regions: Vec<(Region, Option<Cursor>)>, filter: Arc<Filter>) {
        self.ask(Request::Join { regions, filter }).await;
    }

    /// Returns when no more frames of these regions are sent.
    pub(crate) async fn leave(&self, regions: Vec<Region>) {
        let (left, done) = oneshot::channel();
        self.ask(Request::Leave { regions, left }).await;
        let _ = done.await;
    }

    pub(crate) async fn resync(&self, region: Region, from: Option<Cursor>) {
        self.ask(Request::Resync { region, from }).await;
    }

    async fn ask(&self, request: Request) {
        // If the replay is over, the client is being disconnected.
        let _ = self.requests.send(request).await;
    }
}
