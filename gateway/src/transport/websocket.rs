//! A client's websocket. To Engine.IO its session polls: each message is posted, and what Engine.IO has for the client
//! is polled and written.

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socketioxide::socket::Sid;
use tokio::{
    runtime::Handle,
    time::{Instant, Sleep},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tracing::debug;

use super::{
    connection::{Connection, Frame, Wire},
    engine::{Answering, CLOSE, Engine, NOOP, OpenPacket, PING, RECORD_SEPARATOR, body_of, is_pong, packets_in},
    engine_session::{EngineSession, EngineSessions},
    exchange::Refusal,
    heartbeat::{Beat, Heartbeat},
    peer::Peer,
};

/// Bytes of a websocket's read buffer: clients send little, and the connection reads ahead.
const READ_BUFFER: usize = 64;
/// A websocket that is probed must take over within this time.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);
/// How long a client has to take what was sent before its websocket is closed.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
const PROBE: &str = "2probe";
const PROBED: &str = "3probe";
const UPGRADE: &str = "5";
/// Socket.IO's CONNECT, and the answer to it.
const CONNECT: &[u8] = b"40";

/// A valid handshake of a websocket.
pub(super) struct WebsocketOffer {
    key: HeaderValue,
    /// The answer to an offer of compression.
    compression: Option<&'static str>,
}

impl WebsocketOffer {
    /// Fails unless the headers are a valid websocket handshake by RFC 6455.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let has = |name: header::HeaderName, token: &str| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|it| it.trim().eq_ignore_ascii_case(token))
        };
        let key = headers.get(header::SEC_WEBSOCKET_KEY);
        let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
        let (Some(key), true, true) = (key, has(header::CONNECTION, "upgrade"), has(header::UPGRADE, "websocket"))
        else {
            return Err(Refusal::BadHandshake);
        };
        if !has(header::SEC_WEBSOCKET_VERSION, "13") {
            return Err(Refusal::WebsocketVersion);
        }
        let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
        let compression = deflate::answer_to(offers.filter_map(|offer| offer.to_str().ok()));
        Ok(Self { key: key.clone(), compression })
    }

    /// Answers the handshake, and serves the websocket that begins then.
    pub(super) fn accept<R>(
        self,
        sessions: Arc<EngineSessions>,
        session: Arc<EngineSession>,
        mut request: Request<R>,
    ) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let accept = derive_accept_key(self.key.as_bytes());
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.try_into().expect("it is base64"));
        let peer = Peer::of(request.extensions()).connection.clone();
        if let Some(compression) = self.compression.filter(|_| sessions.compress())
            && let Some(connection) = peer.upgrade()
        {
            connection.compresses(sessions.terms.max_payload);
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(compression));
        }
        session.tracker.opened(&peer);
        let upgraded = hyper::upgrade::on(&mut request);
        let handshake = session.tracker.sid().is_none().then(|| sessions.handshake(&session, &request));
        let serving = async move {
            let unread = match upgraded.await {
                Ok(upgraded) => Unread::of(upgraded),
                Err(error) => {
                    debug!(%error, "a websocket did not come about");
                    return session.goes_on_polling();
                }
            };
            // A session is opened only now, so that its memory is in the place of hyper's buffers.
            let opened = match handshake {
                Some(handshake) => sessions.open(&session, handshake).await.ok(),
                None => None,
            };
            // Without an id, Engine.IO has refused to open it.
            if let Some(sid) = session.tracker.sid() {
                // A task of its own, which has only the memory that it needs.
                tokio::spawn(Websocket::begin(unread, &sessions, session, sid, opened).await);
            }
        };
        tokio::spawn(serving);
        response
    }
}

/// A connection that was upgraded, and what hyper had read of it.
struct Unread {
    wire: Wire,
    bytes: Vec<u8>,
}

