//! How much of what was sent to a session the network has accepted.
//!
//! Socket.IO's own queue says nothing before it is full, and a full one kills the socket at the next ping. So
//! every event that is handed to a session is counted, and every event that leaves is counted at the very end,
//! where the kernel accepts it. Whoever sends compares the two: a client with something still unwritten is not
//! sent more, and the region is notified when the client can take the next frame.

use std::{
    fmt,
    hint::black_box,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use odds::Region;
use socketioxide::socket::Sid;
use tokio::sync::{Notify, mpsc};

use super::Connection;

/// What a session may bring before somebody has signed in: each byte may have to be held.
pub(crate) const STRANGER_BYTES: usize = 4_096;

/// Where region tasks hear of sockets that can take more. At most one entry a socket and region.
#[derive(Clone, Debug)]
pub(crate) struct WritableQueues([mpsc::UnboundedSender<Sid>; Region::ALL.len()]);

impl WritableQueues {
    pub(crate) fn new(writable_queues: [mpsc::UnboundedSender<Sid>; Region::ALL.len()]) -> Self {
        Self(writable_queues)
    }
}

/// The count of one session, whatever transports carry it.
pub(crate) struct DeliveryTracker {
    sent_count: AtomicU64,
    accepted_count: AtomicU64,
    /// A bit for each region that is to be notified.
    waiting: AtomicU8,
    writable_queues: WritableQueues,
    sid: OnceLock<Sid>,
    /// Its client is being sent away, and is sent nothing after the reason why.
    ending: AtomicBool,
    cut: AtomicBool,
    was_cut: Notify,
    /// The websocket that carries all events from now on. A session that began by long polling has none
    /// until the first event leaves by its websocket: while a websocket is only being probed, events still
    /// leave by polling.
    carrier: OnceLock<Weak<Connection>>,
    /// What its websockets may still bring before somebody signs in.
    allowance: AtomicUsize,
    /// Every websocket that was opened for this session: usually one.
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
            carrier: OnceLock::new(),
            allowance: AtomicUsize::new(STRANGER_BYTES),
            websockets: Mutex::default(),
        }
    }

    /// The session that this is the count of.
    pub(crate) fn is_of(&self, sid: Sid) {
        // A session keeps its id.
        let _ = self.sid.set(sid);
    }

    /// Counts an event that is about to be handed to the socket. Returns its number.
    pub(crate) fn count_event(&self) -> u64 {
        self.sent_count.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Hands a whole websocket frame with one event straight to the network, if that has accepted all that
    /// was sent before. Returns its number.
    pub(crate) fn pass(&self, frame: &Bytes) -> Option<u64> {
        let carrier = self.carrier.get()?;
        if !self.has_taken_all() || self.is_ending() {
            return None;
        }
        let mut number = None;
        carrier.upgrade()?.pass(frame, || number = Some(self.count_event()));
        number
    }

    /// Loads the memory that [`Self::pass`] works with into the cache. Whoever passes a frame to many does
    /// this for a batch first, and waits for all of them once.
    pub(crate) fn prefetch(&self) {
        let connections = self.carrier.get().map_or(0, Weak::strong_count);
        black_box((self.accepted_count.load(Ordering::Relaxed), connections));
    }

    /// Whether the network has accepted the event of this number.
    pub(crate) fn has_taken(&self, number: u64) -> bool {
        self.accepted_count.load(Ordering::Acquire) >= number
    }

    pub(crate) fn has_taken_all(&self) -> bool {
        self.has_taken(self.sent_count.load(Ordering::Acquire))
    }

    /// Has the region notified as soon as the network accepts something.
    pub(crate) fn notify_when_writable(&self, region: Region) {
        self.waiting.fetch_or(bit(region), Ordering::AcqRel);
    }

    /// The network accepted so many more events.
    pub(crate) fn took(&self, events: u64) {
        self.accepted_count.fetch_add(events, Ordering::AcqRel);
        let waiting = self.waiting.swap(0, Ordering::AcqRel);
        if waiting == 0 {
            return;
        }
        let Some(sid) = self.sid.get() else { return };
        for region in Region::ALL.into_iter().filter(|region| waiting & bit(*region) != 0) {
            // The region's task ends only with the process.
            let _ = self.writable_queues.0[region as usize].send(*sid);
        }
    }

    /// A websocket was opened for this session. It may be a probe that never carries an event.
    pub(crate) fn opened(self: &Arc<Self>, websocket: &Weak<Connection>) {
        let Some(connection) = websocket.upgrade() else { return };
        if !connection.carries(self) {
            return;
        }
        {
            let mut websockets = self.websockets.lock().expect("nobody panics while holding it");
            websockets.retain(|it| it.strong_count() > 0);
            websockets.push(websocket.clone());
        }
        if self.is_cut() {
            connection.cut();
        }
    }

    /// Somebody has signed in: from now on only the size of a message is limited.
    pub(crate) fn is_known(&self) {
        self.allowance.store(usize::MAX, Ordering::Relaxed);
    }

    pub(crate) fn is_strange(&self) -> bool {
        self.allowance.load(Ordering::Relaxed) != usize::MAX
    }

    /// Whether a websocket may bring so many bytes more.
    pub(crate) fn may_bring(&self, bytes: usize) -> bool {
        let less = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(bytes) };
        self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Whether a websocket is open for it.
    pub(crate) fn has_websocket(&self) -> bool {
        let websockets = self.websockets.lock().expect("nobody panics while holding it");
        websockets.iter().any(|it| it.strong_count() > 0)
    }

    /// An event leaves by this websocket, so Engine.IO has made it the session's transport.
    pub(crate) fn is_carried_by(&self, websocket: &Arc<Connection>) {
        if self.carrier.get().is_none() {
            let _ = self.carrier.set(Arc::downgrade(websocket));
        }
    }

    /// From now on, nothing but a farewell is sent.
    pub(crate) fn begin_ending(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Ends the session, even one whose client accepts nothing any more.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.was_cut.notify_waiters();
        for websocket in &*self.websockets.lock().expect("nobody panics while holding it") {
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
        // Registers before the flag is read, so that a cut in between is not missed.
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
