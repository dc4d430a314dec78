//! The layer around Socket.IO's own: gives every session its [`DeliveryTracker`], counts the events that long-polling
//! responses carry away, notices responses that were lost, and releases the request's memory.
//!
//! A session keeps the head of its first request for as long as it lives. Header values and the
//! address are slices of the buffer that hyper read them into, so they are copied, and those that
//! nobody needs are left out: a quarter of what a connection would cost otherwise.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::ready,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use accounts::network;
use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value};
use socketioxide::socket::Sid;
use tower::{Layer, Service};
use tracing::debug;

use crate::{
    GatewaySettings,
    delivery_tracker::{DeliveryTracker, STRANGER_BYTES, WritableQueues},
    door::Door,
    http::ProtectiveHeaders,
    listener::{Peer, one_less},
};

/// What the handshake and the gateway itself look at.
const KEPT_HEADERS: [header::HeaderName; 11] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::HOST,
    header::ORIGIN,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::FORWARDED,
];

pub(crate) const PATH: &str = "/socket.io/";

/// The body of a POST has to come within this.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Separates the packets in the body of a long poll.
const RECORD_SEPARATOR: u8 = 0x1e;

/// Finds the link of a session that began by long polling: later requests name the session only. A session is
/// known from its handshake on, so that nothing it is sent goes uncounted, whatever it does first.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    writable_queues: WritableQueues,
    polled: Polled,
    /// Bytes of what a client may post.
    max_body: usize,
    strangers: Arc<Strangers>,
    over_tls: bool,
    door: Door,
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

type Polled = Arc<Mutex<HashMap<Sid, Weak<Session>>>>;

/// What a session's first request keeps alive, for as long as Engine.IO has the session.
#[derive(Debug)]
pub(crate) struct Session {
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
struct Posting(Arc<Session>);

impl Drop for Posting {
    fn drop(&mut self) {
        self.0.posting.store(false, Ordering::Release);
    }
}

impl Transport {
    pub(crate) fn new(writable_queues: WritableQueues, settings: &GatewaySettings, over_tls: bool, door: Door) -> Self {
        let strangers = Arc::new(Strangers {
            most: settings.max_strangers,
            most_per_network: settings.max_strangers_per_address,
            now: Mutex::default(),
        });
        Self {
            writable_queues,
            polled: Arc::default(),
            max_body: settings.max_payload as usize,
            strangers,
            over_tls,
            door,
        }
    }

    fn begin(&self, address: IpAddr) -> Option<Arc<Session>> {
        let stranger = self.strangers.let_in(network(address))?;
        Some(Arc::new(Session {
            stranger: Mutex::new(Some(stranger)),
            tracker: Arc::new(DeliveryTracker::new(self.writable_queues.clone())),
            sid: OnceLock::new(),
            polled: self.polled.clone(),
            last_poll: Mutex::default(),
            posting: AtomicBool::new(false),
        }))
    }

    /// How much its client may post.
    fn max_body_of(&self, session: &Session) -> usize {
        match session.tracker.is_strange() {
            true => self.max_body.min(STRANGER_BYTES),
            false => self.max_body,
        }
    }

    /// One that is not over.
    fn find(&self, sid: Sid) -> Option<Arc<Session>> {
        lock(&self.polled).get(&sid).and_then(Weak::upgrade).filter(|session| !session.tracker.is_cut())
    }
}

impl Session {
    /// Somebody has signed in.
    pub(crate) fn is_known(&self) {
        drop(lock(&self.stranger).take());
        self.tracker.is_known();
    }

    /// Its handshake was answered with this id.
    fn is_named(self: &Arc<Self>, sid: Sid) {
        self.tracker.is_of(sid);
        if self.sid.set(sid).is_ok() {
            lock(&self.polled).insert(sid, Arc::downgrade(self));
        }
    }

    /// Whether this poll repeats the one that was answered last: its client, or a proxy before it, never got
    /// that answer, and nothing can say what was in it.
    fn repeats(&self, uri: &Uri) -> bool {
        let poll = query(uri, "t");
        poll.is_some() && poll == lock(&self.last_poll).as_deref()
    }

    /// Begins a POST, unless there is one.
    fn posts(self: &Arc<Self>) -> Option<Posting> {
        (!self.posting.swap(true, Ordering::AcqRel)).then(|| Posting(self.clone()))
    }

