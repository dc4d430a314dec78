//! How much of what was said to a socket the network has taken.
//!
//! Socket.IO's own queue says nothing before it is full, and a full one kills the socket at the next
//! ping. So what is handed to a socket is counted, and what leaves for the network is counted at the
//! very end, where the kernel takes it. Whoever sends looks at both: a client with something still
//! unwritten is not sent more, it waits, and is called when it can take the next frame.

use std::{
    fmt,
    hint::black_box,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use odds::Region;
use socketioxide::socket::Sid;
use tokio::sync::mpsc;

use crate::connection::Connection;

/// Where region tasks hear of sockets that can take more. At most one entry a socket and region.
#[derive(Clone, Debug)]
pub(crate) struct Callers([mpsc::UnboundedSender<Sid>; Region::ALL.len()]);

impl Callers {
    pub(crate) fn new(callers: [mpsc::UnboundedSender<Sid>; Region::ALL.len()]) -> Self {
        Self(callers)
    }
}

/// One socket's account, whatever carries it.
pub(crate) struct Link {
    said: AtomicU64,
    taken: AtomicU64,
    /// A bit for each region that wants to be called.
    waiting: AtomicU8,
    callers: Callers,
    sid: OnceLock<Sid>,
    cut: AtomicBool,
    /// Its websocket, if it has one, is what carries all from now on: nothing waits for a long poll.
    open: AtomicBool,
    /// Whoever reads from it owns it.
    connection: OnceLock<Weak<Connection>>,
}

impl Link {
    pub(crate) fn new(callers: Callers) -> Self {
        Self {
            said: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            waiting: AtomicU8::new(0),
            callers,
            sid: OnceLock::new(),
            cut: AtomicBool::new(false),
            open: AtomicBool::new(false),
            connection: OnceLock::new(),
        }
    }

    /// The socket that this account is of.
    pub(crate) fn is_of(&self, sid: Sid) {
        // A socket has one account from its first request on.
        let _ = self.sid.set(sid);
    }

    /// Counts an event that is about to be handed to the socket. Gives its number.
    pub(crate) fn say(&self) -> u64 {
        self.said.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Frames may be passed from now on.
    pub(crate) fn opens(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Hands a whole websocket frame with one event straight to the network, if that has all that was said
    /// before. Gives its number.
    pub(crate) fn pass(&self, frame: &Bytes) -> Option<u64> {
        if !self.open.load(Ordering::Acquire) || !self.has_taken(self.said.load(Ordering::Acquire)) {
            return None;
        }
        let connection = self.connection.get()?.upgrade()?;
        let mut number = None;
        connection.pass(frame, || number = Some(self.say()));
        number
    }

    /// Has the memory brought near that [`Self::pass`] works with. Whoever passes a frame to many does this
    /// for a handful first, and waits for all of them once.
    pub(crate) fn bring_near(&self) {
        let connections = self.connection.get().map_or(0, Weak::strong_count);
        black_box((self.taken.load(Ordering::Relaxed), connections));
    }

    /// Whether the network has the event of this number.
    pub(crate) fn has_taken(&self, number: u64) -> bool {
        self.taken.load(Ordering::Acquire) >= number
    }

    /// Has the region called as soon as the network takes something.
    pub(crate) fn call(&self, region: Region) {
        self.waiting.fetch_or(bit(region), Ordering::AcqRel);
    }

    /// The network took so many events more.
    pub(crate) fn took(&self, events: u64) {
        self.taken.fetch_add(events, Ordering::AcqRel);
        let waiting = self.waiting.swap(0, Ordering::AcqRel);
        if waiting == 0 {
            return;
        }
        let Some(sid) = self.sid.get() else { return };
        for region in Region::ALL.into_iter().filter(|region| waiting & bit(*region) != 0) {
            // The region's task ends only with the process.
            let _ = self.callers.0[region as usize].send(*sid);
        }
    }

    /// The websocket that now carries it.
    pub(crate) fn carried_by(self: &Arc<Self>, connection: &Weak<Connection>) {
        let Some(carrier) = connection.upgrade() else { return };
        if carrier.carries(self) && self.connection.set(connection.clone()).is_ok() && self.is_cut() {
            carrier.cut();
        }
    }

    /// Ends the socket, even one that takes nothing any more.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        if let Some(connection) = self.connection.get().and_then(Weak::upgrade) {
            connection.cut();
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("sid", &self.sid.get()).finish_non_exhaustive()
    }
}

fn bit(region: Region) -> u8 {
    1 << region as u8
}
