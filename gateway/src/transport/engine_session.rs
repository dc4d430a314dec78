//! Engine.IO sessions. Each has its delivery tracker from the handshake on, so that every event is counted. The number
//! of strangers, which are sessions that have not signed in, is limited. A client that polls is pinged, and its session
//! ends when it doesn't answer.

use std::{
    collections::HashMap,
    mem,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use accounts::network;
use axum::body::Body;
use futures::task::AtomicWaker;
use http::{Extensions, Request, Response, StatusCode};
use socketioxide::socket::Sid;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    connection::{DeliveryTracker, STRANGER_BYTES, WritableQueues},
    connection_slots::one_less,
    engine::{CLOSE, Engine, Handshake, NOOP, OpenPacket, PING, Terms, answered, body_of},
    heartbeat::{Beat, Heartbeat},
    peer::Peer,
};
use crate::{GatewaySettings, settings::Compression};

/// All sessions. Those that began by long polling can be looked up by id, which is all that later requests name.
#[derive(Debug)]
pub(super) struct EngineSessions {
    pub(super) engine: Engine,
    pub(super) terms: Terms,
    writable_queues: WritableQueues,
    polled: Polled,
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

/// A session. Its first request's extensions own it, so it lives as long as Engine.IO's session.
#[derive(Debug)]
pub(crate) struct EngineSession {
    pub(crate) tracker: Arc<DeliveryTracker>,
    /// Only if it began by polling.
    polling: Option<Box<Polling>>,
    /// Empty once the client has signed in.
    stranger: Mutex<Option<Stranger>>,
}

/// What is known about a client that polls.
#[derive(Debug)]
struct Polling {
    polled: Polled,
    posting: AtomicBool,
    state: Mutex<PollingState>,
    /// Wakes a poll that waits, if it is to be answered before there is anything for the client.
    interrupt: Notify,
    /// Wakes the websocket that takes over, when the last poll is over.
    released: AtomicWaker,
}

#[derive(Debug)]
struct PollingState {
    /// How many polls are not answered yet: one, or one too many.
    waiting: usize,
    /// The `t` of the poll that was answered last. Clients use a different one for each poll.
    last_poll: Option<Box<str>>,
    heartbeat: Heartbeat,
    /// Whether the next poll is answered with a ping.
    ping_is_due: bool,
    /// Whether there is a websocket that may take over.
    has_websocket: bool,
    /// With what each poll is answered at once, when the client is to stop polling.
    released_with: Option<&'static str>,
    /// Whether a websocket has taken over.
    has_upgraded: bool,
}

/// A POST that is not answered yet.
pub(super) struct Posting(Arc<EngineSession>);

impl Drop for Posting {
    fn drop(&mut self) {
        if let Some(polling) = &self.0.polling {
            polling.posting.store(false, Ordering::Release);
        }
    }
}

/// A poll that is not answered yet.
pub(super) struct WaitingPoll(Arc<EngineSession>);

impl Drop for WaitingPoll {
    fn drop(&mut self) {
        if let Some(polling) = &self.0.polling {
            lock(&polling.state).waiting -= 1;
            polling.released.wake();
        }
    }
}

impl EngineSessions {
    pub(super) fn new(
        engine: Engine,
        writable_queues: WritableQueues,
        settings: &GatewaySettings,
        departing: CancellationToken,
    ) -> Self {
        let strangers = Arc::new(Strangers {
            most: settings.max_strangers,
            most_per_network: settings.max_strangers_per_address,
            counts: Mutex::default(),
        });
        let terms = Terms { heartbeat: settings.heartbeat(), max_payload: settings.max_payload as usize };
        Self {
            engine,
            writable_queues,
            polled: Arc::default(),
            terms,
            compress: settings.compression == Compression::On,
            strangers,
            departing,
        }
    }

    /// Whether clients are sent away, and no new ones are taken.
    pub(super) fn are_departing(&self) -> bool {
        self.departing.is_cancelled()
    }

