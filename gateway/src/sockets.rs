//! Socket.IO: who connects, and what they ask.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    future::{Ready, ready},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use accounts::{Accounts, AccountsError, Allowance, Changed, Identity, StoreError, User, UserId, network};
use kafka::{ControlMessage, ControlReader, ControlWriter};
use odds::{BadHello, Cursor, Filter, Hello, Region, Subscriptions, read_regions};
use rand::{RngExt, seq::SliceRandom};
use serde::Serialize;
use serde_json::{Value, json};
use socketioxide::{
    SocketIo,
    adapter::LocalAdapter,
    extract::{AckSender, Event, SocketRef, State, TryData},
    handler::{ConnectHandler, DisconnectHandler},
    socket::{DisconnectReason, Sid, Socket},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    client::{Bye, Client, ClientRequest, RETRY_AFTER_MS, Subscription},
    filters::{Filters, HeldFilter, TooManyFilters},
    listener::{Peer, one_less},
    metrics::Metrics,
    origin_policy::OriginPolicy,
    readiness::Readiness,
    region::{RegionHandle, Request},
    transport::Session,
};

/// After which clients come back that are sent away because the gateway stops.
const COME_BACK_WITHIN_MS: u64 = 5_000;
/// What a client may ask before it is answered.
const MAX_REQUESTS: usize = 64;
/// A user of whom so many were sent away at once for asking too much, and another one so often, is let in again only
/// later: what comes in between would cost as much.
pub(crate) const MOST_SENT_AWAY: u32 = 20;
pub(crate) const SENT_AWAY_EVERY: Duration = Duration::from_secs(60);
/// How many clients are compared with the store in one question.
const LOOKED_UP_AT_ONCE: usize = 500;
/// How often expired sessions are forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// What all sockets share.
pub(crate) struct AppState {
    pub(crate) regions: [RegionHandle; Region::ALL.len()],
    pub(crate) limits: Limits,
    pub(crate) filters: Arc<Filters>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    pub(crate) accounts: Accounts,
    pub(crate) origins: OriginPolicy,
    pub(crate) control: ControlWriter,
    pub(crate) clients: Mutex<Clients>,
    /// Of a user, how many were sent away for asking too much.
    pub(crate) sent_away: Allowance<UserId>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) per_address: usize,
    pub(crate) per_user: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    connected: HashMap<Sid, Arc<Client>>,
    of_user: HashMap<UserId, HashSet<Sid>>,
    /// Let in, connected or about to be.
    admitted: usize,
    by_address: HashMap<IpAddr, usize>,
    by_user: HashMap<UserId, usize>,
}

impl Clients {
    fn forget(&mut self, client: &Client) {
        self.connected.remove(&client.sid());
        let user = client.identity.user();
        if let Some(sids) = self.of_user.get_mut(user) {
            sids.remove(&client.sid());
            if sids.is_empty() {
                self.of_user.remove(user);
            }
        }
    }
}

/// A client's place, from admission to the end of its socket.
struct ConnectionSlot {
    app: Arc<AppState>,
    address: IpAddr,
    user: Option<UserId>,
}

/// Between being let in and being connected.
#[derive(Clone)]
struct Admitted {
    hello: Hello,
    identity: Identity,
    filter: Arc<HeldFilter>,
    _slot: Arc<ConnectionSlot>,
}

