//! Many clients of one server in one process, on one thread. Most only read; some record when they saw each step, and
//! some of those mirror the board. Commands and results are lines of JSON on stdin and stdout.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use client::{BoardMirrors, Protocol, ProtocolEvent};
use flate2::{Decompress, FlushDecompress};
use odds::{Board, Digest, Region, Timestamp};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, ReadBuf},
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    task::{JoinSet, LocalSet},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};
use trials::race::{FrameReader, Joined, Order, Report, Returned, TextFrame, micros, newest_step};

const READ_BUFFER: usize = 256 * 1024;
/// Bytes of each payload that most clients keep: enough to know its kind and its cursors.
const BEGINNING: usize = 256;
/// The pause of a client that could not come back. All have it, so all come at once.
const COMES_BACK_EVERY: Duration = Duration::from_millis(50);
/// The largest compressed message, in bytes after inflating.
const LARGEST: usize = 4 << 20;
/// How many addresses clients connect from.
const SOURCES: usize = 100;
const JOIN_WITHIN: Duration = Duration::from_secs(120);

/// Connects many clients, and reports what they receive.
#[derive(Debug, Parser)]
#[command(name = "crowd", version)]
struct Settings {
    /// Server address, as host:port.
    #[arg(long)]
    address: String,

    /// Path of the websocket.
    #[arg(long)]
    path: String,

    /// Socket.IO's `auth` data, as JSON; without it, a plain websocket is used.
    #[arg(long)]
    auth: Option<String>,

    /// A client counts as joined only when it has its board.
    #[arg(long)]
    board: bool,

    /// The clients ask for compression, and don't join without it.
    #[arg(long)]
    compression: bool,

    /// The server's certificate as PEM; without it, the clients don't use TLS.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,

    /// Clients come back when their connection ends, with this region's cursor.
    #[arg(long, value_name = "REGION")]
    returns: Option<Region>,

    /// Number of clients.
    #[arg(long)]
    clients: usize,

    /// How many of them may be joining at the same time.
    #[arg(long)]
    at_once: usize,

    /// How many of them record when they saw each step.
    #[arg(long)]
    watching: usize,

    /// How many of the watching clients mirror the board.
    #[arg(long)]
    mirroring: usize,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER]);
    static INFLATED: RefCell<(Decompress, Vec<u8>)> = RefCell::new((Decompress::new(false), vec![0; LARGEST]));
}

/// What all clients record.
#[derive(Default)]
struct Notes {
    frames: Cell<u64>,
    bytes: Cell<u64>,
    lost: Cell<usize>,
    returned: RefCell<Returned>,
    /// One of every `spread` clients watches.
    spread: usize,
    watching: Vec<RefCell<Vec<(u64, u64)>>>,
    mirrors: Vec<RefCell<BoardMirrors>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings: Rc<Settings> = Rc::new(service::load());
    LocalSet::new().run_until(run(settings)).await
}

async fn run(settings: Rc<Settings>) -> anyhow::Result<()> {
    let notes = Rc::new(Notes {
        spread: settings.clients / settings.watching.max(1),
        watching: (0..settings.watching).map(|_| RefCell::default()).collect(),
        mirrors: (0..settings.mirroring).map(|_| RefCell::new(mirror())).collect(),
        returned: RefCell::new(Returned { at: vec![0; settings.clients], ..Returned::default() }),
        ..Notes::default()
    });
    let permits = Rc::new(Semaphore::new(settings.at_once));
    let began = micros();
    let mut joining = JoinSet::new();
    for n in 0..settings.clients {
        let (settings, notes, permits) = (settings.clone(), notes.clone(), permits.clone());
        joining.spawn_local(async move {
            let _permit = permits.acquire().await;
            let auth = settings.auth.as_deref().unwrap_or_default().into();
            let mut client = timeout(JOIN_WITHIN, Client::connect(&settings, notes.clone(), n, auth)).await??;
            timeout(JOIN_WITHIN, client.is_there(&settings)).await??;
            let took = micros() - began;
            tokio::task::spawn_local(async move {
                loop {
                    // Every end counts as lost, with or without an error.
                    let _ = client.read_on().await;
                    notes.lost.set(notes.lost.get() + 1);
                    if settings.returns.is_none() {
                        return;
                    }
                    client = client.comes_back(&settings, n).await;
                }
            });
            anyhow::Ok(took)
        });
    }
    let mut joined = Joined { took: Vec::with_capacity(settings.clients), failed: 0 };
    while let Some(client) = joining.join_next().await {
        match client? {
            Ok(took) => joined.took.push(took),
            Err(error) => {
                if joined.failed == 0 {
                    eprintln!("a client could not join: {error:#}");
                }
                joined.failed += 1;
            }
        }
    }
    answer(&joined)?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        match serde_json::from_str(&order)? {
            Order::Begin => drop(notes.take()),
            Order::End => answer(&notes.take())?,
            Order::Digests => answer(&notes.digests(&settings)?)?,
            Order::Returned => answer(&*notes.returned.borrow())?,
        }
    }
    Ok(())
}

