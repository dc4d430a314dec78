//! Tracks which of a session's events and answers the network has accepted.
//!
//! Socket.IO's queue doesn't report its length. So a session's events are counted twice: when they are sent, and when the
//! kernel accepts them. While the counts differ, the client gets no further frames. The region is notified when the kernel accepts an event.

use std::{
    fmt,
    hint::black_box,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

use odds::Region;
use socketioxide::socket::Sid;
use tokio::sync::{Notify, mpsc};

use super::Connection;
use crate::transport::Packet;

/// How many bytes a client may send before it signs in: the gateway may have to hold each of them.
pub(crate) const STRANGER_BYTES: usize = 4_096;
/// The bit of a replay that waits for a notification.
const REPLAY: u8 = 1 << 7;

/// For each region, the queue of sockets that can take more. A region is notified once for each time that it asks.
#[derive(Clone, Debug)]
pub(crate) struct WritableQueues([mpsc::UnboundedSender<Sid>; Region::ALL.len()]);

impl WritableQueues {
    pub(crate) fn new(writable_queues: [mpsc::UnboundedSender<Sid>; Region::ALL.len()]) -> Self {
        Self(writable_queues)
    }
}

/// An event that was written directly to the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) number: u64,
    /// The size of its frame, which may be compressed.
    pub(crate) bytes: usize,
}

/// Counts the events and answers of one session, over both transports. Both are called events here.
pub(crate) struct DeliveryTracker {
    sent_count: AtomicU64,
    accepted_count: AtomicU64,
    /// A bit for each region that waits for a notification, and [`REPLAY`].
    waiting: AtomicU8,
    writable_queues: WritableQueues,
    sid: OnceLock<Sid>,
    /// The client is being disconnected: nothing is sent after its `bye`.
    ending: AtomicBool,
    cut: AtomicBool,
    was_cut: Notify,
    /// Wakes a replay, which waits for events to be accepted.
    was_taken: Notify,
    /// The websocket that carries all events from now on. While a websocket is being probed, events are still delivered
    /// by polling.
    carrier: OnceLock<Weak<Connection>>,
    /// How many more bytes the client may send by websocket before it signs in.
    allowance: AtomicUsize,
    /// All websockets that were opened for this session, usually one.
    websockets: Mutex<Vec<Weak<Connection>>>,
}

impl DeliveryTracker {
    pub(crate) fn new(writable_queues: WritableQueues) -> Self {
        Self {
            sent_count: AtomicU64::new(0),
            accepted_count: AtomicU64::new(0),
            waiting: AtomicU8::new(0),
            writable_queues,
            sid: OnceLock::new(),
            ending: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            was_cut: Notify::new(),
            was_taken: Notify::new(),
            carrier: OnceLock::new(),
            allowance: AtomicUsize::new(STRANGER_BYTES),
            websockets: Mutex::default(),
        }
    }

    /// Sets the session's id.
    pub(crate) fn is_of(&self, sid: Sid) {
        // It may be set before; a session's id never changes.
        let _ = self.sid.set(sid);
    }

    /// The session's id, once Engine.IO has given it one.
    pub(crate) fn sid(&self) -> Option<Sid> {
        self.sid.get().copied()
    }

