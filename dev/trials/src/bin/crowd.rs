//! Many clients of one server in one process, on one thread. Most only read; some record when they saw each step, and
//! some of those mirror the board. Commands and results are lines of JSON on stdin and stdout.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use client::{BoardMirrors, Protocol, ProtocolEvent};
use flate2::{Decompress, FlushDecompress};
use odds::{Board, Digest, Region, Timestamp};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Semaphore,
    task::{JoinSet, LocalSet},
    time::timeout,
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};
use trials::race::{FrameReader, Joined, Order, Report, TextFrame, micros, newest_step};

const READ_BUFFER: usize = 256 * 1024;
/// Bytes of each payload that most clients keep: enough to know its kind.
const BEGINNING: usize = 160;
/// The largest compressed message, in bytes after inflating.
const LARGEST: usize = 4 << 20;
const JOIN_WITHIN: Duration = Duration::from_secs(120);
/// How many clients may be joining at the same time: less than Linux's default limit of a listen queue.
const MAX_JOINING: usize = 4_000;

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

    /// Number of clients.
    #[arg(long)]
    clients: usize,

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
        ..Notes::default()
    });
    let permits = Rc::new(Semaphore::new(MAX_JOINING));
    let began = micros();
    let mut joining = JoinSet::new();
    for n in 0..settings.clients {
        let (settings, notes, permits) = (settings.clone(), notes.clone(), permits.clone());
        joining.spawn_local(async move {
            let _permit = permits.acquire().await;
            let mut client = timeout(JOIN_WITHIN, Client::connect(&settings, notes.clone(), n)).await??;
            timeout(JOIN_WITHIN, client.is_there(&settings)).await??;
            let took = micros() - began;
            tokio::task::spawn_local(async move {
                // Every end counts as lost, with or without an error.
                let _ = client.read_on().await;
                notes.lost.set(notes.lost.get() + 1);
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

struct Client {
    stream: TcpStream,
    reader: FrameReader,
    protocol: Option<Protocol>,
    notes: Rc<Notes>,
    /// Index among the clients that watch.
    watcher: Option<usize>,
    welcome: bool,
    has_board: bool,
    refused: Option<String>,
    /// Bytes to send.
    out: Vec<u8>,
    auth: Rc<str>,
}

impl Client {
    async fn connect(settings: &Settings, notes: Rc<Notes>, number: usize) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(&settings.address).await?;
        stream.set_nodelay(true)?;
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
            anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "the server hung up");
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
            watcher,
            welcome: plain,
            has_board: false,
            refused: None,
            out: Vec::new(),
            auth: settings.auth.as_deref().unwrap_or_default().into(),
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

    async fn read(&mut self) -> io::Result<()> {
        self.stream.readable().await?;
        let read: io::Result<()> = BUFFER.with_borrow_mut(|buffer| {
            let read = match self.stream.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                read => read?,
            };
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.receive(&buffer[..read]);
            Ok(())
        });
        read?;
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
