//! The layer around the routes: it serves Socket.IO's path, and gives every session its delivery tracker.

use std::{
    convert::Infallible,
    future::ready,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use super::{
    connection::WritableQueues, door::Door, engine::Engine, engine_session::EngineSessions, exchange::Exchange,
    protective_headers::ProtectiveHeaders,
};
use crate::GatewaySettings;

pub(crate) const PATH: &str = "/socket.io/";

/// The layer around the routes. Clones share their sessions.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    sessions: Arc<EngineSessions>,
    over_tls: bool,
    door: Door,
}

impl Transport {
    /// Takes no new sessions once `departing` is cancelled.
    pub(crate) fn new(
        engine: Engine,
        writable_queues: WritableQueues,
        settings: &GatewaySettings,
        over_tls: bool,
        door: Door,
        departing: CancellationToken,
    ) -> Self {
        let sessions = Arc::new(EngineSessions::new(engine, writable_queues, settings, departing));
        Self { sessions, over_tls, door }
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
    R: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
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
        S: Service<Request<R>, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
        R: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        if !request.uri().path().starts_with(PATH) {
            let answer = self.inner.call(request);
            return Box::pin(async move { Ok(answer.await?.map(Body::new)) });
        }
        let sessions = self.transport.sessions.clone();
        match Exchange::begin(&sessions, &request) {
            Ok(exchange) => Box::pin(async move { Ok(exchange.answer(sessions, request).await) }),
            Err(refusal) => Box::pin(ready(Ok(refusal.response()))),
        }
    }
}
