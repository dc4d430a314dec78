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

use kafka::{ControlMessage, ControlWriter, Happening, KafkaSettings, ReadError, Reading, RegionLog};
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
    client::Client,
    due::Due,
    member::{Member, Stand},
    metrics::RegionMetrics,
    packet::Packet,
    readiness::Readiness,
    room::{Frames, Room},
    sending::Sending,
};

/// How many requests may wait for a region's task.
const REQUESTS: usize = 1_024;
/// A member is told at least this often how fresh the region is: each in its own time, so that no tick
/// waits until a crowd is told.
const FEED_INTERVAL: Duration = Duration::from_secs(10);
/// And no more often than this, however short-lived its prices are.
const SHORTEST_FEED_INTERVAL: Duration = Duration::from_secs(1);
/// Members who wait for time to pass are looked at this often,
const LOOK_AROUND: Duration = Duration::from_millis(50);
/// and all else that a clock decides.
const LOOK_AT_CLOCK: Duration = Duration::from_millis(250);
/// How long a cursor from a step that is yet to come here is waited for.
const AHEAD_FOR: Duration = Duration::from_secs(5);
const KAFKA_RETRY: Duration = Duration::from_secs(2);
/// How long a board that nothing proves is kept.
const PROOF_WITHIN: Duration = Duration::from_secs(30);
/// A board that did not fit is read again after this, and later and later each time.
const RELOAD_AFTER: Duration = Duration::from_secs(2);
const RELOAD_AT_LEAST_EVERY: Duration = Duration::from_secs(60);
const WISH_AT_MOST_EVERY: Duration = Duration::from_secs(60);
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
    Board { filter: Filter, answer: oneshot::Sender<Option<Arc<Printed>>> },
}

/// A board as HTTP serves it.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) cursor: Cursor,
    pub(crate) json: bytes::Bytes,
    pub(crate) gzip: std::sync::OnceLock<bytes::Bytes>,
}

/// How many boards are kept printed.
const PRINTED: usize = 32;

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

    pub(crate) async fn board(&self, filter: Filter) -> Option<Arc<Printed>> {
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
    told: watch::Sender<Feed>,
}

impl RegionHandle {
    pub(crate) fn new(region: Region, now: Timestamp) -> (Self, Inbox) {
        let (send, requests) = mpsc::channel(REQUESTS);
        let (told, feed) = watch::channel(Feed {
            region,
            at: now,
            state: FeedState::Down,
            reason: Some("the board is being read".into()),
            source: String::new(),
            sports: BTreeMap::new(),
            bookmakers: BTreeMap::new(),
            bookmaker_names: BTreeMap::new(),
        });
        (Self { requests: send, feed }, Inbox { requests, told })
    }
}

/// What a region's task works with.
pub(crate) struct Setting {
    pub(crate) region: Region,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) tick: Duration,
    pub(crate) metrics: RegionMetrics,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) control: ControlWriter,
    /// Sockets that the network has taken something from.
    pub(crate) called: mpsc::UnboundedReceiver<Sid>,
    /// Who helps with a crowd.
    pub(crate) threads: Handle,
}

/// Members who are sent the same part of the same frames, by where those are and which part it is.
type Together = HashMap<(usize, usize), (Arc<Filter>, Arc<Frames>, Vec<Sid>)>;

pub(crate) struct RegionTask {
    region: Region,
    clock: fn() -> Timestamp,
    tick: Duration,
    metrics: RegionMetrics,
    readiness: Arc<Readiness>,
    control: ControlWriter,
    called: mpsc::UnboundedReceiver<Sid>,
    threads: Handle,
    requests: mpsc::Receiver<Request>,
    rooms: HashMap<Arc<Filter>, Room>,
    /// Which room a member is in.
    seats: HashMap<Sid, Arc<Filter>>,
    /// Members who wait for time to pass.
    dozing: HashSet<Sid>,
    /// When members were told the feed last, whoever is the next to be told again first.
    reminders: VecDeque<(Instant, Sid)>,
    /// Whether reminders are to be looked at with the next tick.
    reminders_due: bool,
    due: Option<Due>,
    /// When the last tick was due.
    ticked: Option<Instant>,
    told: watch::Sender<Feed>,
    printed: Vec<(Filter, Arc<Printed>)>,
    /// Some step of what was read fitted its digest.
    proven: bool,
    unproven_since: Option<Instant>,
    /// How often in a row a fresh board did not fit, and when the topic is read again.
    misfits: u32,
    reload_at: Option<Instant>,
    wished_at: Option<Instant>,
    counted: u64,
}

