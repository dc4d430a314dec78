//! Engine.IO, which sees only sessions that poll. What a client sends by websocket is posted for it, and what it is to
//! get is polled for it. So Engine.IO has no tasks and buffers for websockets, which were a third of the memory that an
//! idle connection took.

use std::{fmt, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use engineioxide::service::NotFoundService;
use futures::FutureExt;
use http::{Extensions, HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use socketioxide::{service::SocketIoService, socket::Sid};
use tower::Service;

use super::{heartbeat::HeartbeatTimes, layer::PATH};

/// Separates packets in what is polled and posted.
pub(super) const RECORD_SEPARATOR: u8 = 0x1e;
pub(super) const CLOSE: &str = "1";
pub(super) const PING: &str = "2";
pub(super) const NOOP: &str = "6";
/// The headers of a handshake that the gateway reads later. A session keeps them as long as it lives.
const KEPT_HEADERS: [header::HeaderName; 2] = [header::COOKIE, header::ORIGIN];

type Sockets = SocketIoService<NotFoundService>;
/// Engine.IO's answer to come.
pub(super) type Answering = <Sockets as Service<Request<Body>>>::Future;

/// Engine.IO's service. Clones share their sessions.
#[derive(Clone)]
pub(crate) struct Engine(Sockets);

impl Engine {
    pub(crate) fn new(sockets: Sockets) -> Self {
        Self(sockets)
    }

    /// Opens a session.
    pub(super) fn open(&self, handshake: Handshake) -> Answering {
        self.ask(handshake.0)
    }

    /// Waits for what a session's client is to get. Dropping it loses nothing unless it is ready.
    pub(super) fn poll(&self, sid: Sid) -> Answering {
        self.ask(request(Method::GET, &of_session(sid), Body::empty()))
    }

    pub(super) fn post(&self, sid: Sid, packets: impl Into<Body>) -> Answering {
        self.ask(request(Method::POST, &of_session(sid), packets.into()))
    }

    /// Posts what is in memory, so that there is nothing to wait for. Returns false if that is refused.
    pub(super) fn post_at_once(&self, sid: Sid, packets: impl Into<Body>) -> bool {
        self.post(sid, packets)
            .now_or_never()
            .is_some_and(|answer| answer.is_ok_and(|it| it.status() == StatusCode::OK))
    }

    /// Ends a session, if it is there.
    pub(super) fn close(&self, sid: Sid) {
        self.post_at_once(sid, CLOSE);
    }

    fn ask(&self, request: Request<Body>) -> Answering {
        self.0.clone().call(request)
    }
}

/// A request that opens a session, whose client uses either transport.
pub(super) struct Handshake(Request<Body>);

impl Handshake {
    /// Copies what is needed: the original's values are slices of hyper's read buffer and would keep it alive.
    pub(super) fn new(uri: &Uri, headers: &HeaderMap, extensions: Extensions) -> Self {
        let kept = || KEPT_HEADERS.iter().flat_map(|name| headers.get_all(name).iter().map(move |it| (name, it)));
        let mut copies = HeaderMap::with_capacity(kept().count());
        for (name, value) in kept() {
            copies.append(name, value.as_bytes().try_into().expect("it is a valid header value"));
        }
        let others = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.starts_with("transport="));
        let query: Vec<&str> = ["transport=polling"].into_iter().chain(others).collect();
        let mut request = request(Method::GET, &format!("{PATH}?{}", query.join("&")), Body::empty());
        *request.headers_mut() = copies;
        *request.extensions_mut() = extensions;
        Self(request)
    }
}

fn of_session(sid: Sid) -> String {
    format!("{PATH}?EIO=4&transport=polling&sid={sid}")
}

fn request(method: Method, uri: &str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().expect("it is a valid URI");
    request
}

/// The packets in what is polled or posted.
pub(super) fn packets_in(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    payload.split(|byte| *byte == RECORD_SEPARATOR)
}

/// Whether a packet answers a ping. Engine.IO looks at its first byte, too.
pub(super) fn is_pong(packet: &[u8]) -> bool {
    packet.first() == Some(&b'3') && packet != b"3probe"
}

pub(super) fn is_close(packet: &[u8]) -> bool {
    packet.first() == Some(&CLOSE.as_bytes()[0])
}

/// Waits for Engine.IO's answer.
pub(super) async fn answered(answering: Answering) -> Response<Body> {
    answering.await.unwrap_or_else(|never| match never {}).map(Body::new)
}

/// The body of Engine.IO's answer, which is in memory. `None` if the answer is an error.
pub(super) fn body_of<B>(answer: Response<B>) -> Option<Bytes>
where
    B: http_body::Body<Data = Bytes>,
{
    if answer.status() != StatusCode::OK {
        return None;
    }
    Some(answer.into_body().collect().now_or_never()?.ok()?.to_bytes())
}

/// Engine.IO's first packet, which opens a session, as the gateway sends it.
#[derive(Debug)]
pub(super) struct OpenPacket {
    pub(super) sid: Sid,
    pub(super) text: String,
}

/// What a session's client is told about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) heartbeat: HeartbeatTimes,
    /// The most bytes in a message. Engine.IO's own limit is for what it sends.
    pub(super) max_payload: usize,
}

impl OpenPacket {
    /// Returns `None` if the packet opens no session.
    pub(super) fn of(packet: &[u8], terms: Terms, upgrades: &[&str]) -> Option<Self> {
        let mut open: Map<String, Value> = serde_json::from_slice(packet.strip_prefix(b"0")?).ok()?;
        let sid = open.get("sid").and_then(|sid| sid.as_str()?.parse().ok())?;
        let millis = |time: Duration| Value::from(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        open.insert("maxPayload".into(), terms.max_payload.into());
        open.insert("pingInterval".into(), millis(terms.heartbeat.interval));
        open.insert("pingTimeout".into(), millis(terms.heartbeat.timeout));
        open.insert("upgrades".into(), upgrades.into());
        Some(Self { sid, text: format!("0{}", Value::Object(open)) })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
