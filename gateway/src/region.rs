//! One region's task: owns its board, and decides what is sent to whom.
//!
//! Everything that concerns a region goes through its task one by one, so that a client's first
//! board and the next frame can neither overlap nor leave a gap.

use std::time::Duration;

use kafka::{Happening, KafkaSettings, Reading, RegionLog};
use odds::{Cursor, Feed, FeedState, Filter, Frame, FrameKind, Phase, Region, Timestamp};
use serde_json::value::RawValue;
use socketioxide::{SocketIo, extract::SocketRef};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How many requests may wait for a region's task.
const REQUESTS: usize = 1_024;
/// Freshness is told at least this often.
const FEED_INTERVAL: Duration = Duration::from_secs(10);
const KAFKA_RETRY: Duration = Duration::from_secs(2);

pub(crate) enum Request {
    Join { socket: SocketRef, resume: Option<Cursor> },
    Resync { socket: SocketRef, cursor: Option<Cursor> },
}

#[derive(Clone)]
pub(crate) struct RegionHandle {
    requests: mpsc::Sender<Request>,
}

impl RegionHandle {
    pub(crate) async fn ask(&self, request: Request) {
        // The task ends only with the process.
        let _ = self.requests.send(request).await;
    }
}

pub(crate) struct RegionTask {
    region: Region,
    io: SocketIo,
    clock: fn() -> Timestamp,
    tick: Duration,
    requests: mpsc::Receiver<Request>,
    /// Where everybody in the room is.
    cursor: Option<Cursor>,
    filter: Filter,
    /// Who joined before there was a board to send.
    early: Vec<SocketRef>,
    told: Option<FeedState>,
}

impl RegionTask {
    pub(crate) fn new(region: Region, io: SocketIo, clock: fn() -> Timestamp, tick: Duration) -> (Self, RegionHandle) {
        let (send, requests) = mpsc::channel(REQUESTS);
        let filter = Filter::default();
        let task = Self { region, io, clock, tick, requests, cursor: None, filter, early: Vec::new(), told: None };
        (task, RegionHandle { requests: send })
    }

    pub(crate) async fn run(
        mut self,
        kafka: KafkaSettings,
        reading: Reading,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut log = loop {
            match RegionLog::start(&kafka, self.region, &reading).await {
                Ok(log) => break log,
                Err(error) => {
                    warn!(region = %self.region, %error, "the topic can't be read yet");
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(KAFKA_RETRY) => {}
                    }
                }
            }
        };
        let mut due: Option<Instant> = None;
        let mut feed = tokio::time::interval(FEED_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                happening = log.next() => match happening {
                    Ok(Happening::Loaded) => {
                        info!(region = %self.region, events = log.board().event_count(), "the topic is read");
                        due.get_or_insert_with(Instant::now);
                    }
                    Ok(Happening::Progress(odds::Progress::Applied(_))) => {
                        due.get_or_insert_with(|| Instant::now() + self.tick);
                    }
                    Ok(Happening::Progress(odds::Progress::Mismatched(step))) => {
                        error!(region = %self.region, %step, "the board does not fit its digest");
                        log.restart().await?;
                        self.tell_feed(&log, true);
                    }
                    Ok(Happening::Progress(_)) => {}
                    Err(error) => {
                        error!(region = %self.region, %error, "the topic is read anew");
                        log.restart().await?;
                        self.tell_feed(&log, true);
                    }
                },
                Some(request) = self.requests.recv() => self.answer(&log, request),
                () = sleep_until(due) => {
                    due = None;
                    self.send_tick(&log);
                }
                _ = feed.tick() => self.tell_feed(&log, true),
            }
        }
    }

    fn answer(&mut self, log: &RegionLog, request: Request) {
        match request {
            Request::Join { socket, resume } => {
                if log.reader().phase() != Phase::Live || log.board().cursor(&self.filter).is_none() {
                    self.early.push(socket);
                    return;
                }
                self.send_tick(log);
                emit(&socket, "feed", &self.feed(log));
                self.bring_up(log, &socket, resume);
                socket.join(self.region.key());
            }
            Request::Resync { socket, cursor } => {
                self.send_tick(log);
                self.bring_up(log, &socket, cursor);
            }
        }
    }

    /// Sends whatever leads from the client's cursor to the room's.
    fn bring_up(&self, log: &RegionLog, socket: &SocketRef, from: Option<Cursor>) {
        let board = log.board();
        let since = from.and_then(|cursor| board.since(self.region, &cursor, &self.filter));
        let frames = since.map(|frame| vec![frame]).or_else(|| board.snapshot(self.region, &self.filter));
        for frame in frames.unwrap_or_default() {
            emit_frame(socket, &frame);
        }
    }

    fn send_tick(&mut self, log: &RegionLog) {
        let board = log.board();
        if log.reader().phase() != Phase::Live {
            return;
        }
        let Some(now) = board.cursor(&self.filter) else { return };
        match self.cursor {
            Some(cursor) if !board.differs(&cursor, &self.filter) => {}
            Some(cursor) => {
                let frames = match board.since(self.region, &cursor, &self.filter) {
                    Some(frame) => vec![frame],
                    None => board.snapshot(self.region, &self.filter).unwrap_or_default(),
                };
                for frame in frames {
                    let raw = RawValue::from_string(frame.json).expect("the board writes JSON");
                    if let Err(error) =
                        futures::executor::block_on(self.io.to(self.region.key()).emit(event_of(frame.kind), &raw))
                    {
                        warn!(region = %self.region, %error, "some clients were not reached");
                    }
                }
                self.cursor = Some(now);
            }
            None => self.cursor = Some(now),
        }
        for socket in std::mem::take(&mut self.early) {
            emit(&socket, "feed", &self.feed(log));
            self.bring_up(log, &socket, None);
            socket.join(self.region.key());
        }
        self.tell_feed(log, false);
    }

    fn tell_feed(&mut self, log: &RegionLog, always: bool) {
        let feed = self.feed(log);
        if always || self.told != Some(feed.state) {
            self.told = Some(feed.state);
            let _ = futures::executor::block_on(self.io.to(self.region.key()).emit("feed", &feed));
        }
    }

    fn feed(&self, log: &RegionLog) -> Feed {
        let at = (self.clock)();
        let down = |reason: &str| (FeedState::Down, Some(reason.to_owned()));
        let marker = log.reader().marker();
        let (state, reason) = match marker {
            _ if log.reader().phase() != Phase::Live => down("the board is being read"),
            None => down("nothing published yet"),
            Some(marker) if marker.next_by < at => (FeedState::Stale, Some("the producer is silent".to_owned())),
            Some(marker) => (marker.state, marker.reason.clone()),
        };
        Feed {
            region: self.region,
            at,
            state,
            reason,
            source: marker.map(|marker| marker.source.clone()).unwrap_or_default(),
            sports: marker.map(|marker| marker.sports.clone()).unwrap_or_default(),
            bookmakers: marker.map(|marker| marker.bookmakers.clone()).unwrap_or_default(),
        }
    }
}

fn event_of(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Snapshot => "snapshot",
        FrameKind::Odds => "odds",
    }
}

fn emit_frame(socket: &SocketRef, frame: &Frame) {
    let raw = RawValue::from_string(frame.json.clone()).expect("the board writes JSON");
    emit(socket, event_of(frame.kind), &raw);
}

fn emit<T: serde::Serialize + ?Sized>(socket: &SocketRef, event: &str, data: &T) {
    if let Err(error) = socket.emit(event, data) {
        warn!(socket = %socket.id, %error, event, "a client was not reached");
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
