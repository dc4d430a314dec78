//! One request to Engine.IO and its response: finds the session, and refuses bad requests before Engine.IO sees them.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use socketioxide::socket::Sid;
use tracing::debug;

use super::{
    engine::{NOOP, PING, RECORD_SEPARATOR, answered, body_of, is_close, is_pong, packets_in},
    engine_session::{EngineSession, EngineSessions, Posting},
    long_poll::{TEXT, carried},
    peer::Peer,
    websocket::WebsocketOffer,
};
use crate::gzip::takes_gzip;

/// The time that a client has to send the body of a POST.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Why a request is not passed on to Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownTransport,
    UnknownSession,
    HandshakeMethod,
    Method,
    ProtocolVersion,
    /// Clients are being sent away.
    Departing,
    TooManyStrangers,
    /// The websocket handshake is not valid by RFC 6455.
    BadHandshake,
    WebsocketVersion,
    SecondWebsocket,
    /// A websocket has taken over.
    Upgraded,
    /// A second POST, or one without a packet: the session ends.
    BadPost,
    TooLarge,
    TooSlow,
}

impl Refusal {
    /// The response, in the format of Engine.IO's own errors.
    pub(super) fn response(self) -> Response<Body> {
        let (status, code, message) = match self {
            Self::UnknownTransport => (StatusCode::BAD_REQUEST, 0, "Transport unknown"),
            Self::HandshakeMethod => (StatusCode::BAD_REQUEST, 2, "Bad handshake method"),
            Self::Method => (StatusCode::BAD_REQUEST, 3, "Bad request: a session is asked by GET and POST"),
            Self::ProtocolVersion => (StatusCode::BAD_REQUEST, 5, "Unsupported protocol version"),
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
            Self::Upgraded => (StatusCode::BAD_REQUEST, 3, "Bad request: the session goes on by websocket"),
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
pub(super) enum Exchange {
    /// A handshake by polling.
    Handshake {
        session: Arc<EngineSession>,
    },
    /// A handshake by websocket, or an upgrade.
    Websocket {
        session: Arc<EngineSession>,
        offer: WebsocketOffer,
    },
    Poll {
        session: Arc<EngineSession>,
        sid: Sid,
        /// The `t` of its query.
        t: Option<Box<str>>,
        takes_gzip: bool,
    },
    Post {
        session: Arc<EngineSession>,
        sid: Sid,
        posting: Posting,
    },
}

impl Exchange {
    /// Finds or begins the request's session. Cuts the session if a response was lost or a POST is not allowed.
    pub(super) fn begin<R>(sessions: &EngineSessions, request: &Request<R>) -> Result<Self, Refusal> {
        let (uri, headers, method) = (request.uri(), request.headers(), request.method());
        let is_websocket = match query(uri, "transport") {
            Some("websocket") => true,
            Some("polling") => false,
            _ => return Err(Refusal::UnknownTransport),
        };
        if query(uri, "EIO") != Some("4") {
            return Err(Refusal::ProtocolVersion);
        }
        let offer = is_websocket.then(|| WebsocketOffer::read(headers)).transpose()?;
        let Some(sid) = query(uri, "sid") else {
            if method != Method::GET {
                return Err(Refusal::HandshakeMethod);
            }
            if sessions.are_departing() {
                return Err(Refusal::Departing);
            }
            let session = sessions
                .begin(Peer::of(request.extensions()).address, !is_websocket)
                .ok_or(Refusal::TooManyStrangers)?;
            return Ok(match offer {
                None => Self::Handshake { session },
                Some(offer) => Self::Websocket { session, offer },
            });
        };
        let sid: Sid = sid.parse().map_err(|_| Refusal::UnknownSession)?;
        let session = sessions.find(sid).ok_or(Refusal::UnknownSession)?;
        if let Some(offer) = offer {
            if method != Method::GET {
                return Err(Refusal::Method);
            }
            // It would take over from the first.
            if !session.takes_websocket() {
                return Err(Refusal::SecondWebsocket);
            }
            return Ok(Self::Websocket { session, offer });
        }
        if session.has_upgraded() {
            return Err(Refusal::Upgraded);
        }
        match *method {
            Method::GET if session.repeats(query(uri, "t")) => {
                debug!(%sid, "a long-polling response was lost: the session is cut");
                session.tracker.cut();
                Err(Refusal::UnknownSession)
            }
            Method::GET => {
                let takes_gzip = sessions.compress() && takes_gzip(headers);
                Ok(Self::Poll { session, sid, t: query(uri, "t").map(Box::from), takes_gzip })
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
                    (None, Some(posting)) => Ok(Self::Post { session, sid, posting }),
                    (refusal, _) => {
                        session.tracker.cut();
                        Err(refusal.unwrap_or(Refusal::BadPost))
                    }
                }
            }
            _ => Err(Refusal::Method),
        }
    }

    /// Has Engine.IO answer the request, and notes what that does to the session.
    pub(super) async fn answer<R>(self, sessions: Arc<EngineSessions>, request: Request<R>) -> Response<Body>
    where
        R: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
    {
        let answer = match self {
            Self::Handshake { session } => {
                let handshake = sessions.handshake(&session, &request);
                let opened = sessions.open(&session, handshake).await.map_err(Refused::ByEngine);
                opened.map(|open| {
                    sessions.watch(&session);
                    text(open.text)
                })
            }
            Self::Websocket { session, offer } => Ok(offer.accept(sessions, session, request)),
            Self::Poll { session, sid, t, takes_gzip } => poll(&sessions, &session, sid, t, takes_gzip).await,
            Self::Post { session, sid, posting: _posting } => {
                let max_body = sessions.max_body_of(&session);
                let answered = post(&sessions, &session, sid, Limited::new(request.into_body(), max_body)).await;
                if matches!(answered, Err(Refused::By(_))) {
                    session.tracker.cut();
                }
                answered
            }
        };
        answer.unwrap_or_else(|refused| match refused {
            Refused::By(refusal) => refusal.response(),
            Refused::ByEngine(answer) => answer,
        })
    }
}

/// Who refused a request.
enum Refused {
    By(Refusal),
    ByEngine(Response<Body>),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::By(refusal)
    }
}

async fn poll(
    sessions: &EngineSessions,
    session: &Arc<EngineSession>,
    sid: Sid,
    t: Option<Box<str>>,
    takes_gzip: bool,
) -> Result<Response<Body>, Refused> {
    let waiting = session.polls();
    let packets = loop {
        // Engine.IO comes last: what it has ready is lost if it is asked and then not waited for.
        break tokio::select! {
            biased;
            packet = session.interrupted() => Bytes::from_static(packet.as_bytes()),
            // A waiting poll ends with its session.
            () = session.tracker.until_cut() => return Err(Refusal::UnknownSession.into()),
            answer = answered(sessions.engine.poll(sid)) => {
                if answer.status() != StatusCode::OK {
                    return Err(Refused::ByEngine(answer));
                }
                let packets = body_of(answer).unwrap_or_default();
                let others = without_pings(&packets);
                if others.is_empty() && !packets.is_empty() {
                    continue;
                }
                others
            }
        };
    };
    drop(waiting);
    session.answers(t);
    Ok(carried(packets, session.tracker.clone(), takes_gzip).await)
}

/// Engine.IO's own ping, with which each session begins, is not sent.
fn without_pings(packets: &Bytes) -> Bytes {
    let is_ping = |packet: &&[u8]| *packet == PING.as_bytes();
    if !packets_in(packets).any(|packet| is_ping(&packet)) {
        return packets.clone();
    }
    packets_in(packets).filter(|packet| !is_ping(packet)).collect::<Vec<_>>().join(&RECORD_SEPARATOR).into()
}

async fn post<R>(
    sessions: &EngineSessions,
    session: &Arc<EngineSession>,
    sid: Sid,
    body: Limited<R>,
) -> Result<Response<Body>, Refused>
where
    R: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + Unpin + 'static,
{
    let packets = tokio::select! {
        packets = body.collect() => match packets {
            Ok(packets) => packets.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge.into()),
            // The connection has failed.
            Err(_) => return Err(Refusal::BadPost.into()),
        },
        () = session.tracker.until_cut() => return Err(Refusal::UnknownSession.into()),
        () = tokio::time::sleep(BODY_WITHIN) => return Err(Refusal::TooSlow.into()),
    };
    let holds = |is: fn(&[u8]) -> bool| packets_in(&packets).any(is);
    let closes = holds(is_close);
    if holds(is_pong) {
        session.pong();
    }
    if closes {
        session.releases_polls(NOOP);
    }
    let answer = answered(sessions.engine.post(sid, packets)).await;
    if closes {
        // A websocket that is being probed ends, too.
        session.tracker.cut();
    }
    Ok(answer)
}

fn text(packet: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(packet.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

/// Returns a parameter of the query, without decoding it.
fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_own_pings_are_left_out() {
        let without = |packets: &'static str| without_pings(&Bytes::from_static(packets.as_bytes()));
        assert_eq!(without("40{}\u{1e}42[]"), "40{}\u{1e}42[]");
        assert_eq!(without("2\u{1e}40{}\u{1e}2\u{1e}42[2]"), "40{}\u{1e}42[2]");
        assert_eq!((without("2"), without("")), (Bytes::new(), Bytes::new()));
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