/// Returns a mirror that follows all regions, because not every server announces the regions that it sends.
fn mirror() -> BoardMirrors {
    let mut mirrors = BoardMirrors::default();
    mirrors.regions = Region::ALL.to_vec();
    mirrors
}

fn answer(what: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

impl Notes {
    /// Returns the index of a client among those that watch, if it does. They are spread evenly: the clients that
    /// connected first are often served first.
    fn watcher(&self, number: usize) -> Option<usize> {
        let at = number / self.spread.max(1);
        (number.is_multiple_of(self.spread.max(1)) && at < self.watching.len()).then_some(at)
    }

    /// Returns the report so far, and resets the counts.
    fn take(&self) -> Report {
        Report {
            frames: self.frames.take(),
            bytes: self.bytes.take(),
            seen: self.watching.iter().map(RefCell::take).collect(),
            lost: self.lost.get(),
        }
    }

    fn digests(&self, settings: &Settings) -> anyhow::Result<Vec<Digest>> {
        let digest = |mirror: &RefCell<BoardMirrors>| {
            let mirrors = mirror.borrow();
            let mirror =
                mirrors.boards.values().next().with_context(|| format!("no board from {}", settings.address))?;
            let mut board = Board::default();
            for (id, event) in mirror.events() {
                board.set(id, &event.image(Timestamp::default()));
            }
            Ok(board.digest())
        };
        self.mirrors.iter().map(digest).collect()
    }
}

/// A connection, with TLS or without.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Connects from an address of this client's own neighbourhood. From one address, the kernel would look for a free port
    /// for longer than a server needs to answer: with 20,000 ports in use, 0.8 ms for each connection.
    async fn connect(settings: &Settings, number: usize) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        let source = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + number % SOURCES)?);
        socket.bind(SocketAddr::from((source, 0)))?;
        let stream = socket.connect(settings.address.parse()?).await?;
        stream.set_nodelay(true)?;
        let Some(file) = &settings.certificate else { return Ok(Self::Plain(stream)) };
        let connector = CONNECTOR.with(|connector| connector.get_or_init(|| trusting(file)).clone());
        let name = ServerName::try_from(HOST)?;
        Ok(Self::Tls(Box::new(connector.connect(name, stream).await?)))
    }

    fn poll_read(&mut self, buffer: &mut ReadBuf<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }
}

/// The name in the certificate.
const HOST: &str = "localhost";

thread_local! {
    static CONNECTOR: OnceCell<TlsConnector> = const { OnceCell::new() };
}

/// Trusts the certificate in this file only.
fn trusting(file: &Path) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(file).expect("the race wrote a certificate");
    roots.add(certificate).expect("the race wrote a certificate");
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let versions = versions.with_safe_default_protocol_versions().expect("ring has them");
    TlsConnector::from(Arc::new(versions.with_root_certificates(roots).with_no_client_auth()))
}

