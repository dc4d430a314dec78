//! One peer, from its connection to its end.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout},
};

use super::{
    kind::Kind,
    wire::{POLLING, get, part, post, read_until, text, until_end, upgrade},
};

/// A peer that lives this long past its limit counts as not cut.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long harmless peers stay.
pub(super) const STAY: Duration = Duration::from_secs(25);
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// After its limit, a peer that reads nothing has this long to read the data in flight up to the connection's end.
const DRAIN_WITHIN: Duration = Duration::from_secs(15);
/// Receive buffer for that. With a smaller one, the data in flight would arrive too slowly.
const DRAIN_BUFFER: usize = 1 << 20;
/// Receive buffer of a peer that reads nothing; the kernel raises it to its minimum.
const SMALL_BUFFER: u32 = 4_096;
/// Just below the size that is refused immediately.
const LARGE_HEAD: usize = 8_000;
/// Maximum duration of what happens before the peer's time begins.
const BEGIN_WITHIN: Duration = Duration::from_secs(15);
const SESSIONS_EACH: usize = 5;
const REQUESTS_EACH: usize = 100;
/// Together just below the limit for a client that has not signed in. The small parts then exceed it slowly.
const LARGE_PARTS: [usize; 3] = [1_300; 3];
const SMALL_PART: usize = 50;
const SMALL_PARTS_EVERY: Duration = Duration::from_secs(3);

/// How a peer ended, with its lifetime in microseconds. The lifetime starts when the peer has connected, or when it has
/// opened the session or websocket that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It could not connect.
    NeverCame,
    /// It was refused, or disconnected within half of its limit.
    Refused(u64),
    /// It was disconnected later.
    Cut(u64),
    /// It is still connected, which only a harmless peer may be.
    Stays,
}

/// A peer to run.
#[derive(Clone, Debug)]
pub struct Peer {
    pub kind: Kind,
    pub from: Ipv4Addr,
    pub to: SocketAddr,
    /// The `auth` data of Socket.IO, for peers that sign in.
    pub auth: std::rc::Rc<str>,
    pub number: usize,
}

/// How a peer's actions ended.
enum ActResult {
    Refused,
    Ended,
    /// Still connected when the time was up.
    Nothing,
}

/// Runs a peer to its end.
pub async fn live(peer: Peer) -> End {
    let Ok(Ok(mut stream)) = timeout(CONNECT_WITHIN, connect(&peer)).await else { return End::NeverCame };
    let mut began = Instant::now();
    let limit = peer.kind.limit();
    let longest = limit.map_or(STAY, |limit| BEGIN_WITHIN + limit + GRACE + DRAIN_WITHIN + GRACE);
    // An error also means that the connection has ended.
    let result = match timeout(longest, act(&peer, &mut stream, &mut began)).await {
        Ok(result) => result.unwrap_or(ActResult::Ended),
        Err(_) => ActResult::Nothing,
    };
    let lived = began.elapsed();
    let micros = u64::try_from(lived.as_micros()).unwrap_or(u64::MAX);
    match result {
        ActResult::Nothing => End::Stays,
        ActResult::Refused => End::Refused(micros),
        ActResult::Ended if limit.is_none_or(|limit| lived < limit / 2) => End::Refused(micros),
        // A peer that reads nothing notices its end only after the limit.
        ActResult::Ended => End::Cut(micros),
    }
}

async fn connect(peer: &Peer) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if peer.kind.looks_late() {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    socket.bind((peer.from, 0).into())?;
    socket.connect(peer.to).await
}

