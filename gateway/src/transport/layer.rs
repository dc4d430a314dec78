//! The layer around Socket.IO's layer. It gives every session its delivery tracker, counts the events in long-polling
//! responses, ends sessions whose response was lost, and releases the memory of requests.
//!
//! A session keeps the head of its first request as long as it lives. The URI and header values are slices of hyper's
//! read buffer and would keep it alive. So the layer copies the few headers that are needed, which saves a quarter of a
//! connection's memory.

use std::{
    convert::Infallible,
    future::ready,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Limited;
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use super::{
    connection::WritableQueues, door::Door, engine_session::EngineSessions, exchange::Exchange,
    protective_headers::ProtectiveHeaders,
};
use crate::GatewaySettings;

/// The headers that the handshakes and the gateway need.
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

/// The layer around Socket.IO's layer. Clones share their sessions.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    sessions: EngineSessions,
    over_tls: bool,
    door: Door,
}

impl Transport {
    /// Takes no new sessions once `departing` is cancelled.
    pub(crate) fn new(
        writable_queues: WritableQueues,
        settings: &GatewaySettings,
        over_tls: bool,
        door: Door,
        departing: CancellationToken,
    ) -> Self {
        Self { sessions: EngineSessions::new(writable_queues, settings, departing), over_tls, door }
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
        let begun = Exchange::begin(&self.transport.sessions, &request);
        let exchange = match begun {
            Ok(exchange) => exchange,
            Err(refusal) => return Box::pin(ready(Ok(refusal.response()))),
        };
        let max_body = self.transport.sessions.max_body_of(&exchange.session);
        let mut request = request.map(|body| Limited::new(body, max_body));
        slim(&mut request);
        request.extensions_mut().insert(exchange.session.clone());
        let answer = self.inner.call(request);
        let max_body = self.transport.sessions.max_body();
        Box::pin(async move { exchange.finish(answer, max_body).await })
    }
}

/// Replaces a request's head by a copy with only the headers that are needed.
fn slim<R>(request: &mut Request<R>) {
    let kept = || KEPT_HEADERS.iter().flat_map(|name| request.headers().get_all(name).iter().map(move |it| (name, it)));
    let mut headers = HeaderMap::with_capacity(kept().count());
    for (name, value) in kept() {
        let copy = HeaderValue::from_bytes(value.as_bytes()).expect("it is a valid header value");
        headers.append(name, copy);
    }
    *request.headers_mut() = headers;
    *request.uri_mut() = request.uri().to_string().parse().expect("it is a valid URI");
}