struct Client {
    stream: Stream,
    reader: FrameReader,
    protocol: Option<Protocol>,
    notes: Rc<Notes>,
    number: usize,
    /// Index among the clients that watch.
    watcher: Option<usize>,
    welcome: bool,
    has_board: bool,
    refused: Option<String>,
    /// Bytes to send.
    out: Vec<u8>,
    auth: Rc<str>,
    /// Its board's cursor, if it is to come back with it.
    cursor: Option<String>,
    keeps_cursor: bool,
    /// Whether it has come back and has no frame yet.
    is_back: bool,
}

impl Client {
    async fn connect(settings: &Settings, notes: Rc<Notes>, number: usize, auth: Rc<str>) -> anyhow::Result<Self> {
        let mut stream = Stream::connect(settings, number).await?;
        let Settings { address, path, compression, .. } = settings;
        // Without context takeover, so that each message can be read by itself, or not at all.
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
        let offer = if *compression { offer } else { "" };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(1_024);
        let end = loop {
            if let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let mut part = [0; 1_024];
            let mut read = ReadBuf::new(&mut part);
            poll_fn(|cx| stream.poll_read(&mut read, cx)).await?;
            anyhow::ensure!(!read.filled().is_empty(), "the server hung up");
            answer.extend_from_slice(read.filled());
        };
        let head = String::from_utf8_lossy(&answer[..end]);
        anyhow::ensure!(head.starts_with("HTTP/1.1 101"), "{}", head.lines().next().unwrap_or_default());
        anyhow::ensure!(!compression || head.contains("server_no_context_takeover"), "no compression: {head}");
        let watcher = notes.watcher(number);
        let keep = if watcher.is_some() { usize::MAX } else { BEGINNING };
        let plain = settings.auth.is_none();
        let mut this = Self {
            stream,
            reader: FrameReader::keeping(keep),
            protocol: (!plain).then(Protocol::default),
            notes,
            number,
            watcher,
            welcome: plain,
            has_board: false,
            refused: None,
            out: Vec::new(),
            auth,
            cursor: None,
            keeps_cursor: settings.returns.is_some(),
            is_back: false,
        };
        this.receive(&answer[end..]);
        Ok(this)
    }

    async fn is_there(&mut self, settings: &Settings) -> anyhow::Result<()> {
        self.flush().await?;
        while !self.welcome || (settings.board && !self.has_board) {
            self.read().await?;
            if let Some(reason) = &self.refused {
                anyhow::bail!("{reason}");
            }
        }
        Ok(())
    }

    async fn read_on(&mut self) -> io::Result<()> {
        loop {
            self.read().await?;
        }
    }