    fn answers(&self, poll: Option<Box<str>>) {
        *lock(&self.last_poll) = poll;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(sid) = self.sid.get() {
            lock(&self.polled).remove(sid);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

impl<S> Layer<S> for Transport {
    type Service = TransportService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TransportService { transport: self.clone(), inner }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct TransportService<S> {
    transport: Transport,
    inner: S,
}

impl<S, R, B> Service<Request<R>> for TransportService<S>
where
    S: Service<Request<Limited<R>>, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let headers = ProtectiveHeaders::of(request.uri().path(), self.transport.over_tls);
        let answer = match self.transport.door.refusal(&request) {
            Some(refusal) => Box::pin(ready(Ok(refusal))),
            None => self.answer(request),
        };
        Box::pin(async move {
            let mut answer = answer.await?;
            // What follows an upgrade is no longer HTTP.
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                headers.set(answer.headers_mut());
            }
            Ok(answer)
        })
    }
}

impl<S> TransportService<S> {
    fn answer<R, B>(&mut self, request: Request<R>) -> BoxFuture<'static, Result<Response<Body>, Infallible>>
    where
        S: Service<Request<Limited<R>>, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
        B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
    {
        if !request.uri().path().starts_with(PATH) {
            let answer = self.inner.call(request.map(|body| Limited::new(body, usize::MAX)));
            return Box::pin(async move { Ok(answer.await?.map(Body::new)) });
        }
        let begun = Exchange::begin(&self.transport, &request);
        let exchange = match begun {
            Ok(exchange) => exchange,
            Err(refusal) => return Box::pin(ready(Ok(refusal.response()))),
        };
        let max_body = self.transport.max_body_of(&exchange.session);
        let mut request = request.map(|body| Limited::new(body, max_body));
        slim(&mut request);
        request.extensions_mut().insert(exchange.session.clone());
        let answer = self.inner.call(request);
        let max_body = self.transport.max_body;
        Box::pin(async move { exchange.finish(answer, max_body).await })
    }
}

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    UnknownSession,
    TooManyStrangers,
    /// Of a websocket, by RFC 6455.
    BadHandshake,
    WebsocketVersion,
    SecondWebsocket,
    /// A second POST, or one without a packet: the session ends.
    BadPost,
    TooLarge,
    TooSlow,
}

impl Refusal {
    /// In the shape that Engine.IO gives its errors.
    fn response(self) -> Response<Body> {
        let (status, code, message) = match self {
            Self::UnknownSession => (StatusCode::BAD_REQUEST, 1, "Session ID unknown"),
            Self::TooManyStrangers => {
                (StatusCode::SERVICE_UNAVAILABLE, 3, "too many connections that have not signed in; try again later")
            }
            Self::BadHandshake => (StatusCode::BAD_REQUEST, 3, "Bad request: not a websocket handshake"),
            Self::WebsocketVersion => (StatusCode::UPGRADE_REQUIRED, 3, "Bad request: the websocket version is 13"),
            Self::SecondWebsocket => (StatusCode::BAD_REQUEST, 3, "Bad request: the session has a websocket"),
            Self::BadPost => (StatusCode::BAD_REQUEST, 3, "Bad request: one POST at a time, with a packet"),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                3,
                "Bad request: the body is larger than maxPayload, or than 4096 before sign-in",
            ),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, 3, "Bad request: the body did not come in time"),
        };
        let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self == Self::TooManyStrangers {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if self == Self::WebsocketVersion {
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// A request to Engine.IO and its answer.
struct Exchange {
    session: Arc<Session>,
    kind: Kind,
    peer: Peer,
}

enum Kind {
    /// By polling or by websocket.
    Handshake,
    /// With the `t` of its query.
    Poll(Option<Box<str>>),
    Post {
        _posting: Posting,
    },
    /// A websocket for a session that began by polling, or what Engine.IO refuses.
    Other,
}

impl Exchange {
    fn begin<R>(transport: &Transport, request: &Request<R>) -> Result<Self, Refusal> {
        let uri = request.uri();
        if query(uri, "transport") == Some("websocket") {
            check_websocket(request.headers())?;
        }
        let peer = request.extensions().get::<Peer>().expect("the listener says who it is").clone();
        let Some(sid) = query(uri, "sid") else {
            let session = transport.begin(peer.address).ok_or(Refusal::TooManyStrangers)?;
            return Ok(Self { session, kind: Kind::Handshake, peer });
        };
        let session = sid.parse().ok().and_then(|sid| transport.find(sid)).ok_or(Refusal::UnknownSession)?;
        let kind = match *request.method() {
            // The engine would let it wait, and take over from the first.
            _ if query(uri, "transport") == Some("websocket") && session.tracker.has_websocket() => {
                return Err(Refusal::SecondWebsocket);
            }
            _ if query(uri, "transport") != Some("polling") => Kind::Other,
            Method::GET if session.repeats(uri) => {
                debug!(sid, "a long-polling response was lost: the session ends");
                session.tracker.cut();
                return Err(Refusal::UnknownSession);
            }
            Method::GET => Kind::Poll(query(uri, "t").map(Box::from)),
            Method::POST => {
                let length =
                    request.headers().get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
                let posting = session.posts();
                let refusal = match (&posting, length) {
                    (None, _) | (_, Some(0)) => Some(Refusal::BadPost),
                    (_, Some(length)) if length > transport.max_body_of(&session) => Some(Refusal::TooLarge),
                    _ => None,
                };
                match (refusal, posting) {
                    (None, Some(posting)) => Kind::Post { _posting: posting },
                    (refusal, _) => {
                        session.tracker.cut();
                        return Err(refusal.unwrap_or(Refusal::BadPost));
                    }
                }
            }
            _ => Kind::Other,
        };
        Ok(Self { session, kind, peer })
    }

    async fn finish<B>(
        self,
        answer: impl Future<Output = Result<Response<B>, Infallible>>,
        max_body: usize,
    ) -> Result<Response<Body>, Infallible>
    where
        B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
    {
        let Self { session, kind, peer } = self;
        let patience = async {
            match &kind {
                Kind::Post { .. } => tokio::time::sleep(BODY_WITHIN).await,
                _ => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            answer = answer => answer?,
            // A poll that waits ends with its session.
            () = session.tracker.until_cut() => return Ok(Refusal::UnknownSession.response()),
            () = patience => {
                session.tracker.cut();
                return Ok(Refusal::TooSlow.response());
            }
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            session.tracker.opened(&peer.connection);
            return Ok(answer.map(Body::new));
        }
        Ok(match kind {
            Kind::Handshake => named(&session, answer, max_body).await,
            Kind::Poll(t) if answer.status() == StatusCode::OK => {
                session.answers(t);
                answer.map(|body| Body::new(Carried { body, tracker: session.tracker.clone(), accepted_count: false }))
            }
            Kind::Poll(_) | Kind::Post { .. } | Kind::Other => answer.map(Body::new),
        })
    }
}

/// Whether this asks for a websocket as RFC 6455 has it: Engine.IO looks for a key only.
fn check_websocket(headers: &HeaderMap) -> Result<(), Refusal> {
    let has = |name: header::HeaderName, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(token))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") || key.is_none_or(|it| it.len() != 16)
    {
        return Err(Refusal::BadHandshake);
    }
    match has(header::SEC_WEBSOCKET_VERSION, "13") {
        true => Ok(()),
        false => Err(Refusal::WebsocketVersion),
    }
}

/// Reads the session's id from the answer to its handshake, and says there how much may be posted: the engine's own
/// limit is for what it sends.
async fn named<B>(session: &Arc<Session>, answer: Response<B>, max_body: usize) -> Response<Body>
where
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let (mut head, body) = answer.into_parts();
    let Ok(body) = body.collect().await else { return Refusal::UnknownSession.response() };
    let body = body.to_bytes();
    let open = body.strip_prefix(b"0").and_then(|json| serde_json::from_slice::<Map<String, Value>>(json).ok());
    let Some(mut open) = open else { return Response::from_parts(head, Body::from(body)) };
    if let Some(sid) = open.get("sid").and_then(|sid| sid.as_str()?.parse().ok()) {
        session.is_named(sid);
    }
    open.insert("maxPayload".into(), max_body.into());
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(format!("0{}", Value::Object(open))))
}

/// The body of a long-polling response: its events are counted when the connection takes them.
struct Carried<B> {
    body: B,
    tracker: Arc<DeliveryTracker>,
    accepted_count: bool,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Carried<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.tracker.took(frame.data_ref().map_or(0, |data| events_in(data)));
        }
        self.accepted_count = true;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Carried<B> {
    fn drop(&mut self) {
        // Its connection went away first: what it carries is lost, and can't be sent again.
        if !self.accepted_count {
            self.tracker.cut();
        }
    }
}

/// A parameter of the query, as it stands there.
fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn slim<R>(request: &mut Request<R>) {
    let kept = || KEPT_HEADERS.iter().flat_map(|name| request.headers().get_all(name).iter().map(move |it| (name, it)));
    let mut headers = HeaderMap::with_capacity(kept().count());
    for (name, value) in kept() {
        let copy = HeaderValue::from_bytes(value.as_bytes()).expect("it was a header's value before");
        headers.append(name, copy);
    }
    *request.headers_mut() = headers;
    *request.uri_mut() = request.uri().to_string().parse().expect("it was an address before");
}

fn events_in(payload: &[u8]) -> u64 {
    payload.split(|byte| *byte == RECORD_SEPARATOR).filter(|packet| packet.starts_with(b"42")).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_poll_carries_events_among_other_packets() {
        assert_eq!(events_in("42[\"a\"]\u{1e}2\u{1e}430[]\u{1e}42[\"b\"]".as_bytes()), 2);
        assert_eq!(events_in(b"40{}"), 0);
        assert_eq!(events_in(b""), 0);
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        let uri = "/socket.io/?EIO=4&transport=polling&sid=a&t=x&e=".parse().unwrap();
        assert_eq!(
            ["EIO", "sid", "t", "e", "id"].map(|it| query(&uri, it)),
            [Some("4"), Some("a"), Some("x"), Some(""), None]
        );
        assert_eq!(query(&"/socket.io/".parse().unwrap(), "sid"), None);
    }
}
