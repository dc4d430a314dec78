//! Accepts connections: a bounded number, each with a time limit for its handshake, and serves HTTP
//! on them until they are upgraded.

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
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;
use tracing::{debug, warn};

use super::{
    connection::{Connection, Wire},
    connection_slots::{ConnectionSlot, Most, Networks},
    peer::Peer,
};
use crate::settings::TrustedProxy;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// A request's head has to come within this.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The longest head of a request.
const HEAD_BYTES: usize = 8_192;
/// What the kernel holds for a client before it says that it can take no more: a slow client's ping
/// must not stand behind minutes of odds.
const UNSENT_BYTES: u32 = 4_096;
/// When no connection can be accepted (too many open files), it is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// A client that reads nothing of a response for so long is cut off.
const TAKEN_WITHIN: Duration = Duration::from_secs(20);
/// How long connections get to end by themselves.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Serves until told to stop, and then until all connections are gone or it takes too long.
pub(crate) async fn serve<S>(
    listener: TcpListener,
    service: S,
    proxies: Arc<[TrustedProxy]>,
    most: Most,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let places = Arc::new(Semaphore::new(most.all));
    let networks = Arc::new(Networks { most: most.of_network, connections: Mutex::default() });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let direct = address.ip().to_canonical();
        // Behind a proxy, each client is counted by what it begins.
        let is_proxy = proxies.iter().any(|proxy| proxy.is(direct));
        let slot = places.clone().try_acquire_owned().ok().zip(networks.let_in(network(direct), is_proxy));
        let Some((of_all, of_network)) = slot else {
            debug!(%address, "too many connections: one is turned away");
            continue;
        };
        let slot = ConnectionSlot { _of_all: of_all, _of_network: of_network };
        connections.spawn(connection(stream, address, service.clone(), proxies.clone(), slot, stop.clone()));
    }
    connections.close();
    if tokio::time::timeout(CLOSE_WITHIN, connections.wait()).await.is_err() {
        debug!(connections = connections.len(), "some connections did not end in time");
    }
    Ok(())
}

async fn connection<S>(
    stream: TcpStream,
    address: SocketAddr,
    service: S,
    proxies: Arc<[TrustedProxy]>,
    slot: ConnectionSlot,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
{
    if let Err(error) = prepare(&stream) {
        debug!(%address, %error, "a connection is gone already");
        return;
    }
    let connection = Arc::new(Connection::new(stream, slot));
    let own = Arc::downgrade(&connection);
    let direct = Peer { address: address.ip().to_canonical(), connection: own.clone() };
    let wire = TokioIo::new(Wire::new(connection));
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut peer = direct.clone();
        peer.address = behind(peer.address, request.headers(), &proxies);
        request.extensions_mut().insert(peer);
        service.clone().call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(wire, service)
        .with_upgrades();
    tokio::pin!(serving);
    let mut looks = tokio::time::interval(TAKEN_WITHIN / 4);
    let served = loop {
        tokio::select! {
            served = &mut serving => break served,
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                break serving.await;
            }
            // Until it is upgraded: a websocket whose client is slow is the region tasks' affair.
            _ = looks.tick() => if own.upgrade().is_none_or(|own| own.is_stuck_for(TAKEN_WITHIN)) {
                return debug!(%address, "a response is not read: the connection ends");
            }
        }
    };
    if let Err(error) = served {
        debug!(%address, %error, "a connection ended badly");
    }
}

/// Who is behind proxies that are believed: each names, at the end of the list, who asked it.
fn behind(mut address: IpAddr, headers: &HeaderMap, proxies: &[TrustedProxy]) -> IpAddr {
    let said = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let said: Vec<&str> = said.flat_map(|value| value.split(',')).map(str::trim).collect();
    for before in said.iter().rev() {
        let is_proxy = proxies.iter().any(|proxy| proxy.is(address));
        let Some(before) = address_in(before).filter(|_| is_proxy) else { break };
        address = before.to_canonical();
    }
    address
}

/// An address as proxies write it: some add the port, and put IPv6 into brackets.
fn address_in(text: &str) -> Option<IpAddr> {
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
        let seen = |peer: &str, said: &'static str| {
            let headers = HeaderMap::from_iter([(FORWARDED_FOR.parse().unwrap(), HeaderValue::from_static(said))]);
            behind(peer.parse().unwrap(), &headers, &proxies).to_string()
        };
        assert_eq!(seen("10.1.1.1", "203.0.113.5"), "203.0.113.5");
        assert_eq!(seen("10.1.1.1", "6.6.6.6, 203.0.113.5, 192.0.2.1"), "203.0.113.5", "what a client says first");
        assert_eq!(seen("203.0.113.9", "6.6.6.6"), "203.0.113.9", "a stranger");
        assert_eq!(seen("10.1.1.1", "203.0.113.5:4711"), "203.0.113.5");
        assert_eq!(seen("10.1.1.1", "[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(seen("10.1.1.1", "[2001:db8::1]"), "2001:db8::1");
        assert_eq!(seen("10.1.1.1", "2001:db8::1"), "2001:db8::1");
        assert_eq!(seen("10.1.1.1", "nonsense"), "10.1.1.1");
        assert_eq!(seen("10.1.1.1", ""), "10.1.1.1");
    }
}
