//! Socket.IO: who connects, and what they ask.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    future::{Ready, ready},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use odds::{BadHello, Cursor, Filter, Hello, Region, Subscriptions, read_regions};
use rand::{RngExt, seq::SliceRandom};
use serde::Serialize;
use serde_json::{Value, json};
use socketioxide::{
    SocketIo,
    extract::{AckSender, SocketRef, State, TryData},
    handler::ConnectHandler,
    socket::Sid,
};
use tracing::{debug, info};

use crate::{
    client::{Bye, Client, Order, Wants},
    filters::{Filters, TooManyFilters},
    link::Link,
    listener::Peer,
    metrics::Metrics,
    readiness::Readiness,
    region::{RegionHandle, Request},
    transport::Transport,
};

/// After which clients come back that are sent away because the gateway stops.
const COME_BACK_WITHIN_MS: u64 = 5_000;
/// What a client may ask before it is answered.
const MAX_ORDERS: usize = 64;
/// When a client may come back that asked too much.
const RETRY_AFTER_MS: u64 = 5_000;
/// Between the farewell and the first cut.
const FAREWELL: Duration = Duration::from_millis(200);

/// What all sockets share.
pub(crate) struct Hub {
    pub(crate) regions: [RegionHandle; Region::ALL.len()],
    pub(crate) limits: Limits,
    pub(crate) filters: Filters,
    pub(crate) transport: Transport,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Metrics,
    /// Without any, everybody is let in.
    pub(crate) tokens: Vec<String>,
    pub(crate) clients: Mutex<Clients>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) per_address: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Clients {
    connected: HashMap<Sid, Arc<Client>>,
    /// Let in, connected or about to be.
    admitted: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A client's place, from admission to the end of its socket.
struct Place {
    hub: Arc<Hub>,
    address: IpAddr,
}

/// Between being let in and being connected.
#[derive(Clone)]
struct Admitted {
    hello: Hello,
    filter: Arc<Filter>,
    _place: Arc<Place>,
}

/// Why a client is not let in: `<code>: <text>`.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("bad_auth: {0}")]
    BadAuth(#[from] BadHello),
    #[error("unauthenticated: sign in, or give a valid token")]
    Unauthenticated,
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

impl Hub {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().expect("nobody panics while holding it")
    }

    fn region(&self, region: Region) -> &RegionHandle {
        &self.regions[region as usize]
    }

    fn place(self: &Arc<Self>, address: IpAddr) -> Result<Place, Refusal> {
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
        Ok(Place { hub: self.clone(), address })
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
            let bye = Bye { code: "stopping", message: "this gateway stops", retry_after_ms };
            client.tell("bye", &bye);
        }
        tokio::time::sleep(FAREWELL).await;
        let pause = over / clients.len() as u32;
        for client in clients {
            // Ending the transport, not the socket, makes the official clients connect again.
            client.link.cut();
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes these the client's regions, and tells it.
    async fn set_regions(&self, client: &Arc<Client>, wants: &mut Wants, regions: BTreeSet<Region>) {
        let before = std::mem::replace(&mut wants.regions, regions);
        for region in before.difference(&wants.regions) {
            self.region(*region).leave(client.sid()).await;
        }
        client.tell("subscriptions", &Subscriptions::new(&wants.regions));
        let new: Vec<Region> = wants.regions.difference(&before).copied().collect();
        for region in new {
            self.join(client, wants, region, None).await;
        }
    }

    async fn join(&self, client: &Arc<Client>, wants: &Wants, region: Region, from: Option<Cursor>) {
        let (client, filter) = (client.clone(), wants.filter.clone());
        self.region(region).ask(Request::Join { client, filter, from }).await;
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut clients = self.hub.clients();
        clients.admitted -= 1;
        if let Some(same) = clients.by_address.get_mut(&self.address) {
            *same -= 1;
            if *same == 0 {
                clients.by_address.remove(&self.address);
            }
        }
    }
}

pub(crate) fn serve(io: &SocketIo) {
    io.ns("/", connected.with(admit));
}

async fn admit(socket: SocketRef, State(hub): State<Arc<Hub>>, TryData(auth): TryData<Value>) -> Result<(), Refusal> {
    let admitted = admitted(&socket, &hub, &auth.unwrap_or_default());
    if let Err(refusal) = &admitted {
        hub.metrics.refused.inc();
        debug!(socket = %socket.id, %refusal, "a client is turned away");
    }
    socket.extensions.insert(admitted?);
    Ok(())
}

fn admitted(socket: &SocketRef, hub: &Arc<Hub>, auth: &Value) -> Result<Admitted, Refusal> {
    if hub.readiness.is_stopping() {
        return Err(Refusal::Stopping);
    }
    let peer = socket.req_parts().extensions.get::<Peer>().expect("the listener says who it is");
    let place = hub.place(peer.address)?;
    let hello = Hello::read(auth)?;
    if !hub.tokens.is_empty() && !hello.token.as_ref().is_some_and(|token| hub.tokens.contains(token)) {
        return Err(Refusal::Unauthenticated);
    }
    let filter = hub.filters.hold(hello.filter.clone())?;
    Ok(Admitted { hello, filter, _place: Arc::new(place) })
}

/// The handlers' futures run whenever they like, so handlers note at once what is to be done, in the
/// order in which it came, and leave nothing to their futures.
#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn connected(socket: SocketRef, State(hub): State<Arc<Hub>>) -> Ready<()> {
    let Some(Admitted { hello, filter, _place }) = socket.extensions.remove::<Admitted>() else { return ready(()) };
    socket.extensions.insert(_place);
    let parts = socket.req_parts();
    let peer = parts.extensions.get::<Peer>().expect("the listener says who it is");
    let link = parts.extensions.get::<Arc<Link>>().expect("every session has an account").clone();
    link.is_of(socket.id);
    if socket.transport_type() == socketioxide::TransportType::Polling {
        hub.transport.remember(socket.id, link.clone());
    }
    let client = Arc::new(Client {
        socket: socket.clone(),
        link,
        address: peer.address,
        gap: hello.gap,
        orders: Mutex::default(),
        wants: tokio::sync::Mutex::new(Wants { regions: BTreeSet::new(), filter }),
    });
    debug!(socket = %socket.id, address = %client.address, "a client connected");
    hub.clients().connected.insert(socket.id, client.clone());
    hub.metrics.connections.inc();
    socket.extensions.insert(client.clone());
    socket.on_disconnect(disconnected);
    socket.on("subscribe", subscribe);
    socket.on("filter", refilter);
    socket.on("resync", resync);
    let regions = hello.regions.unwrap_or_else(|| Region::ALL.into());
    hub.order(&client, Order::Begin { regions, resume: hello.resume });
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn disconnected(socket: SocketRef, State(hub): State<Arc<Hub>>) -> Ready<()> {
    hub.transport.forget(socket.id);
    socket.extensions.remove::<Arc<Place>>();
    let Some(client) = socket.extensions.remove::<Arc<Client>>() else { return ready(()) };
    debug!(socket = %socket.id, address = %client.address, "a client is gone");
    hub.clients().connected.remove(&socket.id);
    hub.metrics.connections.dec();
    hub.order(&client, Order::End);
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn subscribe(
    socket: SocketRef,
    State(hub): State<Arc<Hub>>,
    TryData(data): TryData<Value>,
    ack: AckSender,
) -> Ready<()> {
    hub.asked(&socket, Order::Subscribe { data: data.unwrap_or_default(), ack });
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn refilter(
    socket: SocketRef,
    State(hub): State<Arc<Hub>>,
    TryData(data): TryData<Value>,
    ack: AckSender,
) -> Ready<()> {
    hub.asked(&socket, Order::Filter { data: data.unwrap_or_default(), ack });
    ready(())
}

#[expect(clippy::needless_pass_by_value, reason = "handlers are given what they ask for by value")]
fn resync(socket: SocketRef, State(hub): State<Arc<Hub>>, TryData(data): TryData<Value>, ack: AckSender) -> Ready<()> {
    hub.asked(&socket, Order::Resync { data: data.unwrap_or_default(), ack });
    ready(())
}

/// Answers, if the client wants to know.
fn answer(ack: AckSender, done: Result<Value, Failure>) {
    let answer = done.unwrap_or_else(|failure| json!({ "error": failure }));
    if let Err(error) = ack.send(&answer) {
        debug!(%error, "an answer did not reach its client");
    }
}

impl Hub {
    fn asked(self: &Arc<Self>, socket: &SocketRef, order: Order) {
        if let Some(client) = socket.extensions.get::<Arc<Client>>() {
            self.order(&client, order);
        }
    }

    /// Notes what is to be done for a client, after all that is noted already.
    fn order(self: &Arc<Self>, client: &Arc<Client>, order: Order) {
        {
            let mut orders = client.orders.lock().expect("nobody panics while holding it");
            if orders.queue.len() >= MAX_ORDERS && !matches!(order, Order::End) {
                drop(orders);
                let message = "too many requests at once";
                client.tell("bye", &Bye { code: "too_many_requests", message, retry_after_ms: Some(RETRY_AFTER_MS) });
                return client.link.cut();
            }
            orders.queue.push_back(order);
            if std::mem::replace(&mut orders.at_work, true) {
                return;
            }
        }
        tokio::spawn(self.clone().carry_out(client.clone()));
    }

    /// Carries out what is noted, one after the other.
    async fn carry_out(self: Arc<Self>, client: Arc<Client>) {
        let mut wants = client.wants.lock().await;
        loop {
            let order = {
                let mut orders = client.orders.lock().expect("nobody panics while holding it");
                let Some(order) = orders.queue.pop_front() else {
                    orders.at_work = false;
                    return;
                };
                order
            };
            match order {
                Order::Begin { regions, resume } => {
                    wants.regions = regions;
                    client.tell("subscriptions", &Subscriptions::new(&wants.regions));
                    for region in &wants.regions {
                        self.join(&client, &wants, *region, resume.get(region).copied()).await;
                    }
                }
                Order::Subscribe { data, ack } => {
                    let done = self.subscribes(&client, &mut wants, &data).await;
                    answer(ack, done);
                }
                Order::Filter { data, ack } => self.filters(&client, &mut wants, &data, ack).await,
                Order::Resync { data, ack } => self.resyncs(&client, &wants, &data, ack).await,
                Order::End => {
                    for region in std::mem::take(&mut wants.regions) {
                        self.region(region).leave(client.sid()).await;
                    }
                }
            }
        }
    }

    async fn subscribes(&self, client: &Arc<Client>, wants: &mut Wants, data: &Value) -> Result<Value, Failure> {
        let invalid = |reason| Failure { code: "invalid_regions", message: format!("regions: {reason}") };
        let regions = read_regions(&data["regions"]).map_err(invalid)?;
        self.set_regions(client, wants, regions).await;
        Ok(json!({ "ok": true, "regions": wants.regions }))
    }

    async fn filters(&self, client: &Arc<Client>, wants: &mut Wants, data: &Value, ack: AckSender) {
        let invalid = |message| Failure { code: "invalid_filter", message };
        let filter = Filter::from_value(data).map_err(|error| invalid(error.to_string())).and_then(|filter| {
            let too_many = |error: TooManyFilters| Failure { code: "too_many_filters", message: error.to_string() };
            self.filters.hold(filter).map_err(too_many)
        });
        wants.filter = match filter {
            Ok(filter) => filter,
            Err(failure) => return answer(ack, Err(failure)),
        };
        for region in &wants.regions {
            self.region(*region).leave(client.sid()).await;
        }
        // First the answer, then what the new filter lets through.
        answer(ack, Ok(json!({ "ok": true })));
        for region in &wants.regions {
            self.join(client, wants, *region, None).await;
        }
    }

    async fn resyncs(&self, client: &Arc<Client>, wants: &Wants, data: &Value, ack: AckSender) {
        let region: Region = match data["region"].as_str().unwrap_or_default().parse() {
            Ok(region) => region,
            Err(error) => {
                let message = format!("region: {error}");
                return answer(ack, Err(Failure { code: "invalid_regions", message }));
            }
        };
        if !wants.regions.contains(&region) {
            let message = format!("{region} is not subscribed");
            return answer(ack, Err(Failure { code: "not_subscribed", message }));
        }
        // A cursor that is none is answered with a snapshot.
        let from = data["cursor"].as_str().and_then(|cursor| cursor.parse().ok());
        answer(ack, Ok(json!({ "ok": true })));
        self.region(region).ask(Request::Resync { sid: client.sid(), from }).await;
    }
}