    /// Connects again until that works, and asks for what it has missed.
    async fn comes_back(self, settings: &Settings, number: usize) -> Self {
        let (notes, cursor) = (self.notes.clone(), self.cursor.clone());
        drop(self);
        loop {
            let joins = async {
                let mut auth: Value = serde_json::from_str(settings.auth.as_deref().unwrap_or("{}"))?;
                if let (Some(region), Some(cursor)) = (settings.returns, &cursor) {
                    auth["resume"] = json!({ region.to_string(): cursor });
                }
                let mut client = Self::connect(settings, notes.clone(), number, auth.to_string().into()).await?;
                (client.cursor, client.is_back) = (cursor.clone(), true);
                client.flush().await?;
                while client.is_back {
                    client.read().await?;
                }
                anyhow::Ok(client)
            };
            if let Ok(Ok(client)) = timeout(JOIN_WITHIN, joins).await {
                return client;
            }
            tokio::time::sleep(COMES_BACK_EVERY).await;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                ready!(self.stream.poll_read(&mut read, cx))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
                }
                self.receive(read.filled());
                Poll::Ready(Ok(()))
            })
        })
        .await?;
        self.flush().await
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut reader = std::mem::replace(&mut self.reader, FrameReader::keeping(0));
        reader.take(bytes, |frame| self.frame(frame));
        self.reader = reader;
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.stream.write_all(&std::mem::take(&mut self.out)).await
    }

    fn frame(&mut self, TextFrame { kept, length, is_compressed }: TextFrame<'_>) {
        if !is_compressed {
            return self.message(kept, length);
        }
        if self.watcher.is_none() && self.has_board {
            // All that is large and comes after the board. Reading it would cost more than the server's work.
            return self.count(length);
        }
        INFLATED.with_borrow_mut(|(decompress, inflated)| {
            decompress.reset(false);
            // What is kept may be only the beginning.
            let _ = decompress.decompress(kept, inflated, FlushDecompress::Sync);
            self.message(&inflated[..decompress.total_out() as usize], length);
        });
    }

    fn count(&self, length: usize) {
        self.notes.frames.set(self.notes.frames.get() + 1);
        self.notes.bytes.set(self.notes.bytes.get() + length as u64);
    }

    /// Takes a message, or its beginning. Its frame had this length.
    fn message(&mut self, kept: &[u8], length: usize) {
        if self.keeps_cursor {
            self.keep_cursor(kept);
        }
        if kept.starts_with(br#"42["odds""#) {
            self.count(length);
            self.note(kept);
        } else if kept.starts_with(br#"42["snapshot""#) {
            self.has_board |= is_last_part(kept);
            self.mirror(kept);
        } else if let Some(protocol) = &mut self.protocol
            && !kept.starts_with(b"42")
        {
            let auth = self.auth.clone();
            match protocol.receive(&String::from_utf8_lossy(kept), || auth.to_string()) {
                ProtocolEvent::Reply(packet) => self.out.extend(masked(packet)),
                ProtocolEvent::Welcome => self.welcome = true,
                ProtocolEvent::Refused { reason, .. } => self.refused = Some(reason),
                _ => {}
            }
        }
    }

    /// Notes the cursor of a frame. The first one after its return must continue from the board that it has, or bring a
    /// whole one.
    fn keep_cursor(&mut self, kept: &[u8]) {
        let is_board = kept.starts_with(br#"42["snapshot""#);
        if !is_board && !kept.starts_with(br#"42["odds""#) {
            return;
        }
        let text = String::from_utf8_lossy(kept);
        let field = |name: &str| text.split_once(name)?.1.split('"').next().map(str::to_owned);
        if self.is_back && (!is_board || is_last_part(kept)) {
            self.is_back = false;
            let continues = is_board || field(r#""prev":""#) == self.cursor;
            let mut returned = self.notes.returned.borrow_mut();
            returned.at[self.number] = micros();
            returned.boards += usize::from(is_board);
            returned.broken += usize::from(!continues);
        }
        self.cursor = field(r#""cursor":""#);
    }

    fn note(&self, frame: &[u8]) {
        let Some(seen) = self.watcher.and_then(|at| self.notes.watching.get(at)) else { return };
        if let Some(step) = str::from_utf8(frame).ok().and_then(newest_step) {
            seen.borrow_mut().push((step, micros()));
        }
        self.mirror(frame);
    }

    fn mirror(&self, frame: &[u8]) {
        let Some(mirror) = self.watcher.and_then(|at| self.notes.mirrors.get(at)) else { return };
        let event = str::from_utf8(frame).ok().and_then(|text| client::event_of(&text[2..]));
        if let Some((name, payload)) = event {
            mirror.borrow_mut().take(&name, &payload);
        }
    }
}

/// Returns whether this is the last part of a snapshot. A snapshot in one part has neither field.
fn is_last_part(beginning: &[u8]) -> bool {
    let text = String::from_utf8_lossy(beginning);
    let number = |name: &str| {
        let rest = &text[text.find(name)? + name.len()..];
        rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse::<u32>().ok()
    };
    number(r#""part":"#) == number(r#""parts":"#)
}

/// Returns a masked text frame. The protocol requires a mask from clients, and zero is a valid one.
fn masked(text: String) -> Vec<u8> {
    let mut frame = Frame::message(text, OpCode::Data(Data::Text), true);
    frame.header_mut().mask = Some([0; 4]);
    let mut bytes = Vec::with_capacity(frame.len());
    frame.format(&mut bytes).expect("writing to a Vec never fails");
    bytes
}