async fn act(peer: &Peer, stream: &mut TcpStream, began: &mut Instant) -> io::Result<ActResult> {
    match peer.kind {
        Kind::Harmless => return harmless(peer, stream).await,
        Kind::NoSignIn | Kind::Fragments | Kind::Tokens if !upgrade(stream).await? => return Ok(ActResult::Refused),
        Kind::NoSignIn | Kind::Fragments | Kind::Tokens => *began = Instant::now(),
        _ => {}
    }
    match peer.kind {
        Kind::Harmless | Kind::Silent | Kind::NoSignIn => {}
        Kind::SlowHead => return Ok(meanwhile(stream, slow_head).await),
        Kind::LargeHead => {
            stream.write_all(get(&"x".repeat(LARGE_HEAD)).trim_end().as_bytes()).await?;
        }
        Kind::NoBody => {
            let Some(path) = begin(stream).await? else { return Ok(ActResult::Refused) };
            *began = Instant::now();
            stream.write_all(post(&path, "text/plain", 1_000, "40").as_bytes()).await?;
        }
        Kind::Handshakes => return handshakes(stream, began).await,
        Kind::Fragments => return Ok(meanwhile(stream, fragments).await),
        Kind::Tokens => {
            let token = format!("tb_{:043}", peer.number);
            stream.write_all(&text(&format!(r#"40{{"token":"{token}"}}"#))).await?;
        }
        Kind::Unread => {
            // The connection may end before everything is written.
            let _ = timeout(GRACE, stream.write_all(get("/api/openapi.json").repeat(REQUESTS_EACH).as_bytes())).await;
            return Ok(look_late(peer.kind, stream).await);
        }
        Kind::Passwords => {
            let body = format!(r#"{{"name":"nobody-{}","password":"not the right one"}}"#, peer.number);
            stream.write_all(post("/api/login", "application/json", body.len(), &body).as_bytes()).await?;
            let answer = read_until(stream, "\r\n\r\n").await?;
            return Ok(if answer.starts_with("HTTP/1.1 200") { ActResult::Nothing } else { ActResult::Refused });
        }
        Kind::Askers => {
            if !sign_in(peer, stream).await? {
                return Ok(ActResult::Refused);
            }
            let asks: Vec<u8> =
                (0..REQUESTS_EACH).flat_map(|n| text(&format!(r#"42{n}["resync",{{"region":"uk"}}]"#))).collect();
            let _ = timeout(GRACE, stream.write_all(&asks)).await;
            return Ok(look_late(peer.kind, stream).await);
        }
    }
    until_end(stream).await;
    Ok(ActResult::Ended)
}

/// Opens a websocket, signs in, and returns whether that was accepted.
async fn sign_in(peer: &Peer, stream: &mut TcpStream) -> io::Result<bool> {
    if !upgrade(stream).await? {
        return Ok(false);
    }
    stream.write_all(&text(&format!("40{}", peer.auth))).await?;
    Ok(read_until(stream, "40{").await.is_ok())
}

async fn harmless(peer: &Peer, stream: &mut TcpStream) -> io::Result<ActResult> {
    if !sign_in(peer, stream).await? {
        return Ok(ActResult::Refused);
    }
    let mut buffer = [0; 2_048];
    while stream.read(&mut buffer).await? > 0 {
        // Any packet may be a ping, and an extra pong does no harm.
        stream.write_all(&text("3")).await?;
    }
    Ok(ActResult::Ended)
}

/// Opens a session by long polling and returns its path, or `None` if it was refused.
async fn begin(stream: &mut TcpStream) -> io::Result<Option<String>> {
    stream.write_all(get(POLLING).as_bytes()).await?;
    let answer = read_until(stream, "}").await?;
    let sid = answer.split(r#""sid":""#).nth(1).and_then(|rest| rest.split('"').next());
    Ok(sid.map(|sid| format!("{POLLING}&sid={sid}")))
}

/// Opens several sessions and waits, with a poll, until the last of them ends.
async fn handshakes(stream: &mut TcpStream, began: &mut Instant) -> io::Result<ActResult> {
    let mut last = None;
    for _ in 0..SESSIONS_EACH {
        let Some(path) = begin(stream).await? else { break };
        *began = Instant::now();
        last = Some(path);
    }
    let Some(path) = last else { return Ok(ActResult::Refused) };
    stream.write_all(get(&path).as_bytes()).await?;
    // The first ping comes later than the limit, so any response is the session's end.
    read_until(stream, "\r\n\r\n").await?;
    Ok(ActResult::Ended)
}

/// Sends until the connection ends. Also reads, to notice the end.
async fn meanwhile<W>(stream: &mut TcpStream, send: W) -> ActResult
where
    W: AsyncFnOnce(&mut tokio::net::tcp::WriteHalf<'_>) -> io::Result<()>,
{
    let (mut read, mut write) = stream.split();
    let mut nowhere = tokio::io::sink();
    tokio::select! {
        _ = tokio::io::copy(&mut read, &mut nowhere) => {}
        _ = send(&mut write) => {}
    }
    ActResult::Ended
}

async fn slow_head(stream: &mut tokio::net::tcp::WriteHalf<'_>) -> io::Result<()> {
    for byte in get(&format!("/{}", "x".repeat(1_000))).as_bytes().chunks(1) {
        stream.write_all(byte).await?;
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn fragments(stream: &mut tokio::net::tcp::WriteHalf<'_>) -> io::Result<()> {
    for (n, bytes) in LARGE_PARTS.into_iter().enumerate() {
        stream.write_all(&part(bytes, n == 0)).await?;
    }
    loop {
        sleep(SMALL_PARTS_EVERY).await;
        stream.write_all(&part(SMALL_PART, false)).await?;
    }
}

/// Reads nothing until the limit has passed, then reads the data in flight to learn whether the connection was closed.
async fn look_late(kind: Kind, stream: &mut TcpStream) -> ActResult {
    sleep(kind.limit().unwrap_or(STAY) + GRACE).await;
    // Only an optimisation: with the old buffer, reading takes longer.
    let _ = socket2::SockRef::from(&*stream).set_recv_buffer_size(DRAIN_BUFFER);
    match timeout(DRAIN_WITHIN, until_end(stream)).await {
        // A peer that received nothing at all was refused.
        Ok(0) => ActResult::Refused,
        Ok(_) => ActResult::Ended,
        Err(_) => ActResult::Nothing,
    }
}
