//! The layer around Socket.IO's own: gives every session its [`Link`], counts the events that long-polling
//! responses carry away, notices responses that were lost, and releases the request's memory.
//!
//! A session keeps the head of its first request for as long as it lives. Header values and the
//! address are slices of the buffer that hyper read them into, so they are copied, and those that
//! nobody needs are left out: a quarter of what a connection would cost otherwise.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, Weak},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use serde::Deserialize;
use socketioxide::socket::Sid;
use tower::{Layer, Service};
use tracing::debug;

use crate::{
    link::{Callers, Link},
    listener::Peer,
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

/// Separates the packets in the body of a long poll.
const RECORD_SEPARATOR: u8 = 0x1e;

/// Finds the link of a session that began by long polling: later requests name the session only. A session is
/// known from its handshake on, so that nothing it is sent goes uncounted, whatever it does first.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    callers: Callers,
    polled: Polled,
}

type Polled = Arc<Mutex<HashMap<Sid, Weak<Session>>>>;

/// What a session's first request keeps alive, for as long as Engine.IO has the session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) link: Arc<Link>,
    sid: OnceLock<Sid>,
    polled: Polled,
    /// The `t` of the poll that was answered last. Clients choose another one for each poll.
    last_poll: Mutex<Option<Box<str>>>,
}

impl Transport {
    pub(crate) fn new(callers: Callers) -> Self {
        Self { callers, polled: Arc::default() }
    }

    fn begin(&self) -> Arc<Session> {
        Arc::new(Session {
            link: Arc::new(Link::new(self.callers.clone())),
            sid: OnceLock::new(),
            polled: self.polled.clone(),
            last_poll: Mutex::default(),
        })
    }

    fn find(&self, sid: Sid) -> Option<Arc<Session>> {
        lock(&self.polled).get(&sid).and_then(Weak::upgrade)
    }
}

impl Session {
    /// Its handshake was answered with this id.
    fn is_named(self: &Arc<Self>, sid: Sid) {
        self.link.is_of(sid);
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
    S: Service<Request<R>, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        if !request.uri().path().starts_with(PATH) {
            let answer = self.inner.call(request);
            return Box::pin(async move { Ok(answer.await?.map(Body::new)) });
        }
        let sid = match query(request.uri(), "sid").map(str::parse::<Sid>) {
            None => None,
            Some(Ok(sid)) => Some(sid),
            Some(Err(_)) => return Box::pin(ready(Ok(unknown_session()))),
        };
        let session = match sid {
            None => self.transport.begin(),
            Some(sid) => match self.transport.find(sid) {
                Some(session) if !session.link.is_cut() => session,
                _ => return Box::pin(ready(Ok(unknown_session()))),
            },
        };
        let is_poll = request.method() == Method::GET && sid.is_some();
        if is_poll && session.repeats(request.uri()) {
            debug!(?sid, "a long-polling response was lost: the session ends");
            session.link.cut();
            return Box::pin(ready(Ok(unknown_session())));
        }
        let poll = query(request.uri(), "t").filter(|_| is_poll).map(Box::from);
        let peer = request.extensions().get::<Peer>().cloned();
        slim(&mut request);
        request.extensions_mut().insert(session.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            // A poll that waits ends with its session.
            let answer = tokio::select! {
                answer = answer => answer?,
                () = session.link.until_cut(), if sid.is_some() => return Ok(unknown_session()),
            };
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                if let Some(peer) = peer {
                    session.link.opened(&peer.connection);
                }
                return Ok(answer.map(Body::new));
            }
            if sid.is_none() {
                return Ok(named(&session, answer).await);
            }
            if !is_poll || answer.status() != StatusCode::OK {
                return Ok(answer.map(Body::new));
            }
            session.answers(poll);
            Ok(answer.map(|body| Body::new(Carried { body, link: session.link.clone(), taken: false })))
        })
    }
}

/// Reads the session's id from the answer to its handshake.
async fn named<B>(session: &Arc<Session>, answer: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    #[derive(Deserialize)]
    struct Open {
        sid: String,
    }
    let (head, body) = answer.into_parts();
    let Ok(body) = body.collect().await else { return unknown_session() };
    let body = body.to_bytes();
    let open = body.strip_prefix(b"0").and_then(|json| serde_json::from_slice::<Open>(json).ok());
    if let Some(sid) = open.and_then(|open| open.sid.parse().ok()) {
        session.is_named(sid);
    }
    Response::from_parts(head, Body::from(body))
}

/// The body of a long-polling response: its events are counted when the connection takes them.
struct Carried<B> {
    body: B,
    link: Arc<Link>,
    taken: bool,
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
            self.link.took(frame.data_ref().map_or(0, |data| events_in(data)));
        }
        self.taken = true;
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
        if !self.taken {
            self.link.cut();
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

/// As Engine.IO says it to clients of a session that is over.
fn unknown_session() -> Response<Body> {
    let mut response = Response::new(Body::from(r#"{"code":1,"message":"Session ID unknown"}"#));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
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
