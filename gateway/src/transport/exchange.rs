//! One request to Engine.IO and its response: finds the session, and refuses bad requests before Engine.IO sees them.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use tracing::debug;

use super::{
    engine_session::{EngineSession, EngineSessions, Posting},
    long_poll::{Carried, zipped},
    open_packet::OpenPacket,
    peer::Peer,
};
use crate::gzip::takes_gzip;

/// The time that a client has to send the body of a POST.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Why a request is not passed on to Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownSession,
    /// Clients are being sent away.
    Departing,
    TooManyStrangers,
    /// The websocket handshake is not valid by RFC 6455.
    BadHandshake,
    WebsocketVersion,
    SecondWebsocket,
    /// A second POST, or one without a packet: the session ends.
    BadPost,
    TooLarge,
    TooSlow,
}

impl Refusal {
    /// The response, in the format of Engine.IO's own errors.
    pub(super) fn response(self) -> Response<Body> {
        let (status, code, message) = match self {
            Self::UnknownSession => (StatusCode::BAD_REQUEST, 1, "Session ID unknown"),
            Self::Departing => {
                (StatusCode::SERVICE_UNAVAILABLE, 3, "this gateway is about to stop; connect again, to another one")
            }
            Self::TooManyStrangers => {
                (StatusCode::SERVICE_UNAVAILABLE, 3, "too many connections that have not signed in; try again later")
            }
            Self::BadHandshake => (StatusCode::BAD_REQUEST, 3, "Bad request: not a websocket handshake"),
            Self::WebsocketVersion => (StatusCode::UPGRADE_REQUIRED, 3, "Bad request: websocket version must be 13"),
            Self::SecondWebsocket => (StatusCode::BAD_REQUEST, 3, "Bad request: the session already has a websocket"),
            Self::BadPost => (StatusCode::BAD_REQUEST, 3, "Bad request: send one POST at a time, with a packet"),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                3,
                "Bad request: the body is larger than maxPayload, or than 4096 before sign-in",
            ),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, 3, "Bad request: the body was not received in time"),
        };
        let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self == Self::Departing {
            // A proxy that kept this connection makes a new one for the next request, to another gateway.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self == Self::TooManyStrangers {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if self == Self::WebsocketVersion {
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

/// A request to Engine.IO that is not answered yet.
pub(super) struct Exchange {
    pub(super) session: Arc<EngineSession>,
    kind: Kind,
    peer: Peer,
    /// The answer to an offer of compression on a websocket.
    compression: Option<&'static str>,
}

enum Kind {
    /// A handshake by either transport.
    Handshake,
    Poll {
        /// The `t` of its query.
        t: Option<Box<str>>,
        takes_gzip: bool,
    },
    Post {
        _posting: Posting,
    },
    /// An upgrade to a websocket, or a request that Engine.IO refuses.
    Other,
}

impl Exchange {
    /// Finds or begins the request's session. Cuts the session if a response was lost or a POST is not allowed.
    pub(super) fn begin<R>(sessions: &EngineSessions, request: &Request<R>) -> Result<Self, Refusal> {
        let (uri, headers) = (request.uri(), request.headers());
        let mut compression = None;
        if query(uri, "transport") == Some("websocket") {
            check_websocket(headers)?;
            let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
            compression = deflate::answer_to(offers.filter_map(|offer| offer.to_str().ok()));
        }
        let compression = compression.filter(|_| sessions.compress());
        let peer = request.extensions().get::<Peer>().expect("the listener adds the peer").clone();
        let Some(sid) = query(uri, "sid") else {
            if sessions.are_departing() {
                return Err(Refusal::Departing);
            }
            let session = sessions.begin(peer.address).ok_or(Refusal::TooManyStrangers)?;
            return Ok(Self { session, kind: Kind::Handshake, peer, compression });
        };
        let session = sid.parse().ok().and_then(|sid| sessions.find(sid)).ok_or(Refusal::UnknownSession)?;
        let kind = match *request.method() {
            // Engine.IO would accept it, and it would take over from the first.
            _ if query(uri, "transport") == Some("websocket") && session.tracker.has_websocket() => {
                return Err(Refusal::SecondWebsocket);
            }
            _ if query(uri, "transport") != Some("polling") => Kind::Other,
            Method::GET if session.repeats(query(uri, "t")) => {
                debug!(sid, "a long-polling response was lost: the session is cut");
                session.tracker.cut();
                return Err(Refusal::UnknownSession);
            }
            Method::GET => {
                Kind::Poll { t: query(uri, "t").map(Box::from), takes_gzip: sessions.compress() && takes_gzip(headers) }
            }
            Method::POST => {
                let length = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
                let posting = session.posts();
                let refusal = match (&posting, length) {
                    (None, _) | (_, Some(0)) => Some(Refusal::BadPost),
                    (_, Some(length)) if length > sessions.max_body_of(&session) => Some(Refusal::TooLarge),
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
        Ok(Self { session, kind, peer, compression })
    }

    /// Waits for Engine.IO's response and notes what it does to the session. Cuts the session if a POST takes too long.
    pub(super) async fn finish<B>(
        self,
        answer: impl Future<Output = Result<Response<B>, Infallible>>,
        max_body: usize,
    ) -> Result<Response<Body>, Infallible>
    where
        B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
    {
        let Self { session, kind, peer, compression } = self;
        let body_timeout = async {
            match &kind {
                Kind::Post { .. } => tokio::time::sleep(BODY_WITHIN).await,
                _ => std::future::pending().await,
            }
        };
        let mut answer = tokio::select! {
            answer = answer => answer?,
            // A waiting poll ends with its session.
            () = session.tracker.until_cut() => return Ok(Refusal::UnknownSession.response()),
            () = body_timeout => {
                session.tracker.cut();
                return Ok(Refusal::TooSlow.response());
            }
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            if let Some((compression, connection)) = compression.zip(peer.connection.upgrade()) {
                connection.compresses(max_body);
                let value = HeaderValue::from_static(compression);
                answer.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, value);
            }
            if let (Kind::Handshake, Some(connection)) = (&kind, peer.connection.upgrade()) {
                connection.opens_session(max_body);
            }
            session.tracker.opened(&peer.connection);
            return Ok(answer.map(Body::new));
        }
        Ok(match kind {
            Kind::Handshake => finish_handshake(&session, answer, max_body).await,
            Kind::Poll { t, takes_gzip } if answer.status() == StatusCode::OK => {
                session.answers(t);
                let answer = answer.map(|body| Carried::new(body, session.tracker.clone()));
                if takes_gzip { zipped(answer).await } else { answer.map(Body::new) }
            }
            Kind::Poll { .. } | Kind::Post { .. } | Kind::Other => answer.map(Body::new),
        })
    }
}

/// Fails unless the headers are a valid websocket handshake by RFC 6455. Engine.IO checks for a key only.
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

/// Reads the session's id from the response to its handshake by polling, and sets its limit on messages.
async fn finish_handshake<B>(session: &Arc<EngineSession>, answer: Response<B>, max_body: usize) -> Response<Body>
where
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let (mut head, body) = answer.into_parts();
    let Ok(body) = body.collect().await else { return Refusal::UnknownSession.response() };
    let body = body.to_bytes();
    let Some(open) = OpenPacket::limited(&body, max_body) else { return Response::from_parts(head, Body::from(body)) };
    if let Some(sid) = open.sid {
        session.is_named(sid);
    }
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(open.text))
}

/// Returns a parameter of the query, without decoding it.
fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

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
