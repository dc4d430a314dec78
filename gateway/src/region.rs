//! One region's task: owns its board, and decides what is sent to whom.
//!
//! Everything that concerns a region goes through its task one by one, so that a client's first
//! board and the next frame can neither overlap nor leave a gap. A member either *follows*: it is at
//! its room's cursor and gets every frame of the room; or it is *behind*: it waits until the network
//! has taken what it was sent, or until its turn has come, and then gets what leads from its own
//! cursor to the room's. Nothing is ever queued for it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use kafka::{ConsumerMode, ControlMessage, ControlWriter, KafkaSettings, LogEvent, ReadError, RegionLog};
use odds::{Cursor, Feed, FeedState, Filter, Phase, Progress, Region, SportFreshness, SportKey, Timestamp};
use socketioxide::socket::Sid;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{Instrument, debug, error, info, warn};

use crate::{
    broadcast::Broadcast,
    client::Client,
    due::Due,
    member::{Member, SyncState},
    metrics::RegionMetrics,
    packet::Packet,
    readiness::Readiness,
    room::{Frames, Room},
};

/// How many requests may wait for a region's task.
const REQUESTS: usize = 1_024;
/// A member is told at least this often how fresh the region is: each in its own time, so that no tick
/// waits until a crowd is told.
const FEED_INTERVAL: Duration = Duration::from_secs(10);
/// And no more often than this, however short-lived its prices are.
const SHORTEST_FEED_INTERVAL: Duration = Duration::from_secs(1);
/// Members who wait for time to pass are looked at this often,
const WAITING_INTERVAL: Duration = Duration::from_millis(50);
/// and all else that a clock decides.
const CLOCK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a cursor from a step that is yet to come here is waited for.
const AHEAD_WITHIN: Duration = Duration::from_secs(5);
const KAFKA_RETRY: Duration = Duration::from_secs(2);
/// How long a board that nothing proves is kept.
const VERIFIED_WITHIN: Duration = Duration::from_secs(30);
/// A board that did not fit is read again after this, and later and later each time.
const RELOAD_AFTER: Duration = Duration::from_secs(2);
const RELOAD_AT_LEAST_EVERY: Duration = Duration::from_secs(60);
const RELOAD_REQUEST_INTERVAL: Duration = Duration::from_secs(60);
/// How often the lag is asked for.
const LAG_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) enum Request {
    /// A client joins, or asks again from another cursor or under another filter.
    Join { client: Arc<Client>, filter: Arc<Filter>, from: Option<Cursor> },
    /// No frame of this region follows the answer.
    Leave { sid: Sid, left: oneshot::Sender<()> },
    /// A member wants what leads from there to the room's cursor, or everything.
    Resync { sid: Sid, from: Option<Cursor> },
    /// The board under a filter, for whoever asks by HTTP.
    Board { filter: Filter, answer: oneshot::Sender<Option<Arc<CachedSnapshot>>> },
}

/// A board as HTTP serves it.
#[derive(Debug)]
pub(crate) struct CachedSnapshot {
    pub(crate) cursor: Cursor,
    pub(crate) json: bytes::Bytes,
    pub(crate) gzip: std::sync::OnceLock<bytes::Bytes>,
}

/// How many boards are kept printed.
const CACHED_SNAPSHOTS: usize = 32;

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

    /// Waits until nothing more is sent.
    pub(crate) async fn leave(&self, sid: Sid) {
        let (left, done) = oneshot::channel();
        self.ask(Request::Leave { sid, left }).await;
        let _ = done.await;
    }

    pub(crate) async fn board(&self, filter: Filter) -> Option<Arc<CachedSnapshot>> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Board { filter, answer }).await;
        answered.await.ok().flatten()
    }

    pub(crate) fn feed(&self) -> Feed {
        self.feed.borrow().clone()
    }
}

/// The other end of a [`RegionHandle`].
#[derive(Debug)]
pub(crate) struct Inbox {
    requests: mpsc::Receiver<Request>,
    published: watch::Sender<Feed>,
}