impl RegionTask {
    pub(crate) fn new(setting: Setting, inbox: Inbox) -> Self {
        let Setting { region, clock, tick, metrics, readiness, control, called, threads } = setting;
        let Inbox { requests, told } = inbox;
        Self {
            region,
            clock,
            tick,
            metrics,
            readiness,
            control,
            called,
            threads,
            requests,
            rooms: HashMap::new(),
            seats: HashMap::new(),
            dozing: HashSet::new(),
            reminders: VecDeque::new(),
            reminders_due: false,
            due: None,
            ticked: None,
            told,
            printed: Vec::new(),
            proven: false,
            unproven_since: None,
            misfits: 0,
            reload_at: None,
            wished_at: None,
            counted: 0,
        }
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
                    warn!(%error, "the topic can't be read yet");
                    self.readiness.fails(self.region, error.to_string());
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(KAFKA_RETRY) => {}
                    }
                }
            }
        };
        let mut around = tokio::time::interval(LOOK_AROUND);
        let mut by_clock = tokio::time::interval(LOOK_AT_CLOCK);
        for look in [&mut around, &mut by_clock] {
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        self.readiness.answered(self.region);
        let _watch = watch(&log, self.metrics.clone(), self.readiness.clone());
        let mut turn = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                happening = log.next() => self.happened(&mut log, happening).await?,
                Some(request) = self.requests.recv() => {
                    self.requested(&log, request, &mut turn);
                    // Whoever else asks right now shares what is made.
                    while let Ok(request) = self.requests.try_recv() {
                        self.requested(&log, request, &mut turn);
                    }
                    self.serve_if_settled(&log, &mut turn).await;
                }
                Some(sid) = self.called.recv() => {
                    turn.push(sid);
                    while let Ok(sid) = self.called.try_recv() {
                        turn.push(sid);
                    }
                    self.serve_if_settled(&log, &mut turn).await;
                }
                () = sleep_until(self.due.map(|due| due.at)) => {
                    turn.extend(self.dozing.drain());
                    self.send_tick(&log, &mut turn).await;
                }
                _ = around.tick(), if !self.dozing.is_empty() => {
                    turn.extend(self.dozing.drain());
                    self.serve_if_settled(&log, &mut turn).await;
                }
                _ = by_clock.tick() => {
                    self.reminders_due = true;
                    // The tick that is due tells of the boards that it brings.
                    if self.due.is_none() {
                        self.tell_time(&log).await;
                    }
                    self.readiness.looks(self.region, log.is_loaded());
                    self.judge(&mut log).await;
                }
            }
        }
    }

    async fn happened(&mut self, log: &mut RegionLog, happening: Result<Happening, ReadError>) -> anyhow::Result<()> {
        match happening {
            Ok(Happening::Loaded) => {
                let (events, quotes) = (log.board().event_count(), log.board().quote_count());
                info!(events, quotes, "the topic is read");
                self.readiness.looks(self.region, true);
                self.schedule_tick(log.read_at());
            }
            Ok(Happening::Progress(Progress::Applied(step))) => {
                debug!(%step, "applied");
                if log.reader().phase() == Phase::Live {
                    self.proven = true;
                    self.misfits = 0;
                }
                self.schedule_tick(log.read_at());
            }
            Ok(Happening::Progress(Progress::Mismatched(step))) => {
                error!(%step, "the board does not fit its digest");
                self.metrics.mismatches.inc();
                self.misfit(log).await;
            }
            Ok(Happening::Progress(_)) => {}
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
        self.due.get_or_insert_with(|| Due::after(self.ticked, self.tick, read_at, Instant::now()));
    }

    /// The board is wrong. One that was right before may be read again at once; one that was just
    /// read and still does not fit can be helped by the producer only, and is read again later.
    async fn misfit(&mut self, log: &mut RegionLog) {
        if self.proven {
            return self.start_over(log).await;
        }
        if self.wished_at.is_none_or(|at| at.elapsed() > WISH_AT_MOST_EVERY) {
            self.wished_at = Some(Instant::now());
            let (control, region) = (self.control.clone(), self.region);
            tokio::spawn(async move {
                if let Err(error) = control.say(&ControlMessage::Anew { region }).await {
                    warn!(%region, %error, "the producer can't be asked for everything anew");
                }
            });
        }
        self.misfits += 1;
        let wait = (RELOAD_AFTER * 2u32.pow(self.misfits.min(6) - 1)).min(RELOAD_AT_LEAST_EVERY);
        self.reload_at = Some(Instant::now() + wait);
        self.lose_board(log).await;
    }

    /// Reads the topic anew. Until its board fits, the region is down.
    async fn start_over(&mut self, log: &mut RegionLog) {
        self.proven = false;
        self.unproven_since = None;
        self.reload_at = None;
        while let Err(error) = log.restart().await {
            warn!(%error, "the topic can't be read");
            tokio::time::sleep(KAFKA_RETRY).await;
        }
        self.lose_board(log).await;
    }

    async fn lose_board(&mut self, log: &RegionLog) {
        self.due = None;
        for room in self.rooms.values_mut() {
            let from = room.cursor;
            room.move_to(None);
            for member in room.members.values_mut().filter(|member| member.is_following()) {
                member.stand = Stand::Behind(from);
            }
        }
        self.printed.clear();
        self.tell_feed(log, (self.clock)()).await;
    }

    /// Reads again what did not fit, and what nothing proves: that is wrong in the end.
    async fn judge(&mut self, log: &mut RegionLog) {
        if self.reload_at.is_some_and(|at| at <= Instant::now()) {
            return self.start_over(log).await;
        }
        if log.reader().phase() != Phase::Unproven {
            self.unproven_since = None;
            return;
        }
        let since = *self.unproven_since.get_or_insert_with(Instant::now);
        if since.elapsed() > PROOF_WITHIN && self.reload_at.is_none() {
            warn!("nothing proves the board");
            self.misfit(log).await;
        }
    }

    fn requested(&mut self, log: &RegionLog, request: Request, turn: &mut Vec<Sid>) {
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
                self.seats.insert(sid, filter);
                self.reminders.push_back((now, sid));
                turn.push(sid);
            }
            Request::Leave { sid, left } => {
                self.leave(sid);
                let _ = left.send(());
            }
            Request::Resync { sid, from } => {
                let room = self.seats.get(&sid).and_then(|filter| self.rooms.get_mut(filter));
                if let Some(member) = room.and_then(|room| room.members.get_mut(&sid)) {
                    member.stand = Stand::Behind(from);
                    member.asked = true;
                    member.joined = Instant::now();
                    turn.push(sid);
                }
            }
            Request::Board { filter, answer } => {
                let _ = answer.send(self.print(log, filter));
            }
        }
        self.metrics.members.set(self.seats.len() as i64);
        self.metrics.rooms.set(self.rooms.len() as i64);
    }

    fn leave(&mut self, sid: Sid) {
        let Some(filter) = self.seats.remove(&sid) else { return };
        self.dozing.remove(&sid);
        let room = self.rooms.get_mut(&filter).expect("a member's room is there");
        room.members.swap_remove(&sid);
        if room.members.is_empty() {
            self.rooms.remove(&filter);
        }
    }

    async fn send_tick(&mut self, log: &RegionLog, turn: &mut Vec<Sid>) {
        let began = Instant::now();
        if let Some(due) = self.due.take() {
            self.ticked = Some(due.at);
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
                    turn.extend(room.members.keys().copied());
                }
                continue;
            };
            // What takes several parts is sent to each in its own time.
            let single = frames.parts.len() == 1;
            self.cast(&filter, Some(from), single.then(|| &frames.parts[0]), turn).await;
            if let Some(marker) = log.reader().marker() {
                let age = (self.clock)().millis_since(marker.at).max(0);
                self.metrics.latency.observe(age as f64 / 1000.0);
            }
        }
        self.tell_time(log).await;
        self.serve(log, turn).await;
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
    async fn cast(
        &mut self,
        filter: &Arc<Filter>,
        from: Option<Cursor>,
        packet: Option<&Arc<Packet>>,
        turn: &mut Vec<Sid>,
    ) {
        let room = self.rooms.get_mut(filter).expect("only what is there is cast to");
        let bytes = packet.map_or(0, |packet| packet.bytes());
        let mut sending = packet.map(|packet| Sending::new(packet, room.members.len(), &self.threads));
        for handful in room.handfuls() {
            handful.values().for_each(|member| member.link().bring_near());
            for (sid, member) in handful {
                match (&member.stand, &mut sending) {
                    (Stand::Following, Some(sending)) if member.takes(bytes) => sending.send(*sid, member),
                    (Stand::Following, _) => {
                        self.metrics.set_aside.inc();
                        member.stand = Stand::Behind(from);
                        turn.push(*sid);
                    }
                    (Stand::Behind(_) | Stand::Partly(..), _) => turn.push(*sid),
                }
            }
        }
        if let Some(sending) = sending {
            self.finish(filter, sending).await;
        }
    }

    /// Waits until all of a room have it, and notes that.
    async fn finish(&mut self, filter: &Arc<Filter>, sending: Sending) {
        let (packet, at, reached) = (sending.packet.clone(), sending.at, sending.reached);
        let room = self.rooms.get_mut(filter).expect("rooms end by this task only");
        for (sid, number) in sending.end().await {
            room.members.get_mut(&sid).expect("members leave by this task only").note(number, &packet, at);
        }
        self.metrics.frames.inc_by(reached);
        self.metrics.bytes.inc_by(reached * packet.bytes() as u64);
    }

    /// What is made now ends where the rooms are, unless the board has moved on: then the tick, which
    /// is due, brings all together.
    async fn serve_if_settled(&mut self, log: &RegionLog, turn: &mut Vec<Sid>) {
        if self.due.is_none() {
            self.serve(log, turn).await;
        } else {
            self.dozing.extend(turn.drain(..));
        }
    }

    /// Brings members up to their rooms' cursors, as far as they can take it. That prices are fresh is told to
    /// those who have them; that they are not, to all.
    async fn serve(&mut self, log: &RegionLog, turn: &mut Vec<Sid>) {
        let live = log.reader().phase() == Phase::Live;
        let mut feed: Option<Packet> = None;
        // Who gets the same is served together.
        let mut together = Together::new();
        // Each once: what is counted twice and sent once would never be taken.
        turn.sort_unstable();
        turn.dedup();
        for sid in turn.drain(..) {
            let Some(filter) = self.seats.get(&sid) else { continue };
            let room = self.rooms.get_mut(filter).expect("a member's room is there");
            let member = room.members.get_mut(&sid).expect("who has a seat is in the room");
            if !member.is_called(self.region) {
                continue;
            }
            if member.owes_feed && (member.is_at(room.cursor) || self.told.borrow().state != FeedState::Live) {
                pay_feed(member, &mut feed, &self.told);
            }
            if !live || member.is_following() {
                continue;
            }
            if member.not_before.is_some_and(|at| at > Instant::now()) {
                self.dozing.insert(sid);
                continue;
            }
            let (frames, part) = match &member.stand {
                Stand::Following => continue,
                Stand::Partly(frames, sent) => (frames.clone(), *sent),
                Stand::Behind(from) => {
                    let ahead = from.is_some_and(|from| log.board().is_ahead(&from, &room.filter));
                    if ahead && member.joined.elapsed() < AHEAD_FOR {
                        self.dozing.insert(sid);
                        continue;
                    }
                    if *from == room.cursor && !member.asked && member.client.gap.is_none() {
                        member.stand = Stand::Following;
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
            together.entry(key).or_insert_with(|| (filter.clone(), frames, Vec::new())).2.push(sid);
        }
        for ((_, part), (filter, frames, sids)) in together {
            self.hand_out(&filter, &frames, part, &sids).await;
            let room = self.rooms.get_mut(&filter).expect("it was just served");
            for sid in sids {
                let member = room.members.get_mut(&sid).expect("it was just served");
                if member.owes_feed && member.is_at(room.cursor) {
                    pay_feed(member, &mut feed, &self.told);
                }
            }
        }
    }

    /// Sends one part to these members of a room, and notes where they are then.
    async fn hand_out(&mut self, filter: &Arc<Filter>, frames: &Arc<Frames>, part: usize, sids: &[Sid]) {
        let done = part + 1 == frames.parts.len();
        let mut sending = Sending::new(&frames.parts[part], sids.len(), &self.threads);
        let room = self.rooms.get_mut(filter).expect("it was just served");
        let at_end = room.cursor == Some(frames.cursor);
        for sid in sids {
            let member = room.members.get_mut(sid).expect("it was just served");
            // What it asked for comes after the answer that it comes, by the same queue.
            match std::mem::take(&mut member.asked) {
                true => sending.tell(member),
                false => sending.send(*sid, member),
            }
            member.not_before = member.client.gap.map(|gap| Instant::now() + gap);
            member.stand = match (done, member.client.gap) {
                (false, _) => Stand::Partly(frames.clone(), part + 1),
                (true, None) if at_end => Stand::Following,
                (true, _) => Stand::Behind(Some(frames.cursor)),
            };
            if !done {
                member.not_before = None;
                self.dozing.insert(*sid);
            }
        }
        self.finish(filter, sending).await;
        if frames.kind == odds::FrameKind::Snapshot {
            self.metrics.snapshots.inc_by(sids.len() as u64);
        }
    }

    /// Tells how fresh the boards are that the rooms have now.
    async fn tell_time(&mut self, log: &RegionLog) {
        let at = (self.clock)();
        self.tell_feed(log, at).await;
        if std::mem::take(&mut self.reminders_due) {
            self.remind(log, at).await;
        }
    }

    /// Tells everybody at once if the region stands otherwise than they were told, or if prices are good
    /// that were not.
    async fn tell_feed(&mut self, log: &RegionLog, at: Timestamp) {
        let (state, reason) = state(log, at);
        let marker = log.reader().marker();
        let source = marker.map_or("", |marker| &marker.source);
        let (is_otherwise, is_fresher) = {
            let told = self.told.borrow();
            let is_otherwise =
                told.state != state || told.reason.as_deref() != reason.as_deref() || told.source != source;
            (is_otherwise, marker.is_some_and(|marker| is_fresher(&told, &marker.sports, at)))
        };
        if is_otherwise {
            info!(state = state.key(), reason = reason.as_deref(), "feed");
        } else if !is_fresher {
            return;
        }
        let feed = self.feed(log, at);
        let packet = Arc::new(feed_packet(&feed));
        self.told.send_replace(feed);
        let mut turn = Vec::new();
        let filters: Vec<Arc<Filter>> = self.rooms.keys().cloned().collect();
        for filter in filters {
            let room = self.rooms.get_mut(&filter).expect("it was just listed");
            let at = room.cursor;
            for member in room.members.values_mut() {
                let reached = member.is_following() && member.takes(packet.bytes());
                member.owes_feed |= !reached;
            }
            self.cast(&filter, at, Some(&packet), &mut turn).await;
        }
        self.serve_if_settled(log, &mut turn).await;
    }

    /// Tells those who were told long ago.
    async fn remind(&mut self, log: &RegionLog, at: Timestamp) {
        let feed = self.feed(log, at);
        let interval = remind_after(&feed);
        self.told.send_replace(feed);
        let (now, mut turn) = (Instant::now(), Vec::new());
        while let Some((last, sid)) = self.reminders.front().copied() {
            if now + LOOK_AT_CLOCK < last + interval {
                break;
            }
            self.reminders.pop_front();
            let room = self.seats.get(&sid).and_then(|filter| self.rooms.get_mut(filter));
            // Who left and came back has a reminder of that time.
            if let Some(member) = room.and_then(|room| room.members.get_mut(&sid)).filter(|it| it.reminded == last) {
                member.owes_feed = true;
                member.reminded = now;
                self.reminders.push_back((now, sid));
                turn.push(sid);
            }
        }
        self.serve_if_settled(log, &mut turn).await;
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
    fn print(&mut self, log: &RegionLog, filter: Filter) -> Option<Arc<Printed>> {
        let board = log.board();
        if log.reader().phase() != Phase::Live {
            return None;
        }
        if let Some(at) = self.printed.iter().position(|(known, _)| *known == filter) {
            let (filter, printed) = self.printed.remove(at);
            if !board.differs(&printed.cursor, &filter) && !board.is_growing_old(&printed.cursor, &filter) {
                self.printed.push((filter, printed.clone()));
                return Some(printed);
            }
        }
        let cursor = board.cursor(&filter)?;
        let json = board.whole(self.region, &cursor, &filter).into();
        let printed = Arc::new(Printed { cursor, json, gzip: std::sync::OnceLock::new() });
        if self.printed.len() == PRINTED {
            self.printed.remove(0);
        }
        self.printed.push((filter, printed.clone()));
        Some(printed)
    }
}

/// Whether a sport's prices are good that were not, or were unheard of, when this was told.
fn is_fresher(told: &Feed, sports: &BTreeMap<SportKey, SportFreshness>, at: Timestamp) -> bool {
    let was_good = |key| told.sports.get(key).is_some_and(|it| it.stale_after >= told.at);
    sports.iter().any(|(key, it)| it.stale_after >= at && !was_good(key))
}

/// How long members may be left with this: nobody is to take prices for old that were polled again.
fn remind_after(told: &Feed) -> Duration {
    let good = told.sports.values().filter(|it| it.stale_after >= told.at);
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
            let reason = match reader.newest_is_in().filter(|_| phase == Phase::Unproven) {
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
fn pay_feed(member: &mut Member, made: &mut Option<Packet>, told: &watch::Sender<Feed>) {
    member.send(made.get_or_insert_with(|| feed_packet(&told.borrow())), Instant::now());
    member.owes_feed = false;
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