    /// Whether clients that ask for compression get it.
    pub(super) fn compress(&self) -> bool {
        self.compress
    }

    /// Begins a session, unless there are too many strangers.
    pub(super) fn begin(&self, address: IpAddr, polls: bool) -> Option<Arc<EngineSession>> {
        let stranger = self.strangers.let_in(network(address))?;
        let polling = || Polling {
            polled: self.polled.clone(),
            posting: AtomicBool::new(false),
            state: Mutex::new(PollingState {
                waiting: 0,
                last_poll: None,
                heartbeat: Heartbeat::begin(self.terms.heartbeat, Instant::now()),
                ping_is_due: false,
                has_websocket: false,
                released_with: None,
                has_upgraded: false,
            }),
            interrupt: Notify::new(),
            released: AtomicWaker::new(),
        };
        Some(Arc::new(EngineSession {
            tracker: Arc::new(DeliveryTracker::new(self.writable_queues.clone())),
            polling: polls.then(|| Box::new(polling())),
            stranger: Mutex::new(Some(stranger)),
        }))
    }

    pub(super) fn handshake<R>(&self, session: &Arc<EngineSession>, request: &Request<R>) -> Handshake {
        let mut extensions = Extensions::new();
        extensions.insert(Peer::of(request.extensions()).clone());
        extensions.insert(session.clone());
        Handshake::new(request.uri(), request.headers(), extensions)
    }

    /// Opens a session. Returns its first packet, or Engine.IO's refusal.
    pub(super) async fn open(
        &self,
        session: &Arc<EngineSession>,
        handshake: Handshake,
    ) -> Result<OpenPacket, Response<Body>> {
        let upgrades: &[&str] = if session.polling.is_some() { &["websocket"] } else { &[] };
        let answer = answered(self.engine.open(handshake)).await;
        if answer.status() != StatusCode::OK {
            return Err(answer);
        }
        let open = body_of(answer).and_then(|packet| OpenPacket::of(&packet, self.terms, upgrades));
        let open = open.expect("Engine.IO opens a session with its id");
        session.is_named(open.sid);
        Ok(open)
    }

    /// The most bytes in a POST of this session.
    pub(super) fn max_body_of(&self, session: &EngineSession) -> usize {
        match session.tracker.is_strange() {
            true => self.terms.max_payload.min(STRANGER_BYTES),
            false => self.terms.max_payload,
        }
    }

    /// Finds a session that began by polling and was not cut.
    pub(super) fn find(&self, sid: Sid) -> Option<Arc<EngineSession>> {
        // Dropping a session locks the map again.
        let found = lock(&self.polled).get(&sid).and_then(Weak::upgrade);
        found.filter(|session| !session.tracker.is_cut())
    }

    /// Pings a session's client while it polls, and ends the session when it was cut or its client is lost.
    pub(super) fn watch(&self, session: &Arc<EngineSession>) {
        let (engine, tracker, session) = (self.engine.clone(), session.tracker.clone(), Arc::downgrade(session));
        tokio::spawn(async move {
            loop {
                let Some(due_at) = session.upgrade().and_then(|session| session.polls_until()) else { return };
                tokio::select! {
                    () = tracker.until_cut() => break,
                    () = tokio::time::sleep_until(due_at) => {}
                }
                if let Some(session) = session.upgrade()
                    && session.beat() == Some(Beat::Lost)
                {
                    session.releases_polls(CLOSE);
                    break;
                }
            }
            tracker.cut();
            if let Some(sid) = tracker.sid() {
                engine.close(sid);
            }
        });
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
        if let Some(polling) = &self.polling {
            lock(&polling.polled).insert(sid, Arc::downgrade(self));
        }
    }

    /// Whether a poll has the `t` of the one that was answered last. If so, that response was lost before it reached
    /// the client, and its events can't be sent again.
    pub(super) fn repeats(&self, poll: Option<&str>) -> bool {
        poll.is_some() && self.state().is_some_and(|state| poll == state.last_poll.as_deref())
    }