impl RegionHandle {
    pub(crate) fn new(region: Region, now: Timestamp) -> (Self, Inbox) {
        let (send, requests) = mpsc::channel(REQUESTS);
        let (published, feed) = watch::channel(Feed {
            region,
            at: now,
            state: FeedState::Down,
            reason: Some("the board is being read".into()),
            source: String::new(),
            sports: BTreeMap::new(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
        });
        (Self { requests: send, feed }, Inbox { requests, published })
    }
}

/// What a region's task works with.
pub(crate) struct RegionContext {
    pub(crate) region: Region,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) tick: Duration,
    pub(crate) metrics: RegionMetrics,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) control: ControlWriter,
    /// Sockets that the network has taken something from.
    pub(crate) writable: mpsc::UnboundedReceiver<Sid>,
    /// Who helps with a crowd.
    pub(crate) threads: Handle,
}

/// Members who are sent the same part of the same frames, by where those are and which part it is.
type SamePart = HashMap<(usize, usize), (Arc<Filter>, Arc<Frames>, Vec<Sid>)>;

pub(crate) struct RegionTask {
    region: Region,
    clock: fn() -> Timestamp,
    tick: Duration,
    metrics: RegionMetrics,
    readiness: Arc<Readiness>,
    control: ControlWriter,
    writable: mpsc::UnboundedReceiver<Sid>,
    threads: Handle,
    requests: mpsc::Receiver<Request>,
    rooms: HashMap<Arc<Filter>, Room>,
    /// Which room a member is in.
    room_of: HashMap<Sid, Arc<Filter>>,
    /// Members who wait for time to pass.
    waiting_for_time: HashSet<Sid>,
    /// When members were told the feed last, whoever is the next to be told again first.
    reminders: VecDeque<(Instant, Sid)>,
    /// Whether reminders are to be looked at with the next tick.
    reminders_due: bool,
    due: Option<Due>,
    /// When the last tick was due.
    last_tick: Option<Instant>,
    published: watch::Sender<Feed>,
    cached: Vec<(Filter, Arc<CachedSnapshot>)>,
    /// Some step of what was read fitted its digest.
    was_verified: bool,
    unverified_since: Option<Instant>,
    /// How often in a row a fresh board did not fit, and when the topic is read again.
    mismatches_in_a_row: u32,
    reload_at: Option<Instant>,
    reload_requested_at: Option<Instant>,
    counted: u64,
}

impl RegionTask {
    pub(crate) fn new(context: RegionContext, inbox: Inbox) -> Self {
        let RegionContext { region, clock, tick, metrics, readiness, control, writable, threads } = context;
        let Inbox { requests, published } = inbox;
        Self {
            region,
            clock,
            tick,
            metrics,
            readiness,
            control,
            writable,
            threads,
            requests,
            rooms: HashMap::new(),
            room_of: HashMap::new(),
            waiting_for_time: HashSet::new(),
            reminders: VecDeque::new(),
            reminders_due: false,
            due: None,
            last_tick: None,
            published,
            cached: Vec::new(),
            was_verified: false,
            unverified_since: None,
            mismatches_in_a_row: 0,
            reload_at: None,
            reload_requested_at: None,
            counted: 0,
        }
    }