/// Why a client is not let in: `<code>: <text>`.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("bad_auth: {0}")]
    BadAuth(#[from] BadHello),
    #[error("unauthenticated: sign in, or give a valid token")]
    Unauthenticated,
    #[error("forbidden_origin: a session is good only on our own page; elsewhere, use a token")]
    ForbiddenOrigin,
    #[error("too_many_attempts: wait before you try again")]
    TooManyAttempts,
    #[error("store_unavailable: nobody can be let in just now; connect again in a moment")]
    StoreUnavailable,
    #[error("too_many_connections: {0}")]
    TooManyConnections(&'static str),
    #[error("too_many_filters: {0}")]
    TooManyFilters(#[from] TooManyFilters),
    #[error("stopping: this gateway is about to stop; connect again in a moment")]
    Stopping,
}

/// What an event is answered with if it can't be done.
#[derive(Debug, Serialize)]
struct Failure {
    code: &'static str,
    message: String,
}

impl AppState {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().expect("nobody panics while holding it")
    }

    fn region(&self, region: Region) -> &RegionHandle {
        &self.regions[region as usize]
    }

    fn slot(self: &Arc<Self>, address: IpAddr) -> Result<ConnectionSlot, Refusal> {
        let address = network(address);
        let mut clients = self.clients();
        if clients.admitted >= self.limits.connections {
            return Err(Refusal::TooManyConnections("this gateway is full"));
        }
        let same = clients.by_address.entry(address).or_default();
        if *same >= self.limits.per_address {
            return Err(Refusal::TooManyConnections("too many from this address"));
        }
        *same += 1;
        clients.admitted += 1;
        Ok(ConnectionSlot { app: self.clone(), address, user: None })
    }

    /// Sends everybody away, over so much time, in a way that makes them come back elsewhere.
    pub(crate) async fn close(&self, over: Duration) {
        let mut clients: Vec<Arc<Client>> = self.clients().connected.values().cloned().collect();
        if clients.is_empty() {
            return;
        }
        info!(clients = clients.len(), "sending clients away");
        clients.shuffle(&mut rand::rng());
        for client in &clients {
            let retry_after_ms = Some(rand::rng().random_range(0..COME_BACK_WITHIN_MS));
            client.send_bye(&Bye { code: "stopping", message: "this gateway stops", retry_after_ms });
        }
        let pause = over / clients.len() as u32;
        let mut late = Vec::new();
        for client in clients {
            // Ending the transport, not the socket, makes the official clients connect again.
            match client.tracker.has_taken_all() {
                true => client.tracker.cut(),
                false => late.push(client),
            }
            tokio::time::sleep(pause).await;
        }
        futures::future::join_all(late.iter().map(|client| client.cut_when_sent())).await;
    }

    /// Makes these the client's regions, and tells it.
    async fn set_regions(&self, client: &Arc<Client>, subscription: &mut Subscription, regions: BTreeSet<Region>) {
        let before = std::mem::replace(&mut subscription.regions, regions);
        for region in before.difference(&subscription.regions) {
            self.region(*region).leave(client.sid()).await;
        }
        send_regions(client, subscription);
        let new: Vec<Region> = subscription.regions.difference(&before).copied().collect();
        for region in new {
            self.join(client, subscription, region, None).await;
        }
    }

    async fn join(&self, client: &Arc<Client>, subscription: &Subscription, region: Region, from: Option<Cursor>) {
        let (client, filter) = (client.clone(), subscription.filter.shared());
        self.region(region).ask(Request::Join { client, filter, from }).await;
    }
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl ConnectionSlot {
    /// It is known now whose it is.
    fn is_of(&mut self, user: &UserId) -> Result<(), Refusal> {
        if self.app.sent_away.is_spent(user, Instant::now()) {
            return Err(Refusal::TooManyAttempts);
        }
        let mut clients = self.app.clients();
        let same = clients.by_user.entry(user.clone()).or_default();
        if *same >= self.app.limits.per_user {
            return Err(Refusal::TooManyConnections("too many of this user"));
        }
        *same += 1;
        self.user = Some(user.clone());
        Ok(())
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut clients = self.app.clients();
        clients.admitted -= 1;
        one_less(&mut clients.by_address, &self.address);
        if let Some(user) = &self.user {
            one_less(&mut clients.by_user, user);
        }
    }
}

pub(crate) fn serve(io: &SocketIo) {
    io.ns("/", connected.with(admit));
}

async fn admit(
    socket: SocketRef,
    State(app): State<Arc<AppState>>,
    TryData(auth): TryData<Option<Value>>,
) -> Result<(), Refusal> {
    let admitted = match auth {
        Ok(auth) => admitted(&socket, &app, &auth.unwrap_or_default()).await,
        Err(_) => Err(Refusal::BadAuth(BadHello::not_json())),
    };
    if let Err(refusal) = &admitted {
        app.metrics.refused.inc();
        debug!(socket = %socket.id, %refusal, "a client is turned away");
    }
    socket.extensions.insert(admitted?);
    Ok(())
}

async fn admitted(socket: &SocketRef, app: &Arc<AppState>, auth: &Value) -> Result<Admitted, Refusal> {
    if app.readiness.is_stopping() {
        return Err(Refusal::Stopping);
    }
    let parts = socket.req_parts();
    let peer = parts.extensions.get::<Peer>().expect("the listener says who it is");
    let mut slot = app.slot(peer.address)?;
    let hello = Hello::read(auth)?;
    let identity = match &hello.token {
        Some(token) => app.accounts.by_token(token, peer.address).await?.0,
        None => {
            let key = app.origins.session_of(&parts.headers).ok_or(Refusal::Unauthenticated)?;
            if !app.origins.is_ours(&parts.headers) {
                return Err(Refusal::ForbiddenOrigin);
            }
            app.accounts.by_session(&key).await?.0
        }
    };
    slot.is_of(identity.user())?;
    let filter = Arc::new(app.filters.hold(identity.user(), hello.filter.clone(), None)?);
    Ok(Admitted { hello, identity, filter, _slot: Arc::new(slot) })
}

impl From<AccountsError> for Refusal {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::TooManyAttempts { .. } => Self::TooManyAttempts,
            AccountsError::Store(error) => {
                warn!(%error, "a client can't be let in");
                Self::StoreUnavailable
            }
            _ => Self::Unauthenticated,
        }
    }
}