    /// Notes that a poll with this `t` is answered.
    pub(super) fn answers(&self, poll: Option<Box<str>>) {
        if let Some(mut state) = self.state() {
            state.last_poll = poll;
        }
    }

    /// Begins a POST. Returns `None` if another one is not answered yet.
    pub(super) fn posts(self: &Arc<Self>) -> Option<Posting> {
        let polling = self.polling.as_ref()?;
        (!polling.posting.swap(true, Ordering::AcqRel)).then(|| Posting(self.clone()))
    }

    /// Begins a poll.
    pub(super) fn polls(self: &Arc<Self>) -> Option<WaitingPoll> {
        self.state()?.waiting += 1;
        Some(WaitingPoll(self.clone()))
    }

    /// Waits until no poll of the client is under way.
    pub(super) fn poll_released(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(polling) = &self.polling else { return Poll::Ready(()) };
        polling.released.register(cx.waker());
        match lock(&polling.state).waiting {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }

    /// Waits until a poll is to be answered before there is anything for the client. Returns with what.
    pub(super) async fn interrupted(&self) -> &'static str {
        let Some(polling) = &self.polling else { return std::future::pending().await };
        loop {
            let mut interrupt = std::pin::pin!(polling.interrupt.notified());
            // Register before looking, so that nothing in between is missed.
            interrupt.as_mut().enable();
            {
                let mut state = lock(&polling.state);
                if let Some(packet) = state.released_with {
                    return packet;
                }
                if mem::take(&mut state.ping_is_due) {
                    return PING;
                }
            }
            interrupt.await;
        }
    }

    pub(super) fn pong(&self) {
        if let Some(mut state) = self.state() {
            state.heartbeat.pong();
        }
    }

    /// Has polls answered with this packet at once: the client is to stop polling.
    pub(super) fn releases_polls(&self, packet: &'static str) {
        let Some(polling) = &self.polling else { return };
        lock(&polling.state).released_with = Some(packet);
        polling.interrupt.notify_waiters();
    }

    /// Takes the place for the one websocket that may take over. Returns false if it is taken.
    pub(super) fn takes_websocket(&self) -> bool {
        self.state().is_some_and(|mut state| !mem::replace(&mut state.has_websocket, true))
    }

    /// Notes that the websocket has not taken over: the client goes on polling, and may try another one.
    pub(super) fn goes_on_polling(&self) {
        if let Some(mut state) = self.state() {
            (state.has_websocket, state.released_with) = (false, None);
        }
    }

    /// Notes that a websocket has taken over.
    pub(super) fn is_upgraded(&self) {
        if let Some(mut state) = self.state() {
            state.has_upgraded = true;
        }
        self.releases_polls(NOOP);
    }

    pub(super) fn has_upgraded(&self) -> bool {
        self.state().is_none_or(|state| state.has_upgraded)
    }

    /// When the client is pinged or lost. `None` if it doesn't poll any more.
    fn polls_until(&self) -> Option<Instant> {
        self.state().filter(|state| !state.has_upgraded).map(|state| state.heartbeat.due_at())
    }

    fn beat(&self) -> Option<Beat> {
        let polling = self.polling.as_ref()?;
        let mut state = lock(&polling.state);
        if state.has_upgraded {
            return None;
        }
        let beat = state.heartbeat.beat(Instant::now());
        if beat == Some(Beat::Ping) {
            state.ping_is_due = true;
            polling.interrupt.notify_waiters();
        }
        beat
    }

    fn state(&self) -> Option<MutexGuard<'_, PollingState>> {
        self.polling.as_ref().map(|polling| lock(&polling.state))
    }
}

impl Drop for EngineSession {
    fn drop(&mut self) {
        if let Some((sid, polling)) = self.tracker.sid().zip(self.polling.as_ref()) {
            lock(&polling.polled).remove(&sid);
        }
        // Ends the task that watches it.
        self.tracker.cut();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}