    pub(crate) async fn run(
        mut self,
        kafka: KafkaSettings,
        mode: ConsumerMode,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut log = loop {
            match RegionLog::start(&kafka, self.region, &mode).await {
                Ok(log) => break log,
                Err(error) => {
                    warn!(%error, "the topic can't be read yet");
                    self.readiness.fails(self.region, error.to_string());
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(KAFKA_RETRY) => {}
                    }
                }
            }
        };
        let mut waiting_timer = tokio::time::interval(WAITING_INTERVAL);
        let mut clock_timer = tokio::time::interval(CLOCK_INTERVAL);
        for look in [&mut waiting_timer, &mut clock_timer] {
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        self.readiness.answered(self.region);
        let _watch = watch(&log, self.metrics.clone(), self.readiness.clone());
        let mut ready = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                event = log.next() => self.handle_log_event(&mut log, event).await?,
                Some(request) = self.requests.recv() => {
                    self.handle_request(&log, request, &mut ready);
                    // Whoever else asks right now shares what is made.
                    while let Ok(request) = self.requests.try_recv() {
                        self.handle_request(&log, request, &mut ready);
                    }
                    self.serve_if_settled(&log, &mut ready).await;
                }
                Some(sid) = self.writable.recv() => {
                    ready.push(sid);
                    while let Ok(sid) = self.writable.try_recv() {
                        ready.push(sid);
                    }
                    self.serve_if_settled(&log, &mut ready).await;
                }
                () = sleep_until(self.due.map(|due| due.at)) => {
                    ready.extend(self.waiting_for_time.drain());
                    self.send_tick(&log, &mut ready).await;
                }
                _ = waiting_timer.tick(), if !self.waiting_for_time.is_empty() => {
                    ready.extend(self.waiting_for_time.drain());
                    self.serve_if_settled(&log, &mut ready).await;
                }
                _ = clock_timer.tick() => {
                    self.reminders_due = true;
                    // The tick that is due tells of the boards that it brings.
                    if self.due.is_none() {
                        self.publish_freshness(&log).await;
                    }
                    self.readiness.looks(self.region, log.is_loaded());
                    self.check_board(&mut log).await;
                }
            }
        }
    }

    async fn handle_log_event(
        &mut self,
        log: &mut RegionLog,
        event: Result<LogEvent, ReadError>,
    ) -> anyhow::Result<()> {
        match event {
            Ok(LogEvent::Loaded) => {
                let (events, quotes) = (log.board().event_count(), log.board().quote_count());
                info!(events, quotes, "the topic is read");
                self.readiness.looks(self.region, true);
                self.schedule_tick(log.read_at());
            }
            Ok(LogEvent::Progress(Progress::Applied(step))) => {
                debug!(%step, "applied");
                if log.reader().phase() == Phase::Live {
                    self.was_verified = true;
                    self.mismatches_in_a_row = 0;
                }
                self.schedule_tick(log.read_at());
            }
            Ok(LogEvent::Progress(Progress::Mismatched(step))) => {
                error!(%step, "the board does not fit its digest");
                self.metrics.mismatches.inc();
                self.board_mismatched(log).await;
            }
            Ok(LogEvent::Progress(_)) => {}
            Err(error @ (ReadError::Fenced { .. } | ReadError::Ended(_))) => return Err(error.into()),
            Err(error) => {
                error!(%error, "the topic is not what was read: it is read anew");
                self.start_over(log).await;
            }
        }
        Ok(())
    }

    /// Schedules a tick for a change that was read then: now, unless the last tick was less than a tick ago.
    fn schedule_tick(&mut self, read_at: Instant) {
        self.due.get_or_insert_with(|| Due::after(self.last_tick, self.tick, read_at, Instant::now()));
    }

    /// The board is wrong. One that was right before may be read again at once; one that was just
    /// read and still does not fit can be helped by the producer only, and is read again later.
    async fn board_mismatched(&mut self, log: &mut RegionLog) {
        if self.was_verified {
            return self.start_over(log).await;
        }
        if self.reload_requested_at.is_none_or(|at| at.elapsed() > RELOAD_REQUEST_INTERVAL) {
            self.reload_requested_at = Some(Instant::now());
            let (control, region) = (self.control.clone(), self.region);
            tokio::spawn(async move {
                if let Err(error) = control.say(&ControlMessage::Republish { region }).await {
                    warn!(%region, %error, "the producer can't be asked for everything anew");
                }
            });
        }
        self.mismatches_in_a_row += 1;
        let wait = (RELOAD_AFTER * 2u32.pow(self.mismatches_in_a_row.min(6) - 1)).min(RELOAD_AT_LEAST_EVERY);
        self.reload_at = Some(Instant::now() + wait);
        self.drop_board(log).await;
    }

    /// Reads the topic anew. Until its board fits, the region is down.
    async fn start_over(&mut self, log: &mut RegionLog) {
        self.was_verified = false;
        self.unverified_since = None;
        self.reload_at = None;
        while let Err(error) = log.restart().await {
            warn!(%error, "the topic can't be read");
            tokio::time::sleep(KAFKA_RETRY).await;
        }
        self.drop_board(log).await;
    }

    async fn drop_board(&mut self, log: &RegionLog) {
        self.due = None;
        for room in self.rooms.values_mut() {
            let from = room.cursor;
            room.move_to(None);
            for member in room.members.values_mut().filter(|member| member.is_following()) {
                member.sync_state = SyncState::Behind(from);
            }
        }
        self.cached.clear();
        self.publish_feed(log, (self.clock)()).await;
    }

    /// Reads again what did not fit, and what nothing proves: that is wrong in the end.
    async fn check_board(&mut self, log: &mut RegionLog) {
        if self.reload_at.is_some_and(|at| at <= Instant::now()) {
            return self.start_over(log).await;
        }
        if log.reader().phase() != Phase::Unverified {
            self.unverified_since = None;
            return;
        }
        let since = *self.unverified_since.get_or_insert_with(Instant::now);
        if since.elapsed() > VERIFIED_WITHIN && self.reload_at.is_none() {
            warn!("nothing proves the board");
            self.board_mismatched(log).await;
        }
    }

    fn handle_request(&mut self, log: &RegionLog, request: Request, ready: &mut Vec<Sid>) {
        match request {
            Request::Join { client, filter, from } => {
                let sid = client.sid();
                self.leave(sid);
                if !client.socket.connected() {
                    return;
                }
                let room = self.rooms.entry(filter.clone()).or_insert_with(|| {
                    let board = (log.reader().phase() == Phase::Live).then(|| log.board());
                    Room::new(filter.clone(), board)
                });
                let now = Instant::now();
                room.members.insert(sid, Member::new(client, from, now));
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
                    member.sync_state = SyncState::Behind(from);
                    member.asked = true;
                    member.joined = Instant::now();
                    ready.push(sid);
                }
            }
            Request::Board { filter, answer } => {
                let _ = answer.send(self.cached_snapshot(log, filter));
            }
        }
        self.metrics.members.set(self.room_of.len() as i64);
        self.metrics.rooms.set(self.rooms.len() as i64);
    }

    fn leave(&mut self, sid: Sid) {
        let Some(filter) = self.room_of.remove(&sid) else { return };
        self.waiting_for_time.remove(&sid);
        let room = self.rooms.get_mut(&filter).expect("a member's room is there");
        room.members.swap_remove(&sid);
        if room.members.is_empty() {
            self.rooms.remove(&filter);
        }
    }

    async fn send_tick(&mut self, log: &RegionLog, ready: &mut Vec<Sid>) {
        let began = Instant::now();
        if let Some(due) = self.due.take() {
            self.last_tick = Some(due.at);
            self.metrics.late.observe(began.saturating_duration_since(due.wanted).as_secs_f64());
        }
        self.metrics.events.set(log.board().event_count() as i64);
        self.metrics.quotes.set(log.board().quote_count() as i64);
        if log.reader().phase() != Phase::Live {
            return;
        }
        let filters: Vec<Arc<Filter>> = self.rooms.keys().cloned().collect();
        for filter in filters {
            let room = self.rooms.get_mut(&filter).expect("it was just listed");
            let had_none = room.cursor.is_none();
            let Some((from, frames)) = room.advance(self.region, log.board()) else {
                if had_none {
                    ready.extend(room.members.keys().copied());
                }
                continue;
            };
            // What takes several parts is sent to each in its own time.
            let single = frames.parts.len() == 1;
            self.broadcast(&filter, Some(from), single.then(|| &frames.parts[0]), ready).await;
            if let Some(marker) = log.reader().marker() {
                let age = (self.clock)().millis_since(marker.at).max(0);
                self.metrics.latency.observe(age as f64 / 1000.0);
            }
        }
        self.publish_freshness(log).await;
        self.serve(log, ready).await;
        let members = self.rooms.values().flat_map(|room| room.members.values());
        let behind = members.filter(|member| !member.is_following()).count();
        self.metrics.behind.set(behind as i64);
        let changes = log.board().revision().count();
        self.metrics.updates.inc_by(changes.saturating_sub(self.counted));
        self.counted = changes;
        self.metrics.unreadable.inc_by(log.unreadable().saturating_sub(self.metrics.unreadable.get()));
        self.metrics.tick.observe(began.elapsed().as_secs_f64());
    }

    /// Sends one event to everybody in a room who follows. Who can't take it now falls behind, to
    /// this cursor.
    async fn broadcast(
        &mut self,
        filter: &Arc<Filter>,
        from: Option<Cursor>,
        packet: Option<&Arc<Packet>>,
        ready: &mut Vec<Sid>,
    ) {
        let room = self.rooms.get_mut(filter).expect("only what is there is cast to");
        let bytes = packet.map_or(0, |packet| packet.bytes());
        let mut broadcast = packet.map(|packet| Broadcast::new(packet, room.members.len(), &self.threads));
        for batch in room.batches() {
            batch.values().for_each(|member| member.tracker().prefetch());
            for (sid, member) in batch {
                match (&member.sync_state, &mut broadcast) {
                    (SyncState::Following, Some(broadcast)) if member.takes(bytes) => broadcast.send(*sid, member),
                    (SyncState::Following, _) => {
                        self.metrics.slow_client_deferrals.inc();
                        member.sync_state = SyncState::Behind(from);
                        ready.push(*sid);
                    }
                    (SyncState::Behind(_) | SyncState::Partly(..), _) => ready.push(*sid),
                }
            }
        }
        if let Some(broadcast) = broadcast {
            self.finish(filter, broadcast).await;
        }
    }

    /// Waits until all of a room have it, and notes that.
    async fn finish(&mut self, filter: &Arc<Filter>, broadcast: Broadcast) {
        let (packet, at, reached) = (broadcast.packet.clone(), broadcast.at, broadcast.reached);
        let room = self.rooms.get_mut(filter).expect("rooms end by this task only");
        for (sid, number) in broadcast.end().await {
            room.members.get_mut(&sid).expect("members leave by this task only").note(number, &packet, at);
        }
        self.metrics.frames.inc_by(reached);
        self.metrics.bytes.inc_by(reached * packet.bytes() as u64);
    }

    /// What is made now ends where the rooms are, unless the board has moved on: then the tick, which
    /// is due, brings all together.
    async fn serve_if_settled(&mut self, log: &RegionLog, ready: &mut Vec<Sid>) {
        if self.due.is_none() {
            self.serve(log, ready).await;
        } else {
            self.waiting_for_time.extend(ready.drain(..));
        }
    }

    /// Brings members up to their rooms' cursors, as far as they can take it. That prices are fresh is told to
    /// those who have them; that they are not, to all.
    async fn serve(&mut self, log: &RegionLog, ready: &mut Vec<Sid>) {
        let live = log.reader().phase() == Phase::Live;
        let mut feed: Option<Packet> = None;
        // Who gets the same is served together.
        let mut same_part = SamePart::new();
        // Each once: what is counted twice and sent once would never be taken.
        ready.sort_unstable();
        ready.dedup();
        for sid in ready.drain(..) {
            let Some(filter) = self.room_of.get(&sid) else { continue };
            let room = self.rooms.get_mut(filter).expect("a member's room is there");
            let member = room.members.get_mut(&sid).expect("who has a seat is in the room");
            if !member.is_writable(self.region) {
                continue;
            }
            if member.feed_is_due && (member.is_at(room.cursor) || self.published.borrow().state != FeedState::Live) {
                send_due_feed(member, &mut feed, &self.published);
            }
            if !live || member.is_following() {
                continue;
            }
            if member.not_before.is_some_and(|at| at > Instant::now()) {
                self.waiting_for_time.insert(sid);
                continue;
            }
            let (frames, part) = match &member.sync_state {
                SyncState::Following => continue,
                SyncState::Partly(frames, sent) => (frames.clone(), *sent),
                SyncState::Behind(from) => {
                    let ahead = from.is_some_and(|from| log.board().is_ahead(&from, &room.filter));
                    if ahead && member.joined.elapsed() < AHEAD_WITHIN {
                        self.waiting_for_time.insert(sid);
                        continue;
                    }
                    if *from == room.cursor && !member.asked && member.client.gap.is_none() {
                        member.sync_state = SyncState::Following;
                        continue;
                    }
                    if *from == room.cursor && !member.asked {
                        continue;
                    }
                    let (from, at_once) = (*from, member.pace.at_once());
                    let frames = room.frames(self.region, log.board(), from, at_once);
                    let Some(frames) = frames else { continue };
                    (frames, 0)
                }
            };
            let key = (Arc::as_ptr(&frames).addr(), part);
            same_part.entry(key).or_insert_with(|| (filter.clone(), frames, Vec::new())).2.push(sid);
        }
        for ((_, part), (filter, frames, sids)) in same_part {
            self.send_part(&filter, &frames, part, &sids).await;
            let room = self.rooms.get_mut(&filter).expect("it was just served");
            for sid in sids {
                let member = room.members.get_mut(&sid).expect("it was just served");
                if member.feed_is_due && member.is_at(room.cursor) {
                    send_due_feed(member, &mut feed, &self.published);
                }
            }
        }
    }

    /// Sends one part to these members of a room, and notes where they are then.
    async fn send_part(&mut self, filter: &Arc<Filter>, frames: &Arc<Frames>, part: usize, sids: &[Sid]) {
        let done = part + 1 == frames.parts.len();
        let mut broadcast = Broadcast::new(&frames.parts[part], sids.len(), &self.threads);
        let room = self.rooms.get_mut(filter).expect("it was just served");
        let at_end = room.cursor == Some(frames.cursor);
        for sid in sids {
            let member = room.members.get_mut(sid).expect("it was just served");
            // What it asked for comes after the answer that it comes, by the same queue.
            match std::mem::take(&mut member.asked) {
                true => broadcast.send_in_order(member),
                false => broadcast.send(*sid, member),
            }
            member.not_before = member.client.gap.map(|gap| Instant::now() + gap);
            member.sync_state = match (done, member.client.gap) {
                (false, _) => SyncState::Partly(frames.clone(), part + 1),
                (true, None) if at_end => SyncState::Following,
                (true, _) => SyncState::Behind(Some(frames.cursor)),
            };
            if !done {
                member.not_before = None;
                self.waiting_for_time.insert(*sid);
            }
        }
        self.finish(filter, broadcast).await;
        if frames.kind == odds::FrameKind::Snapshot {
            self.metrics.snapshots.inc_by(sids.len() as u64);
        }
    }

    /// Tells how fresh the boards are that the rooms have now.
    async fn publish_freshness(&mut self, log: &RegionLog) {
        let at = (self.clock)();
        self.publish_feed(log, at).await;
        if std::mem::take(&mut self.reminders_due) {
            self.send_reminders(log, at).await;
        }
    }

    /// Tells everybody at once if the region stands otherwise than they were told, or if prices are good
    /// that were not.
    async fn publish_feed(&mut self, log: &RegionLog, at: Timestamp) {
        let (state, reason) = state(log, at);
        let marker = log.reader().marker();
        let source = marker.map_or("", |marker| &marker.source);
        let (is_new_state, is_fresher) = {
            let published = self.published.borrow();
            let is_new_state = published.state != state
                || published.reason.as_deref() != reason.as_deref()
                || published.source != source;
            (is_new_state, marker.is_some_and(|marker| is_fresher(&published, &marker.sports, at)))
        };
        if is_new_state {
            info!(state = state.key(), reason = reason.as_deref(), "feed");
        } else if !is_fresher {
            return;
        }
        let feed = self.feed(log, at);
        let packet = Arc::new(feed_packet(&feed));
        self.published.send_replace(feed);
        let mut ready = Vec::new();
        let filters: Vec<Arc<Filter>> = self.rooms.keys().cloned().collect();
        for filter in filters {
            let room = self.rooms.get_mut(&filter).expect("it was just listed");
            let at = room.cursor;
            for member in room.members.values_mut() {
                let reached = member.is_following() && member.takes(packet.bytes());
                member.feed_is_due |= !reached;
            }
            self.broadcast(&filter, at, Some(&packet), &mut ready).await;
        }
        self.serve_if_settled(log, &mut ready).await;
    }

    /// Tells those who were told long ago.
    async fn send_reminders(&mut self, log: &RegionLog, at: Timestamp) {
        let feed = self.feed(log, at);
        let interval = reminder_interval(&feed);
        self.published.send_replace(feed);
        let (now, mut ready) = (Instant::now(), Vec::new());
        while let Some((last, sid)) = self.reminders.front().copied() {
            if now + CLOCK_INTERVAL < last + interval {
                break;
            }
            self.reminders.pop_front();
            let room = self.room_of.get(&sid).and_then(|filter| self.rooms.get_mut(filter));
            // Who left and came back has a reminder of that time.
            if let Some(member) = room.and_then(|room| room.members.get_mut(&sid)).filter(|it| it.reminded_at == last) {
                member.feed_is_due = true;
                member.reminded_at = now;
                self.reminders.push_back((now, sid));
                ready.push(sid);
            }
        }
        self.serve_if_settled(log, &mut ready).await;
    }

    fn feed(&self, log: &RegionLog, at: Timestamp) -> Feed {
        let (state, reason) = state(log, at);
        let marker = log.reader().marker();
        Feed {
            region: self.region,
            at,
            state,
            reason: reason.map(Cow::into_owned),
            source: marker.map(|marker| marker.source.clone()).unwrap_or_default(),
            sports: marker.map(|marker| marker.sports.clone()).unwrap_or_default(),
            bookmakers: marker.map(|marker| marker.bookmakers.clone()).unwrap_or_default(),
            bookmaker_names: marker.map(|marker| marker.bookmaker_names.clone()).unwrap_or_default(),
        }
    }

    /// The board under a filter, made once for as long as it looks the same.
    fn cached_snapshot(&mut self, log: &RegionLog, filter: Filter) -> Option<Arc<CachedSnapshot>> {
        let board = log.board();
        if log.reader().phase() != Phase::Live {
            return None;
        }
        if let Some(at) = self.cached.iter().position(|(known, _)| *known == filter) {
            let (filter, cached) = self.cached.remove(at);
            if !board.differs(&cached.cursor, &filter) && !board.is_growing_old(&cached.cursor, &filter) {
                self.cached.push((filter, cached.clone()));
                return Some(cached);
            }
        }
        let cursor = board.cursor(&filter)?;
        let json = board.whole(self.region, &cursor, &filter).into();
        let cached = Arc::new(CachedSnapshot { cursor, json, gzip: std::sync::OnceLock::new() });
        if self.cached.len() == CACHED_SNAPSHOTS {
            self.cached.remove(0);
        }
        self.cached.push((filter, cached.clone()));
        Some(cached)
    }
}

