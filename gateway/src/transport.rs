//! The layer around Socket.IO's own: gives every session its account, books what long polls carry
//! away, and lets go of the request's memory.
//!
//! A session keeps the head of its first request for as long as it lives. Header values and the
//! address are slices of the buffer that hyper read them into, so they are copied, and those that
//! nobody needs are left out: a quarter of what a connection would cost otherwise.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use socketioxide::socket::Sid;
use tower::{Layer, Service};

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

/// The accounts of sessions that began by long polling, by session.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    callers: Callers,
    polled: Arc<Mutex<HashMap<Sid, Arc<Link>>>>,
}

impl Transport {
    pub(crate) fn new(callers: Callers) -> Self {
        Self { callers, polled: Arc::default() }
    }

    fn polled(&self) -> MutexGuard<'_, HashMap<Sid, Arc<Link>>> {
        self.polled.lock().expect("nobody panics while holding it")
    }

    /// Later requests of this session are booked on the same account.
    pub(crate) fn remember(&self, sid: Sid, link: Arc<Link>) {
        self.polled().insert(sid, link);
    }

    pub(crate) fn forget(&self, sid: Sid) {
        self.polled().remove(&sid);
    }

    fn link(&self, sid: Option<Sid>) -> Option<Arc<Link>> {
        match sid {
            None => Some(Arc::new(Link::new(self.callers.clone()))),
            Some(sid) => self.polled().get(&sid).cloned(),
        }
    }
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
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
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
        let sid = session_of(request.uri());
        let link = self.transport.link(sid);
        if link.as_ref().is_some_and(|link| link.is_cut()) {
            return Box::pin(std::future::ready(Ok(unknown_session())));
        }
        let is_poll = request.method() == Method::GET && sid.is_some();
        let peer = request.extensions().get::<Peer>().cloned();
        slim(&mut request);
        if let Some(link) = &link {
            request.extensions_mut().insert(link.clone());
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            let Some(link) = link else { return Ok(answer.map(Body::new)) };
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                if let Some(peer) = peer {
                    link.carried_by(&peer.connection);
                }
                return Ok(answer.map(Body::new));
            }
            if !is_poll {
                return Ok(answer.map(Body::new));
            }
            Ok(answer.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    link.took(frame.data_ref().map_or(0, |data| events_in(data)));
                    frame
                }))
            }))
        })
    }
}

fn session_of(uri: &Uri) -> Option<Sid> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("sid="))?.parse().ok()
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
    fn the_session_is_in_the_query() {
        let sid = Sid::new();
        let uri = format!("/socket.io/?EIO=4&transport=polling&sid={sid}&t=x").parse().unwrap();
        assert_eq!(session_of(&uri), Some(sid));
        assert_eq!(session_of(&"/socket.io/?EIO=4&sid=zz".parse().unwrap()), None);
    }
}
