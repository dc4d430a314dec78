//! One peer from its connection to its end.

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

/// Who has lived for so long past its limit is taken for one that nobody cuts.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long harmless ones stay.
pub(super) const STAY: Duration = Duration::from_secs(25);
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// What is still under way to who reads nothing is read within this, if it has an end.
const DRAIN_WITHIN: Duration = Duration::from_secs(15);
/// With a window as wide as this, or all that is under way would come in small parts.
const DRAIN_BUFFER: usize = 1 << 20;
/// Of who reads nothing, the smallest that the kernel allows.
const SMALL_BUFFER: u32 = 4_096;
/// Just below what is refused at once.
const LARGE_HEAD: usize = 8_000;
/// What comes before its time begins takes at most this.
const BEGIN_WITHIN: Duration = Duration::from_secs(15);
const SESSIONS_EACH: usize = 5;
const REQUESTS_EACH: usize = 100;
/// Together just below what a stranger may send, and then slowly beyond it.
const LARGE_PARTS: [usize; 3] = [1_300; 3];
const SMALL_PART: usize = 50;
const SMALL_PARTS_EVERY: Duration = Duration::from_secs(3);

/// How one ended, and how many microseconds after its time began: when it was connected, or what it holds was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Couldn't connect.
    NeverCame,
    /// Was told no, or hung up on before half its time was over.
    Refused(u64),
    Cut(u64),
    /// Lives on, though it ought not to; or may, being harmless.
    Stays,
}

#[derive(Clone, Debug)]
pub struct Peer {
    pub kind: Kind,
    pub from: Ipv4Addr,
    pub to: SocketAddr,
    /// What Socket.IO is told by those who may sign in.
    pub auth: std::rc::Rc<str>,
    pub number: usize,
}

/// How its doings came out.
enum Came {
    Refused,
    Ended,
    /// Still connected when all time was over.
    Nothing,
}

pub async fn live(peer: Peer) -> End {
    let Ok(Ok(mut stream)) = timeout(CONNECT_WITHIN, connect(&peer)).await else { return End::NeverCame };
    let mut began = Instant::now();
    let limit = peer.kind.limit();
    let longest = limit.map_or(STAY, |limit| BEGIN_WITHIN + limit + GRACE + DRAIN_WITHIN + GRACE);
    // An error is the connection's end.
    let came = match timeout(longest, act(&peer, &mut stream, &mut began)).await {
        Ok(came) => came.unwrap_or(Came::Ended),
        Err(_) => Came::Nothing,
    };
    let lived = began.elapsed();
    let micros = u64::try_from(lived.as_micros()).unwrap_or(u64::MAX);
    match came {
        Came::Nothing => End::Stays,
        Came::Refused => End::Refused(micros),
        Came::Ended if limit.is_none_or(|limit| lived < limit / 2) => End::Refused(micros),
        // Who reads nothing sees its end only when it looks, after the limit.
        Came::Ended => End::Cut(micros),
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

async fn act(peer: &Peer, stream: &mut TcpStream, began: &mut Instant) -> io::Result<Came> {
    match peer.kind {
        Kind::Harmless => return harmless(peer, stream).await,
        Kind::NoSignIn | Kind::Fragments | Kind::Tokens if !upgrade(stream).await? => return Ok(Came::Refused),
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
            let Some(path) = begin(stream).await? else { return Ok(Came::Refused) };
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
            // It may be cut before all is written.
            let _ = timeout(GRACE, stream.write_all(get("/api/openapi.json").repeat(REQUESTS_EACH).as_bytes())).await;
            return Ok(look_late(peer.kind, stream).await);
        }
        Kind::Passwords => {
            let body = format!(r#"{{"name":"nobody-{}","password":"not the right one"}}"#, peer.number);
            stream.write_all(post("/api/login", "application/json", body.len(), &body).as_bytes()).await?;
            let answer = read_until(stream, "\r\n\r\n").await?;
            return Ok(if answer.starts_with("HTTP/1.1 200") { Came::Nothing } else { Came::Refused });
        }
        Kind::Askers => {
            if !sign_in(peer, stream).await? {
                return Ok(Came::Refused);
            }
            let asks: Vec<u8> =
                (0..REQUESTS_EACH).flat_map(|n| text(&format!(r#"42{n}["resync",{{"region":"uk"}}]"#))).collect();
            let _ = timeout(GRACE, stream.write_all(&asks)).await;
            return Ok(look_late(peer.kind, stream).await);
        }
    }
    until_end(stream).await;
    Ok(Came::Ended)
}

/// Opens a websocket and signs in. Whether it was let in.
async fn sign_in(peer: &Peer, stream: &mut TcpStream) -> io::Result<bool> {
    if !upgrade(stream).await? {
        return Ok(false);
    }
    stream.write_all(&text(&format!("40{}", peer.auth))).await?;
    Ok(read_until(stream, "40{").await.is_ok())
}

async fn harmless(peer: &Peer, stream: &mut TcpStream) -> io::Result<Came> {
    if !sign_in(peer, stream).await? {
        return Ok(Came::Refused);
    }
    let mut buffer = [0; 2_048];
    while stream.read(&mut buffer).await? > 0 {
        // Whatever came may have been a ping, and a pong too many does no harm.
        stream.write_all(&text("3")).await?;
    }
    Ok(Came::Ended)
}

/// Begins a session by polling: its path, if there is one.
async fn begin(stream: &mut TcpStream) -> io::Result<Option<String>> {
    stream.write_all(get(POLLING).as_bytes()).await?;
    let answer = read_until(stream, "}").await?;
    let sid = answer.split(r#""sid":""#).nth(1).and_then(|rest| rest.split('"').next());
    Ok(sid.map(|sid| format!("{POLLING}&sid={sid}")))
}

/// Waits with a poll for the last of its sessions to end.
async fn handshakes(stream: &mut TcpStream, began: &mut Instant) -> io::Result<Came> {
    let mut last = None;
    for _ in 0..SESSIONS_EACH {
        let Some(path) = begin(stream).await? else { break };
        *began = Instant::now();
        last = Some(path);
    }
    let Some(path) = last else { return Ok(Came::Refused) };
    stream.write_all(get(&path).as_bytes()).await?;
    // Before the first ping nothing but the end is an answer.
    read_until(stream, "\r\n\r\n").await?;
    Ok(Came::Ended)
}

/// Sends until the connection ends, and reads meanwhile, to see the end.
async fn meanwhile<W>(stream: &mut TcpStream, send: W) -> Came
where
    W: AsyncFnOnce(&mut tokio::net::tcp::WriteHalf<'_>) -> io::Result<()>,
{
    let (mut read, mut write) = stream.split();
    let mut nowhere = tokio::io::sink();
    tokio::select! {
        _ = tokio::io::copy(&mut read, &mut nowhere) => {}
        _ = send(&mut write) => {}
    }
    Came::Ended
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

/// Reads nothing until the limit is over, and then what is under way. A connection that was cut has an end.
async fn look_late(kind: Kind, stream: &mut TcpStream) -> Came {
    sleep(kind.limit().unwrap_or(STAY) + GRACE).await;
    // If it can't be wider, it takes longer.
    let _ = socket2::SockRef::from(&*stream).set_recv_buffer_size(DRAIN_BUFFER);
    match timeout(DRAIN_WITHIN, until_end(stream)).await {
        // Who was told nothing at all was not let in.
        Ok(0) => Came::Refused,
        Ok(_) => Came::Ended,
        Err(_) => Came::Nothing,
    }
}
