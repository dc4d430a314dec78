//! Engine.IO sessions. Each has its delivery tracker from the handshake on, so that every event is counted. The number
//! of strangers, which are sessions that have not signed in, is limited.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use accounts::network;
use socketioxide::socket::Sid;
use tokio_util::sync::CancellationToken;

use super::{
    connection::{DeliveryTracker, STRANGER_BYTES, WritableQueues},
    connection_slots::one_less,
};
use crate::{GatewaySettings, settings::Compression};

/// All sessions. Those that began by long polling can be looked up by id, which is all that later requests name.
#[derive(Clone, Debug)]
pub(super) struct EngineSessions {
    writable_queues: WritableQueues,
    polled: Polled,
    /// The most bytes in a POST of a client that has signed in.
    max_body: usize,
    /// Whether clients that ask for compression get it.
    compress: bool,
    strangers: Arc<Strangers>,
    /// Cancelled when clients are sent away, and no new ones are taken.
    departing: CancellationToken,
}

/// Counts the sessions that have not signed in: each costs memory, and anybody can begin one.
#[derive(Debug)]
struct Strangers {
    most: usize,
    most_per_network: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// A session's slot among the strangers. Dropping it frees the slot.
#[derive(Debug)]
struct Stranger {
    strangers: Arc<Strangers>,
    network: IpAddr,
}

impl Strangers {
    fn let_in(self: &Arc<Self>, network: IpAddr) -> Option<Stranger> {
        let mut counts = lock(&self.counts);
        let of_network = counts.by_network.get(&network).copied().unwrap_or(0);
        if counts.all >= self.most || of_network >= self.most_per_network {
            return None;
        }
        counts.all += 1;
        counts.by_network.insert(network, of_network + 1);
        Some(Stranger { strangers: self.clone(), network })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counts = lock(&self.strangers.counts);
        counts.all -= 1;
        one_less(&mut counts.by_network, &self.network);
    }
}

type Polled = Arc<Mutex<HashMap<Sid, Weak<EngineSession>>>>;

/// An Engine.IO session. Its first request's extensions own it, so it lives as long as Engine.IO's session.
#[derive(Debug)]
pub(crate) struct EngineSession {
    pub(crate) tracker: Arc<DeliveryTracker>,
    sid: OnceLock<Sid>,
    polled: Polled,
    /// The `t` of the poll that was answered last. Clients use a different one for each poll.
    last_poll: Mutex<Option<Box<str>>>,
    posting: AtomicBool,
    /// Empty once the client has signed in.
    stranger: Mutex<Option<Stranger>>,
}

/// A POST that is not answered yet.
pub(super) struct Posting(Arc<EngineSession>);

impl Drop for Posting {
    fn drop(&mut self) {
        self.0.posting.store(false, Ordering::Release);
    }
}

impl EngineSessions {
    pub(super) fn new(
        writable_queues: WritableQueues,
        settings: &GatewaySettings,
        departing: CancellationToken,
    ) -> Self {
        let strangers = Arc::new(Strangers {
            most: settings.max_strangers,
            most_per_network: settings.max_strangers_per_address,
            counts: Mutex::default(),
        });
        Self {
            writable_queues,
            polled: Arc::default(),
            max_body: settings.max_payload as usize,
            compress: settings.compression == Compression::On,
            strangers,
            departing,
        }
    }

    /// Whether clients are sent away, and no new ones are taken.
    pub(super) fn are_departing(&self) -> bool {
        self.departing.is_cancelled()
    }

    /// The most bytes in a POST of a client that has signed in.
    pub(super) fn max_body(&self) -> usize {
        self.max_body
    }

    /// Whether clients that ask for compression get it.
    pub(super) fn compress(&self) -> bool {
        self.compress
    }

    pub(super) fn begin(&self, address: IpAddr) -> Option<Arc<EngineSession>> {
        let stranger = self.strangers.let_in(network(address))?;
        Some(Arc::new(EngineSession {
            stranger: Mutex::new(Some(stranger)),
            tracker: Arc::new(DeliveryTracker::new(self.writable_queues.clone())),
            sid: OnceLock::new(),
            polled: self.polled.clone(),
            last_poll: Mutex::default(),
            posting: AtomicBool::new(false),
        }))
    }

    /// The most bytes in a POST of this session.
    pub(super) fn max_body_of(&self, session: &EngineSession) -> usize {
        match session.tracker.is_strange() {
            true => self.max_body.min(STRANGER_BYTES),
            false => self.max_body,
        }
    }

    /// Finds a session that was not cut.
    pub(super) fn find(&self, sid: Sid) -> Option<Arc<EngineSession>> {
        lock(&self.polled).get(&sid).and_then(Weak::upgrade).filter(|session| !session.tracker.is_cut())
    }
}

impl EngineSession {
    /// Notes that the client has signed in, so that the session is no stranger any more.
    pub(crate) fn is_known(&self) {
        drop(lock(&self.stranger).take());
        self.tracker.is_known();
    }

    /// Notes the id with which Engine.IO answered the handshake.
    pub(super) fn is_named(self: &Arc<Self>, sid: Sid) {
        self.tracker.is_of(sid);
        if self.sid.set(sid).is_ok() {
            lock(&self.polled).insert(sid, Arc::downgrade(self));
        }
    }

    /// Whether a poll has the `t` of the one that was answered last. If so, that response was lost before it reached
    /// the client, and its events can't be sent again.
    pub(super) fn repeats(&self, poll: Option<&str>) -> bool {
        poll.is_some() && poll == lock(&self.last_poll).as_deref()
    }

    /// Begins a POST. Returns `None` if another one is not answered yet.
    pub(super) fn posts(self: &Arc<Self>) -> Option<Posting> {
        (!self.posting.swap(true, Ordering::AcqRel)).then(|| Posting(self.clone()))
    }

    pub(super) fn answers(&self, poll: Option<Box<str>>) {
        *lock(&self.last_poll) = poll;
    }
}

impl Drop for EngineSession {
    fn drop(&mut self) {
        if let Some(sid) = self.sid.get() {
            lock(&self.polled).remove(sid);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}
