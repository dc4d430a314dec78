//! A client that can send anything: requests over TCP, a websocket, and a session that uses both.

use std::{collections::VecDeque, time::Duration};

use futures::{FutureExt, SinkExt, StreamExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message},
};
use tokio_util::task::AbortOnDropHandle;

use crate::guest::TOKEN;

/// How long a prompt reaction of the gateway may take on a busy machine. It is less than the ten seconds after which a
/// session without a CONNECT is closed.
pub const PROMPTLY: Duration = Duration::from_secs(6);
/// A poll that is not answered within this time is pending.
const PENDING_AFTER: Duration = Duration::from_millis(400);
pub const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
pub const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const SEPARATOR: char = '\u{1e}';
/// A request that the gateway acknowledges in every state of a connection, with an error.
const QUESTION: &str = r#"42977["resync",{}]"#;
const ITS_ANSWER: &str = "43977[";

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Answer {
    pub fn packets(&self) -> Vec<&str> {
        self.body.split(SEPARATOR).collect()
    }
}

/// An HTTP connection.
pub struct Http(BufReader<TcpStream>);

impl Http {
    pub async fn connect(address: &str) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Ignores errors, since no answer will follow.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
    }

    pub async fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: gateway\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        self.write([head.as_bytes(), b"\r\n", body].concat()).await;
    }

    /// Reads the next response, or returns `None` if the connection ends without one.
    pub async fn answer(&mut self, method: &str) -> Option<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
        let headers = head.to_lowercase();
        let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = Vec::new();
        match length.map(|length| length.parse().unwrap()) {
            _ if method == "HEAD" || status == 101 => {}
            Some(length) => {
                body.resize(length, 0);
                self.0.read_exact(&mut body).await.ok()?;
            }
            None => drop(self.0.read_to_end(&mut body).await),
        }
        Some(Answer { status, headers, body: String::from_utf8(body).unwrap() })
    }
}

/// Sends one request on its own connection. The status is 0 if the connection ends without a response.
pub async fn ask(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut http = Http::connect(address).await;
    let headers = [headers, &[("connection", "close")]].concat();
    http.request(method, path, &headers, body).await;
    http.answer(method).await.unwrap_or(Answer { status: 0, headers: String::new(), body: String::new() })
}

pub struct Websocket(WebSocketStream<TcpStream>);

impl Websocket {
    /// Opens a websocket. Fails with the status if the gateway refuses by HTTP.
    pub async fn open(address: &str, path: &str) -> Result<Self, u16> {
        Self::open_over(TcpStream::connect(address).await.unwrap(), path).await
    }

    pub async fn upgrade(http: Http, path: &str) -> Self {
        assert_eq!(http.0.buffer(), b"", "bytes that belong to no answer");
        Self::open_over(http.0.into_inner(), path).await.unwrap()
    }

