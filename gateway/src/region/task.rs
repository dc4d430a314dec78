//! The event loop of one region. It owns the board and handles all of the region's events one by one, so that a
//! client's first board and the next frame can neither overlap nor leave a gap.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::future::OptionFuture;
use kafka::{ConsumerMode, ControlWriter, FollowerEvent, KafkaSettings, LostBoard, RegionFollower, Steps};
use odds::{Cursor, Feed, Filter, Phase, Region, Timestamp};
use socketioxide::socket::Sid;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    due::Due,
    excerpt::Excerpt,
    handle::{Inbox, Request},
    lag::watch_lag,
    member::{Member, SyncState},
    room::Room,
    snapshot_cache::SnapshotCache,
};
use crate::{metrics::RegionMetrics, readiness::Readiness, transport::Packet};

/// How often members in `waiting_for_time` are checked.
const WAITING_INTERVAL: Duration = Duration::from_millis(50);
/// What comes before the next tick is read in the last part of the time until then: one in so many.
const READING_PARTS: u32 = 5;
/// How many rooms get their updates together.
const ROOMS_AT_ONCE: usize = 64;
/// How often everything else that depends on time is checked.
pub(super) const CLOCK_INTERVAL: Duration = Duration::from_millis(250);

/// What is sent to a room: its former cursor, and the packet that leads from there to its new one.
type Update = (Arc<Filter>, Cursor, Option<Arc<Packet>>);

/// The dependencies of a region's task.
pub(crate) struct RegionContext {
    pub(crate) region: Region,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) tick: Duration,
    /// How long a client may take to answer a ping.
    pub(crate) ping_timeout: Duration,
    pub(crate) metrics: RegionMetrics,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) control: ControlWriter,
    /// Receives connections whose sockets have sent data and may have room for more.
    pub(crate) writable: mpsc::UnboundedReceiver<Sid>,
    /// The shared runtime, whose threads help with broadcasts to many members.
    pub(crate) threads: Handle,
}

pub(crate) struct RegionTask {
    pub(super) region: Region,
    pub(super) clock: fn() -> Timestamp,
    tick: Duration,
    ping_timeout: Duration,
    pub(super) metrics: RegionMetrics,
    readiness: Arc<Readiness>,
    control: ControlWriter,
    writable: mpsc::UnboundedReceiver<Sid>,
    pub(super) threads: Handle,
    requests: mpsc::Receiver<Request>,
    pub(super) rooms: HashMap<Arc<Filter>, Room>,
    /// The room of each member.
    pub(super) room_of: HashMap<Sid, Arc<Filter>>,
    /// Members to check again after some time, without another event.
    pub(super) waiting_for_time: HashSet<Sid>,
    /// Members that were not served because there was no more time.
    pub(super) unserved: Vec<Sid>,
    /// When each member was last sent the feed; the member due next comes first.
    pub(super) reminders: VecDeque<(Instant, Sid)>,
    /// Whether to check reminders at the next tick.
    pub(super) reminders_due: bool,
    pub(super) due: Option<Due>,
    /// When the last tick was due.
    last_tick: Option<Instant>,
    pub(super) published: watch::Sender<Feed>,
    snapshots: SnapshotCache,
    /// The task that regularly measures the reader's lag.
    lag_watch: Option<AbortOnDropHandle<()>>,
    counted: u64,
}

impl RegionTask {
    pub(crate) fn new(context: RegionContext, inbox: Inbox) -> Self {
        let RegionContext { region, clock, tick, ping_timeout, metrics, readiness, control, writable, threads } =
            context;
        let Inbox { requests, published } = inbox;
        Self {
            region,
            clock,
            tick,
            ping_timeout,
            metrics,
            readiness,
            control,
            writable,
            threads,
            requests,
            rooms: HashMap::new(),
            room_of: HashMap::new(),
            waiting_for_time: HashSet::new(),
            unserved: Vec::new(),
            reminders: VecDeque::new(),
            reminders_due: false,
            due: None,
            last_tick: None,
            published,
            snapshots: SnapshotCache::default(),
            lag_watch: None,
            counted: 0,
        }
    }

