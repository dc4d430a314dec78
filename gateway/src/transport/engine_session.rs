//! Sessions of Engine.IO. A session is known from its handshake on, so that nothing it is sent goes uncounted, whatever
//! it does first; how many there may be that nobody has signed in to is limited.

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

use super::{
    connection::{DeliveryTracker, STRANGER_BYTES, WritableQueues},
    connection_slots::one_less,
};
use crate::GatewaySettings;

/// All sessions. Those that began by long polling are found by their id: later requests name nothing else.
#[derive(Clone, Debug)]
pub(super) struct EngineSessions {
    writable_queues: WritableQueues,
    polled: Polled,
    /// Bytes of what a client may post.
    max_body: usize,
    strangers: Arc<Strangers>,
}

/// Counts the sessions that nobody has signed in to: each costs memory, and anybody can begin one.
#[derive(Debug)]
struct Strangers {
    most: usize,
    most_per_network: usize,
    now: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// The place of one of them.
#[derive(Debug)]
struct Stranger {
    strangers: Arc<Strangers>,
    network: IpAddr,
}

impl Strangers {
    fn let_in(self: &Arc<Self>, network: IpAddr) -> Option<Stranger> {
        let mut now = lock(&self.now);
        let of_network = now.by_network.get(&network).copied().unwrap_or(0);
        if now.all >= self.most || of_network >= self.most_per_network {
            return None;
        }
        now.all += 1;
        now.by_network.insert(network, of_network + 1);
        Some(Stranger { strangers: self.clone(), network })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut now = lock(&self.strangers.now);
        now.all -= 1;
        one_less(&mut now.by_network, &self.network);
    }
}

type Polled = Arc<Mutex<HashMap<Sid, Weak<EngineSession>>>>;

/// What a session's first request keeps alive, for as long as Engine.IO has the session.
#[derive(Debug)]
pub(crate) struct EngineSession {
    pub(crate) tracker: Arc<DeliveryTracker>,
    sid: OnceLock<Sid>,
    polled: Polled,
    /// The `t` of the poll that was answered last. Clients choose another one for each poll.
    last_poll: Mutex<Option<Box<str>>>,
    posting: AtomicBool,
    /// Until somebody has signed in.
    stranger: Mutex<Option<Stranger>>,
}

/// A POST of a session that is not answered yet.
pub(super) struct Posting(Arc<EngineSession>);

impl Drop for Posting {
    fn drop(&mut self) {
        self.0.posting.store(false, Ordering::Release);
    }
}

impl EngineSessions {
    pub(super) fn new(writable_queues: WritableQueues, settings: &GatewaySettings) -> Self {
        let strangers = Arc::new(Strangers {
            most: settings.max_strangers,
            most_per_network: settings.max_strangers_per_address,
            now: Mutex::default(),
        });
        Self { writable_queues, polled: Arc::default(), max_body: settings.max_payload as usize, strangers }
    }

    /// Bytes of what a client may post that has signed in.
    pub(super) fn max_body(&self) -> usize {
        self.max_body
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

    /// How much its client may post.
    pub(super) fn max_body_of(&self, session: &EngineSession) -> usize {
        match session.tracker.is_strange() {
            true => self.max_body.min(STRANGER_BYTES),
            false => self.max_body,
        }
    }

    /// One that is not over.
    pub(super) fn find(&self, sid: Sid) -> Option<Arc<EngineSession>> {
        lock(&self.polled).get(&sid).and_then(Weak::upgrade).filter(|session| !session.tracker.is_cut())
    }
}

impl EngineSession {
    /// Somebody has signed in.
    pub(crate) fn is_known(&self) {
        drop(lock(&self.stranger).take());
        self.tracker.is_known();
    }

    /// Its handshake was answered with this id.
    pub(super) fn is_named(self: &Arc<Self>, sid: Sid) {
        self.tracker.is_of(sid);
        if self.sid.set(sid).is_ok() {
            lock(&self.polled).insert(sid, Arc::downgrade(self));
        }
    }

    /// Whether a poll repeats the one that was answered last, by its `t`: its client, or a proxy before it, never got
    /// that answer, and nothing can say what was in it.
    pub(super) fn repeats(&self, poll: Option<&str>) -> bool {
        poll.is_some() && poll == lock(&self.last_poll).as_deref()
    }

    /// Begins a POST, unless there is one.
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