/// The handlers' futures run whenever they like, so handlers note at once what is to be done, in the
/// order in which it came, and leave nothing to their futures.
#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn connected(socket: SocketRef, State(app): State<Arc<AppState>>) -> Ready<()> {
    let Some(Admitted { hello, identity, filter, _slot }) = socket.extensions.remove::<Admitted>() else {
        return ready(());
    };
    socket.extensions.insert(_slot);
    let parts = socket.req_parts();
    let peer = parts.extensions.get::<Peer>().expect("the listener says who it is");
    let session = parts.extensions.get::<Arc<Session>>().expect("every session has one");
    session.is_known();
    let tracker = session.tracker.clone();
    tracker.is_of(socket.id);
    let client = Arc::new(Client {
        socket: socket.clone(),
        tracker,
        address: peer.address,
        identity,
        revision: AtomicU64::new(0),
        gap: hello.gap,
        requests: Mutex::default(),
        subscription: tokio::sync::Mutex::new(Subscription {
            over: false,
            own: false,
            regions: BTreeSet::new(),
            filter,
        }),
    });
    let user = client.identity.user();
    debug!(socket = %socket.id, address = %client.address, %user, "a client connected");
    {
        // From here on it hears of changes; what it is to show is read afterwards.
        let mut clients = app.clients();
        clients.of_user.entry(user.clone()).or_default().insert(socket.id);
        clients.connected.insert(socket.id, client.clone());
    }
    app.metrics.connections.inc();
    socket.extensions.insert(client.clone());
    socket.on_disconnect(Disconnected(app.clone()));
    socket.on("subscribe", subscribe);
    socket.on("filter", refilter);
    socket.on("resync", resync);
    socket.on_fallback(unknown_event);
    app.enqueue(&client, ClientRequest::Begin { own: hello.regions, resume: hello.resume });
    ready(())
}

/// What is done when a connection is over.
struct Disconnected(Arc<AppState>);