/// Whether a sport's prices are good that were not, or were unheard of, when this was told.
fn is_fresher(published: &Feed, sports: &BTreeMap<SportKey, SportFreshness>, at: Timestamp) -> bool {
    let was_good = |key| published.sports.get(key).is_some_and(|it| it.stale_after >= published.at);
    sports.iter().any(|(key, it)| it.stale_after >= at && !was_good(key))
}

/// How long members may be left with this: nobody is to take prices for old that were polled again.
fn reminder_interval(published: &Feed) -> Duration {
    let good = published.sports.values().filter(|it| it.stale_after >= published.at);
    let shortest = good.map(|it| it.stale_after.millis_since(it.polled_at)).min();
    let half = shortest.map_or(FEED_INTERVAL, |millis| Duration::from_millis(millis.max(0) as u64) / 2);
    half.clamp(SHORTEST_FEED_INTERVAL, FEED_INTERVAL)
}

/// How a region stands, and why.
fn state(log: &RegionLog, at: Timestamp) -> (FeedState, Option<Cow<'_, str>>) {
    let reader = log.reader();
    match (reader.phase(), reader.marker()) {
        (Phase::Live, None) => (FeedState::Down, Some("nothing published yet".into())),
        (Phase::Live, Some(marker)) if marker.next_by < at => (FeedState::Stale, Some("the producer is silent".into())),
        (Phase::Live, Some(marker)) => (marker.state, marker.reason.as_deref().map(Cow::from)),
        (phase, _) => {
            let reason = match reader.newest_is_in().filter(|_| phase == Phase::Unverified) {
                Some(has) => {
                    format!("only {has} of {} partitions have the newest step", reader.partition_count()).into()
                }
                None => "the board is being read".into(),
            };
            (FeedState::Down, Some(reason))
        }
    }
}

fn feed_packet(feed: &Feed) -> Packet {
    Packet::new("feed", &serde_json::to_string(feed).expect("plain values"))
}

/// Tells a member what it was not told yet. It is made once for all.
fn send_due_feed(member: &mut Member, made: &mut Option<Packet>, published: &watch::Sender<Feed>) {
    member.send(made.get_or_insert_with(|| feed_packet(&published.borrow())), Instant::now());
    member.feed_is_due = false;
}

/// Notes from time to time whether Kafka answers and how far reading is behind, until the guard is dropped.
fn watch(log: &RegionLog, metrics: RegionMetrics, readiness: Arc<Readiness>) -> AbortOnDropHandle<()> {
    let (gauge, region) = (log.lag_gauge(), log.region());
    let watching = async move {
        loop {
            if gauge.reaches_kafka().await {
                readiness.answered(region);
            }
            match gauge.read().await {
                Ok(lag) => metrics.say_lag(&lag),
                Err(error) => debug!(%error, "the lag can't be told"),
            }
            tokio::time::sleep(LAG_INTERVAL).await;
        }
    };
    AbortOnDropHandle::new(tokio::spawn(watching.in_current_span()))
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
