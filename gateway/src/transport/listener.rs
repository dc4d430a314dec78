//! Accepts a bounded number of connections and serves HTTP on them until they are upgraded.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use accounts::network;
use axum::body::Body;
use http::{HeaderMap, Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{ServerConfig, ServerConnection};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;
use tracing::{debug, warn};

use super::{
    connection::{Connection, Socket, Wire},
    connection_slots::{ConnectionSlot, Most, Networks, Turnover},
    peer::Peer,
};
use crate::settings::TrustedProxy;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// The time that a client has to send a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const HEAD_BYTES: usize = 8_192;
/// How many unsent bytes the kernel accepts for a connection: a slow client's ping must not wait behind minutes of
/// odds.
const UNSENT_BYTES: u32 = 4_096;
/// The pause after a connection can't be accepted, for example because too many files are open.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How many connections are served at once from their first bytes on. A first request takes much memory for a moment,
/// and what many of them take at once would stay in holes between what connections keep.
const BEGINNING: usize = 256;
/// A connection that takes longer to begin doesn't keep others waiting.
const BEGINS_WITHIN: Duration = Duration::from_millis(100);
/// A connection is closed if the client reads nothing of a response for this long.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);
/// How long a stopping gateway waits for its connections to end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// How connections are accepted.
pub(crate) struct Entrance {
    pub(crate) proxies: Arc<[TrustedProxy]>,
    pub(crate) most: Most,
    pub(crate) turnover: Turnover,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// What all connections have in common.
#[derive(Clone)]
struct Common {
    proxies: Arc<[TrustedProxy]>,
    tls: Option<Arc<ServerConfig>>,
    stop: CancellationToken,
}

/// Accepts connections until `departing` is cancelled, and serves them until `stop` is. Then waits until all have ended,
/// but no longer than [`CLOSE_WITHIN`].
pub(crate) async fn serve<S>(
    listener: TcpListener,
    service: S,
    entrance: Entrance,
    departing: CancellationToken,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let Entrance { proxies, most, turnover, tls } = entrance;
    let common = Common { proxies, tls, stop: stop.clone() };
    let permits = Arc::new(Semaphore::new(most.all));
    let networks = Arc::new(Networks { most: most.of_network, connections: Mutex::default() });
    let beginning = Arc::new(Semaphore::new(BEGINNING));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = departing.cancelled() => break,
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "can't accept a connection; trying again");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let direct = address.ip().to_canonical();
        // Clients behind a proxy have their own limits, by the address that the proxy forwards.
        let is_proxy = common.proxies.iter().any(|proxy| proxy.is(direct));
        let slot = permits.clone().try_acquire_owned().ok().zip(networks.let_in(network(direct), is_proxy));
        let Some((of_all, of_network)) = slot else {
            debug!(%address, "too many connections: refused one");
            continue;
        };
        let slot = ConnectionSlot { _of_all: of_all, _of_network: of_network, _counted: turnover.begins() };
        let (service, common, beginning) = (service.clone(), common.clone(), beginning.clone());
        connections.spawn(async move {
            // Until the client sends something, its connection has no buffers.
            let sends = tokio::select! {
                sends = tokio::time::timeout(HEAD_WITHIN, stream.readable()) => sends.is_ok_and(|sends| sends.is_ok()),
                () = common.stop.cancelled() => false,
            };
            if sends {
                // Nobody waits for a place longer than that.
                let turn = tokio::time::timeout(BEGINS_WITHIN, beginning.acquire_owned()).await;
                let turn = turn.ok().and_then(Result::ok);
                Box::pin(connection(stream, address, service, common, turn, slot)).await;
            }
        });
    }
    // A proxy whose connection is refused asks another gateway.
    drop(listener);
    stop.cancelled().await;
    connections.close();
    if tokio::time::timeout(CLOSE_WITHIN, connections.wait()).await.is_err() {
        debug!(connections = connections.len(), "some connections have not ended in time");
    }
    Ok(())
}