/// Not a function: a function's future ends later, and until then what the client sends next would be taken as
/// that of the connection that is over. A CONNECT would be ignored.
impl DisconnectHandler<LocalAdapter, Self> for Disconnected {
    fn call_with_defer(&self, socket: Arc<Socket>, _: DisconnectReason, remove: fn(Arc<Socket>)) {
        let Self(app) = self;
        socket.extensions.remove::<Arc<ConnectionSlot>>();
        if let Some(client) = socket.extensions.remove::<Arc<Client>>() {
            debug!(socket = %socket.id, address = %client.address, "a client is gone");
            app.clients().forget(&client);
            app.metrics.connections.dec();
            app.enqueue(&client, ClientRequest::End);
        }
        remove(socket);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn subscribe(
    socket: SocketRef,
    State(app): State<Arc<AppState>>,
    TryData(data): TryData<Value>,
    ack: AckSender,
) -> Ready<()> {
    app.asked(&socket, ClientRequest::Subscribe { data: data.unwrap_or_default(), ack });
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn refilter(
    socket: SocketRef,
    State(app): State<Arc<AppState>>,
    TryData(data): TryData<Value>,
    ack: AckSender,
) -> Ready<()> {
    app.asked(&socket, ClientRequest::Filter { data: data.unwrap_or_default(), ack });
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn resync(
    socket: SocketRef,
    State(app): State<Arc<AppState>>,
    TryData(data): TryData<Value>,
    ack: AckSender,
) -> Ready<()> {
    app.asked(&socket, ClientRequest::Resync { data: data.unwrap_or_default(), ack });
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn unknown_event(socket: SocketRef, State(app): State<Arc<AppState>>, Event(name): Event, ack: AckSender) -> Ready<()> {
    if let Some(client) = socket.extensions.get::<Arc<Client>>() {
        let name: String = name.chars().take(64).collect();
        app.answer(
            &client,
            ack,
            Err(Failure { code: "unknown_event", message: format!("there is no event {name:?}") }),
        );
    }
    ready(())
}

/// With the revision of the account that they are of, unless they are the client's own.
fn send_regions(client: &Client, subscription: &Subscription) {
    let revision = (!subscription.own).then(|| client.revision.load(Ordering::Acquire));
    client.send_in_order("subscriptions", &Subscriptions::new(revision, &subscription.regions));
}

impl From<AccountsError> for Failure {
    fn from(error: AccountsError) -> Self {
        let code = match &error {
            AccountsError::TooManyAttempts { .. } => "too_many_requests",
            AccountsError::Store(_) => "store_unavailable",
            _ => "unauthenticated",
        };
        Self { code, message: error.to_string() }
    }
}

impl AppState {
    fn asked(self: &Arc<Self>, socket: &SocketRef, enqueue: ClientRequest) {
        if let Some(client) = socket.extensions.get::<Arc<Client>>() {
            self.enqueue(&client, enqueue);
        }
    }

    /// Notes what is to be done for a client, after all that is noted already.
    fn enqueue(self: &Arc<Self>, client: &Arc<Client>, enqueue: ClientRequest) {
        {
            let mut requests = client.requests.lock().expect("nobody panics while holding it");
            let recheck = matches!(enqueue, ClientRequest::Recheck);
            if recheck && requests.queue.iter().any(|enqueue| matches!(enqueue, ClientRequest::Recheck)) {
                return;
            }
            if requests.closed && !matches!(enqueue, ClientRequest::End) {
                return;
            }
            if requests.queue.len() >= MAX_REQUESTS && !recheck && !matches!(enqueue, ClientRequest::End) {
                drop(requests);
                return self.sends_away(client);
            }
            requests.queue.push_back(enqueue);
            if std::mem::replace(&mut requests.is_processing, true) {
                return;
            }
        }
        tokio::spawn(self.clone().process_requests(client.clone()));
    }

    /// Answers, if the client wants to know. One that takes no answers and asks on is sent away.
    fn answer(&self, client: &Arc<Client>, ack: AckSender, done: Result<Value, Failure>) {
        let answer = done.unwrap_or_else(|failure| json!({ "error": failure }));
        if let Err(error) = ack.send(&answer) {
            debug!(socket = %client.sid(), %error, "an answer does not reach its client");
            self.sends_away(client);
        }
    }

    /// It asks too much.
    fn sends_away(&self, client: &Arc<Client>) {
        if client.end_for_too_many_requests() {
            // Who is not let in for now has none to be sent away.
            let _ = self.sent_away.take(client.identity.user().clone(), Instant::now());
        }
    }

    /// Carries out what is noted, one after the other.
    async fn process_requests(self: Arc<Self>, client: Arc<Client>) {
        let mut subscription = client.subscription.lock().await;
        loop {
            let enqueue = {
                let mut requests = client.requests.lock().expect("nobody panics while holding it");
                let Some(enqueue) = requests.queue.pop_front() else {
                    requests.is_processing = false;
                    // Most never ask again.
                    requests.queue.shrink_to_fit();
                    return;
                };
                enqueue
            };
            if subscription.over {
                continue;
            }
            match enqueue {
                ClientRequest::Begin { own, resume } => {
                    let user = match self.recheck_identity(&client, &mut subscription).await {
                        Ok(Some(user)) => user,
                        Ok(None) => continue,
                        Err(error) => {
                            warn!(%error, "a client's account can't be read");
                            let retry_after_ms = Some(RETRY_AFTER_MS);
                            let message = "accounts can't be read just now";
                            let bye = Bye { code: "store_unavailable", message, retry_after_ms };
                            self.send_away(&client, &mut subscription, &bye).await;
                            continue;
                        }
                    };
                    client.revision.store(user.revision, Ordering::Release);
                    subscription.own = own.is_some();
                    subscription.regions = own.unwrap_or(user.regions);
                    send_regions(&client, &subscription);
                    for region in &subscription.regions {
                        self.join(&client, &subscription, *region, resume.get(region).copied()).await;
                    }
                }
                ClientRequest::Recheck => match self.recheck_identity(&client, &mut subscription).await {
                    Ok(Some(user)) => self.follow(&client, &mut subscription, user).await,
                    Ok(None) => {}
                    // It goes on with what it has; whatever changed is found when the store is back.
                    Err(error) => debug!(%error, "an account can't be read again"),
                },
                ClientRequest::Subscribe { data, ack } => {
                    let done = self.subscribe_request(&client, &mut subscription, &data).await;
                    self.answer(&client, ack, done);
                }
                ClientRequest::Filter { data, ack } => self.filters(&client, &mut subscription, &data, ack).await,
                ClientRequest::Resync { data, ack } => self.resyncs(&client, &subscription, &data, ack).await,
                ClientRequest::End => self.leave_all(&client, &mut subscription).await,
            }
        }
    }

    /// The client's user, if who it proved to be still is. If not, it is sent away.
    async fn recheck_identity(
        &self,
        client: &Arc<Client>,
        subscription: &mut Subscription,
    ) -> Result<Option<User>, StoreError> {
        let user = self.accounts.standing(&client.identity).await?;
        if user.is_none() {
            let bye = Bye { code: "signed_out", message: "the session or token is over", retry_after_ms: None };
            self.send_away(client, subscription, &bye).await;
        }
        Ok(user)
    }

    async fn send_away(&self, client: &Arc<Client>, subscription: &mut Subscription, bye: &Bye) {
        subscription.over = true;
        self.leave_all(client, subscription).await;
        client.end(*bye);
    }

    async fn leave_all(&self, client: &Client, subscription: &mut Subscription) {
        for region in std::mem::take(&mut subscription.regions) {
            self.region(region).leave(client.sid()).await;
        }
    }

    /// Brings a client to what its account says, unless it is further already.
    async fn follow(&self, client: &Arc<Client>, subscription: &mut Subscription, user: User) {
        if client.revision.fetch_max(user.revision, Ordering::AcqRel) >= user.revision {
            return;
        }
        if !subscription.own && subscription.regions != user.regions {
            self.set_regions(client, subscription, user.regions).await;
        }
    }

    /// Something of an account is in the store that was not before: its clients here and at other
    /// gateways look again.
    pub(crate) fn account_changed(self: &Arc<Self>, changed: Changed) {
        self.recheck(&changed.user, changed.revision);
        let control = self.control.clone();
        tokio::spawn(async move {
            let message = ControlMessage::User { user: changed.user.as_str().to_owned(), revision: changed.revision };
            if let Err(error) = control.say(&message).await {
                warn!(%error, user = %changed.user, "other gateways were not told of a change; they will look it up");
            }
        });
    }

    /// The clients of this user look again, if they have not seen this revision.
    fn recheck(self: &Arc<Self>, user: &UserId, revision: u64) {
        let clients: Vec<Arc<Client>> = {
            let clients = self.clients();
            let sids = clients.of_user.get(user).into_iter().flatten();
            sids.filter_map(|sid| clients.connected.get(sid).cloned()).collect()
        };
        for client in clients {
            if client.revision.load(Ordering::Acquire) < revision {
                self.enqueue(&client, ClientRequest::Recheck);
            }
        }
    }

    /// Hears of changes at other gateways, and looks up every now and then what nobody told.
    pub(crate) async fn follow_accounts(
        self: Arc<Self>,
        control: ControlReader,
        every: Duration,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut look_up = tokio::time::interval(every);
        look_up.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = control.next() => {
                    if let ControlMessage::User { user, revision } = message {
                        self.recheck(&UserId::named(&user), revision);
                    }
                }
                _ = look_up.tick() => self.look_up().await,
                _ = sweep.tick() => match self.accounts.sweep().await {
                    Ok(swept) => debug!(swept, "expired sessions are forgotten"),
                    Err(error) => debug!(%error, "expired sessions can't be forgotten now"),
                },
            }
        }
    }

    /// Checks whether accounts can be stored, again and again: a full disk refuses writes and answers questions.
    pub(crate) async fn check_store(self: Arc<Self>, every: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        let mut check = tokio::time::interval(every);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = check.tick() => {}
            }
            let checked = self.accounts.check_writable().await;
            if let Err(error) = &checked {
                warn!(%error, "accounts can't be stored");
            }
            self.metrics.store_writable.set(checked.is_ok().into());
            self.readiness.stores(checked.is_ok());
        }
    }

    /// Compares all clients with the store.
    async fn look_up(self: &Arc<Self>) {
        let clients: Vec<Arc<Client>> = self.clients().connected.values().cloned().collect();
        for some in clients.chunks(LOOKED_UP_AT_ONCE) {
            let mut users: Vec<UserId> = some.iter().map(|client| client.identity.user().clone()).collect();
            users.sort_unstable();
            users.dedup();
            let (mut sessions, mut tokens) = (Vec::new(), Vec::new());
            for client in some {
                match &client.identity {
                    Identity::Session { key, .. } => sessions.push(key.clone()),
                    Identity::Token { token, .. } => tokens.push(token.clone()),
                }
            }
            let known = match self.accounts.known(&users, &sessions, &tokens).await {
                Ok(known) => known,
                Err(error) => return warn!(%error, "whether accounts changed can't be looked up"),
            };
            for client in some {
                let proof = match &client.identity {
                    Identity::Session { key, .. } => known.sessions.contains(key),
                    Identity::Token { token, .. } => known.tokens.contains(token),
                };
                let revision = known.revisions.get(client.identity.user());
                let is_newest = revision.is_some_and(|newest| *newest <= client.revision.load(Ordering::Acquire));
                if !(proof && is_newest) {
                    self.enqueue(client, ClientRequest::Recheck);
                }
            }
        }
    }

    async fn subscribe_request(
        self: &Arc<Self>,
        client: &Arc<Client>,
        subscription: &mut Subscription,
        data: &Value,
    ) -> Result<Value, Failure> {
        let invalid = |reason| Failure { code: "invalid_regions", message: format!("regions: {reason}") };
        let regions = read_regions(&data["regions"]).map_err(invalid)?;
        if subscription.own {
            self.set_regions(client, subscription, regions).await;
        } else {
            // Whose session or token was ended may not have been told yet.
            if self.recheck_identity(client, subscription).await.map_err(AccountsError::from)?.is_none() {
                return Err(AccountsError::Unauthenticated.into());
            }
            let user = self.accounts.set_regions(client.identity.user(), &regions).await?;
            let changed = Changed::from(&user);
            self.follow(client, subscription, user).await;
            self.account_changed(changed);
        }
        Ok(json!({ "ok": true, "regions": subscription.regions }))
    }

    async fn filters(&self, client: &Arc<Client>, subscription: &mut Subscription, data: &Value, ack: AckSender) {
        let invalid = |message| Failure { code: "invalid_filter", message };
        let filter = Filter::from_value(data).map_err(|error| invalid(error.to_string())).and_then(|filter| {
            let too_many = |error: TooManyFilters| Failure { code: "too_many_filters", message: error.to_string() };
            self.filters.hold(client.identity.user(), filter, Some(&subscription.filter)).map_err(too_many)
        });
        subscription.filter = match filter {
            Ok(filter) => Arc::new(filter),
            Err(failure) => return self.answer(client, ack, Err(failure)),
        };
        for region in &subscription.regions {
            self.region(*region).leave(client.sid()).await;
        }
        // First the answer, then what the new filter lets through.
        self.answer(client, ack, Ok(json!({ "ok": true })));
        for region in &subscription.regions {
            self.join(client, subscription, *region, None).await;
        }
    }

    async fn resyncs(&self, client: &Arc<Client>, subscription: &Subscription, data: &Value, ack: AckSender) {
        let region: Region = match data["region"].as_str().unwrap_or_default().parse() {
            Ok(region) => region,
            Err(error) => {
                let message = format!("region: {error}");
                return self.answer(client, ack, Err(Failure { code: "invalid_regions", message }));
            }
        };
        if !subscription.regions.contains(&region) {
            let message = format!("{region} is not subscribed");
            return self.answer(client, ack, Err(Failure { code: "not_subscribed", message }));
        }
        // A cursor that is none is answered with a snapshot.
        let from = data["cursor"].as_str().and_then(|cursor| cursor.parse().ok());
        self.answer(client, ack, Ok(json!({ "ok": true })));
        self.region(region).ask(Request::Resync { sid: client.sid(), from }).await;
    }
}