impl Unread {
    fn of(upgraded: Upgraded) -> Self {
        let parts = upgraded.downcast::<TokioIo<Wire>>().expect("the listener serves wires");
        // A copy: hyper's buffer is large.
        Self { wire: parts.io.into_inner(), bytes: parts.read_buf.to_vec() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// An upgrade that has to be probed.
    New,
    /// The client may finish its last poll, and then upgrade.
    Probed,
    Open,
    /// What is left is sent, and the websocket is closed.
    Ending,
    /// The client may read what was sent, and close its side.
    Closed,
}

struct Websocket {
    stream: WebSocketStream<Wire>,
    session: Arc<EngineSession>,
    engine: Engine,
    sid: Sid,
    phase: Phase,
    /// Only while Engine.IO has or will have something for the client, since it takes a kilobyte.
    polling: Option<Box<Answering>>,
    /// Whether Engine.IO must be asked at least once.
    asks: bool,
    /// Whether the client is to be let in, or disconnected if that takes too long.
    connects: bool,
    outgoing: VecDeque<Frame>,
    heartbeat: Heartbeat,
    /// When the client is pinged or lost, or a phase has taken too long.
    timer: Pin<Box<Sleep>>,
}

impl Websocket {
    async fn begin(
        unread: Unread,
        sessions: &EngineSessions,
        session: Arc<EngineSession>,
        sid: Sid,
        opened: Option<OpenPacket>,
    ) -> Self {
        let terms = sessions.terms;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(terms.max_payload))
            .max_frame_size(Some(terms.max_payload));
        let stream = WebSocketStream::from_partially_read(unread.wire, unread.bytes, Role::Server, Some(config)).await;
        let now = Instant::now();
        let mut this = Self {
            stream,
            engine: sessions.engine.clone(),
            sid,
            phase: Phase::New,
            polling: None,
            asks: true,
            connects: session.tracker.is_strange(),
            session,
            outgoing: VecDeque::new(),
            heartbeat: Heartbeat::begin(terms.heartbeat, now),
            timer: Box::pin(tokio::time::sleep_until(now + UPGRADE_WITHIN)),
        };
        if let Some(opened) = opened {
            this.write(opened.text.as_bytes());
            this.open();
        }
        this
    }

    fn connection(&self) -> &Arc<Connection> {
        self.stream.get_ref().connection()
    }

    /// From now on, all that the session's client gets comes by this websocket.
    fn open(&mut self) {
        self.session.is_upgraded();
        self.session.tracker.is_carried_by(self.connection());
        self.phase = Phase::Open;
        self.timer.as_mut().reset(self.heartbeat.due_at());
    }

    fn write(&mut self, packet: &[u8]) {
        self.outgoing.push_back(Frame::text(packet));
    }

    /// Ends the session, and closes the websocket when everything has been written.
    fn end(&mut self) {
        self.engine.close(self.sid);
        self.polling = None;
        self.phase = Phase::Ending;
        self.timer.as_mut().reset(Instant::now() + CLOSE_WITHIN);
    }

    /// Breaks if the client doesn't upgrade as it should.
    fn receive(&mut self, message: Message) -> ControlFlow<()> {
        match (self.phase, message) {
            (Phase::Ending | Phase::Closed, _)
            | (_, Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {}
            (Phase::New, Message::Text(packet)) if packet == PROBE => {
                self.write(PROBED.as_bytes());
                self.session.releases_polls(NOOP);
                self.phase = Phase::Probed;
            }
            (Phase::Probed, Message::Text(packet)) if packet == UPGRADE => self.open(),
            (Phase::New | Phase::Probed, _) => return ControlFlow::Break(()),
            (Phase::Open, Message::Text(packet)) if is_pong(packet.as_bytes()) => {
                self.heartbeat.pong();
                self.timer.as_mut().reset(self.heartbeat.due_at());
            }
            (Phase::Open, Message::Text(packet)) => self.post(packet.into()),
            (Phase::Open, Message::Binary(data)) => self.post(format!("b{}", STANDARD.encode(data)).into()),
        }
        ControlFlow::Continue(())
    }

    fn post(&mut self, packet: Bytes) {
        self.asks = true;
        self.connects |= packet.starts_with(CONNECT);
        // A message is one packet.
        if packet.is_empty() || packet.contains(&RECORD_SEPARATOR) || !self.engine.post_at_once(self.sid, packet) {
            self.end();
        }
    }

    /// Queues what Engine.IO has for the client.
    fn forward(&mut self, packets: Option<Bytes>) {
        // Nothing means that the session is over.
        let Some(packets) = packets.filter(|packets| !packets.is_empty()) else { return self.end() };
        for packet in packets_in(&packets) {
            if packet == PING.as_bytes() || packet == NOOP.as_bytes() {
                continue;
            }
            self.connects &= !packet.starts_with(CONNECT);
            match packet.strip_prefix(b"b") {
                Some(base64) => {
                    let data = STANDARD.decode(base64).expect("Engine.IO encodes binary packets");
                    self.outgoing.push_back(Frame::binary(&data));
                }
                None => self.write(packet),
            }
            if packet == CLOSE.as_bytes() {
                self.end();
            }
        }
    }

    /// Writes what is queued. When the network has accepted it, polls for more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.phase != Phase::Closed {
                ready!(self.stream.get_ref().connection().poll_write_frames(&mut self.outgoing, cx))?;
            }
            match self.phase {
                Phase::New | Phase::Probed => return Poll::Pending,
                Phase::Open => {
                    let expects = self.connects || !self.session.tracker.has_taken_all();
                    if !expects && !self.asks {
                        // The tracker wakes this task when there is something.
                        return Poll::Pending;
                    }
                    ready!(self.session.poll_released(cx));
                    self.asks = false;
                    let mut polling = self.polling.take().unwrap_or_else(|| Box::new(self.engine.poll(self.sid)));
                    let Poll::Ready(Ok(answer)) = polling.poll_unpin(cx) else {
                        self.polling = expects.then_some(polling);
                        return Poll::Pending;
                    };
                    self.asks = true;
                    self.forward(body_of(answer));
                }
                Phase::Ending => {
                    ready!(self.stream.poll_close_unpin(cx)).map_err(io::Error::other)?;
                    self.phase = Phase::Closed;
                }
                // If it were dropped while something from the client is unread, the kernel would throw away what the
                // client has not read.
                Phase::Closed => return Poll::Pending,
            }
        }
    }

    /// Does what is due. Breaks if the websocket is over.
    fn beat(&mut self) -> ControlFlow<()> {
        if self.phase != Phase::Open {
            return ControlFlow::Break(());
        }
        match self.heartbeat.beat(Instant::now()) {
            Some(Beat::Ping) => {
                self.write(PING.as_bytes());
                self.asks = true;
                // Not every CONNECT of a client that is in gets an answer.
                self.connects &= self.session.tracker.is_strange();
            }
            Some(Beat::Lost) => {
                debug!(sid = %self.sid, "a client doesn't answer a ping: its websocket is closed");
                self.end();
                return ControlFlow::Continue(());
            }
            None => {}
        }
        self.timer.as_mut().reset(self.heartbeat.due_at());
        ControlFlow::Continue(())
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<()>> {
        if let Poll::Ready(message) = self.stream.poll_next_unpin(cx) {
            let Some(Ok(message)) = message else { return Poll::Ready(ControlFlow::Break(())) };
            return Poll::Ready(self.receive(message));
        }
        // Only if it failed, or is closed.
        if self.poll_send(cx).is_ready() {
            return Poll::Ready(ControlFlow::Break(()));
        }
        self.timer.poll_unpin(cx).map(|()| self.beat())
    }
}

impl Future for Websocket {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while ready!(self.poll_once(cx)).is_continue() {}
        Poll::Ready(())
    }
}

impl Drop for Websocket {
    fn drop(&mut self) {
        match self.phase {
            Phase::New | Phase::Probed => self.session.goes_on_polling(),
            // There may be no runtime any more while the process ends.
            _ if Handle::try_current().is_ok() => self.engine.close(self.sid),
            _ => {}
        }
    }
}