async fn connection<S>(
    stream: TcpStream,
    address: SocketAddr,
    service: S,
    common: Common,
    turn: Option<OwnedSemaphorePermit>,
    slot: ConnectionSlot,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let Common { proxies, tls, stop } = common;
    if let Err(error) = prepare(&stream) {
        debug!(%address, %error, "a connection ended before it was served");
        return;
    }
    let tls = match tls.map(ServerConnection::new).transpose() {
        Ok(tls) => tls,
        Err(error) => return warn!(%error, "a connection can't be secured"),
    };
    let connection = Arc::new(Connection::new(Socket::new(stream, tls), slot));
    let own = Arc::downgrade(&connection);
    let direct = Peer { address: address.ip().to_canonical(), connection: own.clone() };
    let wire = TokioIo::new(Wire::new(connection));
    // Kept until the first request is answered.
    let turn = Arc::new(Mutex::new(turn));
    let begins = turn.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut peer = direct.clone();
        peer.address = client_address(peer.address, request.headers(), &proxies);
        request.extensions_mut().insert(peer);
        let (answer, turn) = (service.clone().call(request), turn.clone());
        async move {
            let answer = answer.await;
            drop(turn.lock().expect("nobody panics while holding it").take());
            answer
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(wire, service)
        .with_upgrades();
    tokio::pin!(serving);
    let mut stuck_check = tokio::time::interval(TAKEN_WITHIN / 4);
    let begun = tokio::time::sleep(BEGINS_WITHIN);
    tokio::pin!(begun);
    let mut has_begun = false;
    let served = loop {
        tokio::select! {
            served = &mut serving => break served,
            () = &mut begun, if !has_begun => {
                has_begun = true;
                drop(begins.lock().expect("nobody panics while holding it").take());
            }
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                break serving.await;
            }
            // Only until it is upgraded: the region tasks handle slow websockets.
            _ = stuck_check.tick() => if own.upgrade().is_none_or(|own| own.is_stuck_for(TAKEN_WITHIN)) {
                return debug!(%address, "a client doesn't read its response: the connection is closed");
            }
        }
    };
    if let Err(error) = served {
        debug!(%address, %error, "a connection failed");
    }
}

/// Returns the client's address. A proxy appends the address of its own client to the list, so the list is read from
/// its end, as long as the sender is a trusted proxy.
fn client_address(mut address: IpAddr, headers: &HeaderMap, proxies: &[TrustedProxy]) -> IpAddr {
    let forwarded = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let forwarded: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    for before in forwarded.iter().rev() {
        let is_proxy = proxies.iter().any(|proxy| proxy.is(address));
        let Some(before) = parse_address(before).filter(|_| is_proxy) else { break };
        address = before.to_canonical();
    }
    address
}

/// Parses an address as proxies write it: some add the port, or put IPv6 in brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip())).or_else(bracketed)
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_proxies_that_are_trusted_are_believed() {
        let proxies: [TrustedProxy; 2] = ["10.0.0.0/8".parse().unwrap(), "192.0.2.1".parse().unwrap()];
        let seen = |peer: &str, forwarded: &'static str| {
            let headers = HeaderMap::from_iter([(FORWARDED_FOR.parse().unwrap(), HeaderValue::from_static(forwarded))]);
            client_address(peer.parse().unwrap(), &headers, &proxies).to_string()
        };
        assert_eq!(seen("10.1.1.1", "203.0.113.5"), "203.0.113.5");
        assert_eq!(seen("10.1.1.1", "6.6.6.6, 203.0.113.5, 192.0.2.1"), "203.0.113.5", "the client's own entry");
        assert_eq!(seen("203.0.113.9", "6.6.6.6"), "203.0.113.9", "a stranger");
        assert_eq!(seen("10.1.1.1", "203.0.113.5:4711"), "203.0.113.5");
        assert_eq!(seen("10.1.1.1", "[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(seen("10.1.1.1", "[2001:db8::1]"), "2001:db8::1");
        assert_eq!(seen("10.1.1.1", "2001:db8::1"), "2001:db8::1");
        assert_eq!(seen("10.1.1.1", "nonsense"), "10.1.1.1");
        assert_eq!(seen("10.1.1.1", ""), "10.1.1.1");
    }
}