    async fn open_over(stream: TcpStream, path: &str) -> Result<Self, u16> {
        match client_async(format!("ws://gateway{path}"), stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Ignores errors, which show with the next packet.
    pub async fn send(&mut self, packet: impl Into<String>) {
        self.send_message(Message::text(packet.into())).await;
    }

    pub async fn send_message(&mut self, message: Message) {
        let _ = self.0.send(message).await;
    }

    /// Returns the next message, or `None` once the connection is closed.
    pub async fn message(&mut self) -> Option<Message> {
        self.0.next().await?.ok().filter(|message| !message.is_close())
    }

    /// Returns the next packet, including pings, or `None` once the connection is closed.
    pub async fn packet(&mut self) -> Option<String> {
        loop {
            match self.message().await? {
                Message::Text(text) => return Some(text.to_string()),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("the gateway speaks text, not {other:?}"),
            }
        }
    }

    /// Whether it is closed promptly, whatever comes before that.
    pub async fn is_closed(&mut self) -> bool {
        timeout(PROMPTLY, async { while self.message().await.is_some() {} }).await.is_ok()
    }

    /// Whether it is closed promptly, without any message before that.
    pub async fn is_refused(&mut self) -> bool {
        matches!(timeout(PROMPTLY, self.message()).await, Ok(None))
    }

    /// Drops the connection without a close frame.
    pub fn break_off(self) {}
}

/// Whether the gateway refuses a websocket with this path.
pub async fn refuses_websocket(address: &str, path: &str) -> bool {
    match Websocket::open(address, path).await {
        Ok(mut socket) => socket.is_refused().await,
        Err(status) => status == 400,
    }
}

/// An Engine.IO session: long polling, unless it has a websocket.
pub struct Session {
    pub address: String,
    pub sid: String,
    /// The payload of the open packet.
    pub opened: Value,
    pub socket: Option<Websocket>,
    received: VecDeque<String>,
    /// The poll that `next` waits for. It is kept if `next` is cancelled: its packets would be lost, and the next poll
    /// would be a second one at the same time.
    waiting: Option<AbortOnDropHandle<Answer>>,
}

impl Session {
    pub async fn by_polling(address: &str) -> Self {
        let answer = ask(address, "GET", POLLING, &[], b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Self::new(address, &answer.body, None)
    }

    pub async fn by_websocket(address: &str) -> Self {
        let mut socket = Websocket::open(address, WEBSOCKET).await.unwrap();
        let packet = timeout(PROMPTLY, socket.packet()).await.expect("an open packet comes").unwrap();
        Self::new(address, &packet, Some(socket))
    }

    /// Opens one session by each transport.
    pub async fn by_both(address: &str) -> [Self; 2] {
        [Self::by_polling(address).await, Self::by_websocket(address).await]
    }

    /// Opens one session by each transport; both are connected and follow no region.
    pub async fn connected_by_both(address: &str) -> [Self; 2] {
        let mut sessions = Self::by_both(address).await;
        for session in &mut sessions {
            session.connect(&quiet()).await;
        }
        sessions
    }

    fn new(address: &str, packet: &str, socket: Option<Websocket>) -> Self {
        let opened: Value = serde_json::from_str(packet.strip_prefix('0').expect("an open packet")).unwrap();
        let sid = opened["sid"].as_str().unwrap().to_owned();
        Self { address: address.to_owned(), sid, opened, socket, received: VecDeque::new(), waiting: None }
    }

    /// Its path for long polling.
    pub fn polling(&self) -> String {
        format!("{POLLING}&sid={}", self.sid)
    }

    /// Its path for the upgrade.
    pub fn websocket(&self) -> String {
        format!("{WEBSOCKET}&sid={}", self.sid)
    }

    pub fn poll(&self) -> BoxFuture<'static, Answer> {
        let (address, path) = (self.address.clone(), self.polling());
        async move { ask(&address, "GET", &path, &[], b"").await }.boxed()
    }

    pub fn post(&self, body: impl Into<Vec<u8>>) -> BoxFuture<'static, Answer> {
        self.post_as("text/plain;charset=UTF-8", body)
    }

    pub fn post_as(&self, content_type: &'static str, body: impl Into<Vec<u8>>) -> BoxFuture<'static, Answer> {
        let (address, path, body) = (self.address.clone(), self.polling(), body.into());
        async move { ask(&address, "POST", &path, &[("content-type", content_type)], &body).await }.boxed()
    }

    /// Polls until a poll is pending, and returns that.
    pub async fn pending_poll(&mut self) -> JoinHandle<Answer> {
        loop {
            let mut poll = tokio::spawn(self.poll());
            match timeout(PENDING_AFTER, &mut poll).await {
                Ok(answer) => self.receive(answer.unwrap()).await.expect("the session goes on"),
                Err(_) => return poll,
            }
        }
    }

    /// Queues the packets of a response and answers pings. Returns `None` if the session is over.
    async fn receive(&mut self, answer: Answer) -> Option<()> {
        if answer.status != 200 {
            return None;
        }
        let packets = answer.packets();
        let others = packets.iter().filter(|packet| !matches!(**packet, "" | "2" | "6"));
        self.received.extend(others.map(|packet| (*packet).to_owned()));
        if packets.contains(&"2") {
            self.post("3").await;
        }
        Some(())
    }

    /// Queues the packets of a poll that was started elsewhere.
    pub async fn receive_poll(&mut self, poll: JoinHandle<Answer>) {
        let answer = timeout(PROMPTLY, poll).await.expect("the poll is answered").unwrap();
        self.receive(answer).await.expect("the session goes on");
    }

    /// Sends a packet. Whether it was accepted shows in later packets.
    pub async fn send(&mut self, packet: impl Into<String>) {
        match &mut self.socket {
            Some(socket) => socket.send(packet).await,
            None => drop(self.post(packet.into()).await),
        }
    }

    /// Sends packets without a pause; by polling, in one body.
    pub async fn send_together(&mut self, packets: &[String]) {
        let Some(socket) = &mut self.socket else {
            assert_eq!(self.post(packets.join(&SEPARATOR.to_string())).await.status, 200);
            return;
        };
        for packet in packets {
            socket.send(packet).await;
        }
    }

    /// Returns the next packet that is no ping, or `None` once the session is over. Answers pings.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(packet) = self.received.pop_front() {
                return Some(packet);
            }
            if self.waiting.is_none()
                && let Some(socket) = &mut self.socket
            {
                match socket.packet().await?.as_str() {
                    "2" => socket.send("3").await,
                    packet => return Some(packet.to_owned()),
                }
                continue;
            }
            let poll = self.poll();
            let answer = self.waiting.get_or_insert_with(|| AbortOnDropHandle::new(tokio::spawn(poll))).await.unwrap();
            self.waiting = None;
            self.receive(answer).await?;
        }
    }

    /// Returns the next packet with this prefix and ignores others. Panics if there is none.
    pub async fn until(&mut self, begin: &str) -> String {
        let found = async {
            loop {
                match self.next().await {
                    Some(packet) if packet.starts_with(begin) => return Ok(packet),
                    Some(_) => {}
                    None => return Err("the session is over"),
                }
            }
        };
        match timeout(PROMPTLY, found).await {
            Ok(Ok(packet)) => packet,
            Ok(Err(error)) => panic!("{error}; waited for {begin}"),
            Err(_) => panic!("{begin} never came"),
        }
    }

    pub async fn connect(&mut self, auth: &Value) {
        self.send(format!("40{auth}")).await;
        self.until("40").await;
    }

    /// Whether it is closed promptly.
    pub async fn is_closed(&mut self) -> bool {
        timeout(PROMPTLY, async { while self.next().await.is_some() {} }).await.is_ok()
    }

    /// Whether a connected session still answers requests.
    pub async fn answers(&mut self) -> bool {
        self.send(QUESTION).await;
        let answered = async {
            while let Some(packet) = self.next().await {
                if packet.starts_with(ITS_ANSWER) {
                    return true;
                }
            }
            false
        };
        timeout(PROMPTLY, answered).await.unwrap_or(false)
    }

    /// Whether the session still answers, even if it is not connected: it refuses another namespace.
    pub async fn refuses_a_namespace(&mut self) -> bool {
        self.send("40/alive,").await;
        let answered = async {
            while let Some(packet) = self.next().await {
                if packet.starts_with("44/alive,") {
                    return true;
                }
            }
            false
        };
        timeout(PROMPTLY, answered).await.unwrap_or(false)
    }

    /// Opens a websocket and probes it.
    pub async fn probe(&self) -> Websocket {
        let mut socket = Websocket::open(&self.address, &self.websocket()).await.unwrap();
        socket.send("2probe").await;
        let packet = timeout(PROMPTLY, socket.packet()).await.expect("the probe is answered");
        assert_eq!(packet.as_deref(), Some("3probe"));
        socket
    }

    /// Upgrades in the order of the specification.
    pub async fn upgrade(&mut self) {
        let mut socket = self.probe().await;
        socket.send("5").await;
        self.socket = Some(socket);
    }
}

/// The `auth` of a client that follows no region.
pub fn quiet() -> Value {
    json!({ "token": TOKEN, "regions": [] })
}