    /// Counts an event that is about to be sent. Returns its number.
    pub(crate) fn count_event(&self) -> u64 {
        self.sent_count.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Notes that an event is in the socket's queue: a websocket that waits for nothing fetches it.
    pub(crate) fn is_queued(&self) {
        if let Some(connection) = self.carrier.get().and_then(Weak::upgrade) {
            connection.wake();
        }
    }

    /// Writes an event's websocket frame directly to the network. Returns `None` if the network has not accepted all
    /// previous events or there is no websocket.
    pub(crate) fn pass(&self, packet: &Packet) -> Option<Passed> {
        let carrier = self.carrier.get()?;
        if !self.has_taken_all() {
            return None;
        }
        let mut number = None;
        let bytes = carrier.upgrade()?.pass(packet, || {
            // A `bye` that is queued from now on can't be written before this frame is.
            number = (!self.is_ending()).then(|| self.count_event());
            number.is_some()
        });
        Some(Passed { number: number?, bytes: bytes? })
    }

    /// Loads the memory that [`Self::pass`] needs into the cache. Prefetching for a whole batch overlaps the cache
    /// misses.
    pub(crate) fn prefetch(&self) {
        let connections = self.carrier.get().map_or(0, Weak::strong_count);
        black_box((self.accepted_count.load(Ordering::Relaxed), connections));
    }

    /// Whether the network has accepted the event with this number.
    pub(crate) fn has_taken(&self, number: u64) -> bool {
        self.accepted_count.load(Ordering::Acquire) >= number
    }

    pub(crate) fn has_taken_all(&self) -> bool {
        self.has_taken(self.newest())
    }

    /// The number of the newest event.
    pub(crate) fn newest(&self) -> u64 {
        self.sent_count.load(Ordering::Acquire)
    }

    /// How many events the network has accepted.
    pub(crate) fn taken(&self) -> u64 {
        self.accepted_count.load(Ordering::Acquire)
    }

    /// Notifies the region once, when the network accepts the next event.
    pub(crate) fn notify_when_writable(&self, region: Region) {
        self.waiting.fetch_or(bit(region), Ordering::AcqRel);
    }

    /// Counts events that the network accepted, and notifies the regions that wait for this.
    pub(crate) fn took(&self, events: u64) {
        self.accepted_count.fetch_add(events, Ordering::AcqRel);
        let waiting = self.waiting.swap(0, Ordering::AcqRel);
        if waiting == 0 {
            return;
        }
        if waiting & REPLAY != 0 {
            self.was_taken.notify_one();
        }
        let Some(sid) = self.sid.get() else { return };
        for region in Region::ALL.into_iter().filter(|region| waiting & bit(*region) != 0) {
            // The region's task ends only with the process.
            let _ = self.writable_queues.0[region as usize].send(*sid);
        }
    }

    /// Waits until the network has accepted the event with this number. Only one task may wait.
    pub(crate) async fn until_taken(&self, number: u64) {
        while !self.has_taken(number) {
            self.waiting.fetch_or(REPLAY, Ordering::AcqRel);
            // Check again: an event that was accepted before the request does not notify.
            if self.has_taken(number) {
                return;
            }
            self.was_taken.notified().await;
        }
    }

    /// Notes that a websocket was opened for this session. It may be a probe that never carries an event.
    pub(crate) fn opened(self: &Arc<Self>, websocket: &Weak<Connection>) {
        let Some(connection) = websocket.upgrade() else { return };
        if !connection.carries(self) {
            return;
        }
        {
            let mut websockets = self.websockets();
            websockets.retain(|it| it.strong_count() > 0);
            websockets.push(websocket.clone());
        }
        if self.is_cut() {
            connection.cut();
        }
    }

    /// Notes that the client has signed in: from now on, only the size of each message is limited.
    pub(crate) fn is_known(&self) {
        self.allowance.store(usize::MAX, Ordering::Relaxed);
    }

    pub(crate) fn is_strange(&self) -> bool {
        self.allowance.load(Ordering::Relaxed) != usize::MAX
    }

    /// Whether the client may send this many more bytes by websocket, which are then deducted from its allowance.
    pub(crate) fn may_bring(&self, bytes: usize) -> bool {
        let less = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(bytes) };
        self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Whether a websocket is open for this session.
    pub(crate) fn has_websocket(&self) -> bool {
        self.websockets().iter().any(|it| it.strong_count() > 0)
    }

    /// Whether a websocket with compression is open for this session.
    pub(crate) fn has_compression(&self) -> bool {
        self.websockets().iter().filter_map(Weak::upgrade).any(|it| it.has_compression())
    }

    fn websockets(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.websockets.lock().expect("nobody panics while holding it")
    }

    /// Notes that this websocket carries all events from now on.
    pub(crate) fn is_carried_by(&self, websocket: &Arc<Connection>) {
        if self.carrier.get().is_none() {
            let _ = self.carrier.set(Arc::downgrade(websocket));
        }
    }

    /// From now on, nothing but `bye` is sent.
    pub(crate) fn begin_ending(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Ends the session and its connections, even if the client reads nothing any more.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.was_cut.notify_waiters();
        for websocket in &*self.websockets() {
            if let Some(connection) = websocket.upgrade() {
                connection.cut();
            }
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Waits until the session is cut.
    pub(crate) async fn until_cut(&self) {
        let mut was_cut = std::pin::pin!(self.was_cut.notified());
        // Register before reading the flag, so that a cut in between is not missed.
        was_cut.as_mut().enable();
        if !self.is_cut() {
            was_cut.await;
        }
    }
}

impl fmt::Debug for DeliveryTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryTracker").field("sid", &self.sid.get()).finish_non_exhaustive()
    }
}

fn bit(region: Region) -> u8 {
    1 << region as u8
}