    pub(crate) async fn run(
        mut self,
        kafka: KafkaSettings,
        mode: ConsumerMode,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut follower =
            RegionFollower::new(kafka, self.region, mode, Steps::Newest).requesting_republish(self.control.clone());
        let mut waiting_timer = tokio::time::interval(WAITING_INTERVAL);
        let mut clock_timer = tokio::time::interval(CLOCK_INTERVAL);
        for look in [&mut waiting_timer, &mut clock_timer] {
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut ready = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                event = follower.next() => self.handle_event(&follower, event?).await,
                Some(request) = self.requests.recv() => {
                    self.handle_request(&follower, request, &mut ready);
                    // Requests that are already queued share the same snapshots.
                    while let Ok(request) = self.requests.try_recv() {
                        self.handle_request(&follower, request, &mut ready);
                    }
                    self.serve_if_settled(&follower, &mut ready).await;
                }
                Some(sid) = self.writable.recv() => {
                    ready.push(sid);
                    while let Ok(sid) = self.writable.try_recv() {
                        ready.push(sid);
                    }
                    self.serve_if_settled(&follower, &mut ready).await;
                }
                Some(()) = OptionFuture::from(self.due.map(|due| tokio::time::sleep_until(due.at))) => {
                    ready.append(&mut self.unserved);
                    ready.extend(self.waiting_for_time.drain());
                    self.send_tick(&follower, &mut ready).await;
                }
                _ = waiting_timer.tick(), if !self.waiting_for_time.is_empty() => {
                    ready.extend(self.waiting_for_time.drain());
                    self.serve_if_settled(&follower, &mut ready).await;
                }
                // It lets timers and all else come first.
                () = tokio::task::yield_now(), if !self.unserved.is_empty() => {
                    ready.append(&mut self.unserved);
                    self.serve_if_settled(&follower, &mut ready).await;
                }
                _ = clock_timer.tick() => {
                    self.reminders_due = true;
                    // A scheduled tick also sends the feed.
                    if self.due.is_none() {
                        self.publish_freshness(&follower).await;
                    }
                    self.readiness.looks(self.region, follower.is_loaded());
                }
            }
        }
    }

    async fn handle_event(&mut self, follower: &RegionFollower, event: FollowerEvent) {
        match event {
            FollowerEvent::Unavailable(error) => self.readiness.fails(self.region, error.to_string()),
            FollowerEvent::Loading => {
                self.readiness.answered(self.region);
                if self.lag_watch.is_none() {
                    self.lag_watch = follower
                        .lag_gauge()
                        .map(|gauge| watch_lag(gauge, self.region, self.metrics.clone(), self.readiness.clone()));
                }
            }
            FollowerEvent::Loaded => {
                self.readiness.looks(self.region, true);
                self.schedule_tick(follower.read_at());
            }
            FollowerEvent::Verified(_) => self.schedule_tick(follower.read_at()),
            FollowerEvent::Advanced => {}
            FollowerEvent::Lost(cause) => {
                if let LostBoard::Mismatch(_) = cause {
                    self.metrics.mismatches.inc();
                }
                self.drop_board(follower).await;
            }
        }
    }

    /// Schedules a tick for a change that was read at `read_at`: now, unless the last tick was less than a tick ago.
    fn schedule_tick(&mut self, read_at: Instant) {
        self.due.get_or_insert_with(|| Due::after(self.last_tick, self.tick, read_at, Instant::now()));
    }

    /// Drops the board. The region is down until the board is read again.
    async fn drop_board(&mut self, follower: &RegionFollower) {
        self.due = None;
        for room in self.rooms.values_mut() {
            let from = room.cursor;
            room.move_to(None);
            for member in room.members.values_mut().filter(|member| member.is_following()) {
                member.sync_state = SyncState::Behind(from);
            }
        }
        self.snapshots.clear();
        self.publish_feed(follower, (self.clock)()).await;
    }

    fn handle_request(&mut self, follower: &RegionFollower, request: Request, ready: &mut Vec<Sid>) {
        match request {
            Request::Join { client, filter, from } => {
                let sid = client.sid();
                self.leave(sid);
                if !client.socket.connected() {
                    return;
                }
                let room = self.rooms.entry(filter.clone()).or_insert_with(|| {
                    let board = (follower.reader().phase() == Phase::Live).then(|| follower.board());
                    Room::new(filter.clone(), board)
                });
                let now = Instant::now();
                room.join(sid, Member::new(client, from, self.ping_timeout, now));
                self.room_of.insert(sid, filter);
                self.reminders.push_back((now, sid));
                ready.push(sid);
            }
            Request::Leave { sid, left } => {
                self.leave(sid);
                let _ = left.send(());
            }
            Request::Resync { sid, from } => {
                let room = self.room_of.get(&sid).and_then(|filter| self.rooms.get_mut(filter));
                if let Some(member) = room.and_then(|room| room.members.get_mut(&sid)) {
                    member.asks(from, Instant::now());
                    ready.push(sid);
                }
            }
            Request::Board { filter, answer } => {
                let _ = answer.send(self.snapshots.get(follower.reader(), self.region, filter));
            }
            Request::Excerpt { wanted, answer } => {
                let _ = answer.send(Excerpt::of(follower.reader(), &wanted));
            }
        }
        self.metrics.members.set(self.room_of.len() as i64);
        self.metrics.rooms.set(self.rooms.len() as i64);
    }

    fn leave(&mut self, sid: Sid) {
        let Some(filter) = self.room_of.remove(&sid) else { return };
        self.waiting_for_time.remove(&sid);
        let room = self.rooms.get_mut(&filter).expect("a member's room exists");
        room.leave(sid);
        if room.members.is_empty() {
            self.rooms.remove(&filter);
        }
    }

    /// Moves these rooms to the board's cursor. Returns what is sent to each that was at another one: an update, or
    /// nothing if it has several parts, which are sent to each member at the member's own speed.
    fn advance(&mut self, filters: &[Arc<Filter>], follower: &RegionFollower, ready: &mut Vec<Sid>) -> Vec<Update> {
        let mut updates = Vec::new();
        for filter in filters {
            let room = self.rooms.get_mut(filter).expect("only this task removes rooms");
            let had_none = room.cursor.is_none();
            let Some((from, frames)) = room.advance(self.region, follower.board()) else {
                if had_none {
                    ready.extend(room.members.keys().copied());
                }
                continue;
            };
            let packet = (frames.parts.len() == 1).then(|| frames.parts[0].clone());
            // This thread compresses the first one, while others compress the next ones.
            if let Some(packet) = packet.clone().filter(|_| room.compresses && !updates.is_empty()) {
                self.threads.spawn(async move {
                    packet.compressed();
                });
            }
            updates.push((filter.clone(), from, packet));
        }
        updates
    }

    async fn send_tick(&mut self, follower: &RegionFollower, ready: &mut Vec<Sid>) {
        let began = Instant::now();
        if let Some(due) = self.due.take() {
            self.last_tick = Some(due.at);
            self.metrics.was_late(began.saturating_duration_since(due.wanted));
        }
        self.metrics.events.set(follower.board().event_count() as i64);
        self.metrics.quotes.set(follower.board().quote_count() as i64);
        if follower.reader().phase() != Phase::Live {
            return;
        }
        // Records that are read together cost less. What is asked for meanwhile gets a board that is hardly older.
        let rest = self.tick - self.tick / READING_PARTS;
        follower.rest_until(began + rest.min(CLOCK_INTERVAL));
        let filters: Vec<Arc<Filter>> = self.rooms.keys().cloned().collect();
        for filters in filters.chunks(ROOMS_AT_ONCE) {
            let updates = self.advance(filters, follower, ready);
            for (filter, from, packet) in updates {
                self.broadcast(&filter, Some(from), packet.as_ref(), ready).await;
                if let Some(marker) = follower.reader().marker() {
                    let age = (self.clock)().millis_since(marker.at).max(0);
                    self.metrics.latency.observe(age as f64 / 1000.0);
                }
            }
        }
        self.publish_freshness(follower).await;
        self.serve(follower, ready).await;
        let members = self.rooms.values().flat_map(|room| room.members.values());
        let behind = members.filter(|member| !member.is_following()).count();
        self.metrics.behind.set(behind as i64);
        let changes = follower.board().revision().count();
        self.metrics.updates.inc_by(changes.saturating_sub(self.counted));
        self.counted = changes;
        self.metrics.unreadable.inc_by(follower.unreadable().saturating_sub(self.metrics.unreadable.get()));
        self.metrics.tick.observe(began.elapsed().as_secs_f64());
    }
}
