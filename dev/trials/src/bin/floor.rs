//! The minimum cost, as a baseline: a websocket server that writes every frame that it receives to every client, with
//! one system call each, on several threads. It has no Kafka, no rooms and no accounts.
//!
//! Frames arrive over a separate TCP connection, each as a length in four bytes and the text.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    thread,
};

use anyhow::Context;
use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime,
    sync::mpsc,
    task::LocalSet,
};
use tokio_tungstenite::tungstenite::{
    handshake::derive_accept_key,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

const BACKLOG: u32 = 16_384;
/// A client with more unsent bytes is disconnected.
const MOST_BEHIND: usize = 4 * 1024 * 1024;

/// Writes every frame that it receives to every connected client.
#[derive(Debug, Parser)]
#[command(name = "floor", version)]
struct Settings {
    /// Address for clients.
    #[arg(long)]
    listen: SocketAddr,

    /// Address that receives the frames.
    #[arg(long)]
    frames: SocketAddr,

    /// Number of threads that serve clients.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// An encoded frame.
type Framed = Arc<Vec<u8>>;

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    /// Bytes that the kernel has not accepted yet.
    behind: RefCell<VecDeque<u8>>,
    writing: Cell<bool>,
    gone: Cell<bool>,
}

type Clients = Rc<RefCell<Vec<Rc<Client>>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let settings: Settings = service::load();
    let frames = TcpListener::bind(settings.frames).await?;
    let mut servers = Vec::new();
    for _ in 0..settings.threads {
        // With SO_REUSEPORT, the kernel distributes new connections among the listeners.
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(settings.listen)?;
        let listener = socket.listen(BACKLOG)?.into_std()?;
        let (server, frames) = mpsc::unbounded_channel();
        thread::spawn(move || serve(listener, frames));
        servers.push(server);
    }
    loop {
        let (mut from, _) = frames.accept().await?;
        // The sender of frames may disconnect and connect again.
        while let Ok(length) = from.read_u32().await {
            let mut payload = vec![0; length as usize];
            from.read_exact(&mut payload).await?;
            let frame = Arc::new(framed(payload)?);
            for server in &servers {
                server.send(frame.clone()).context("a thread has ended")?;
            }
        }
    }
}

/// Serves the clients of one thread.
fn serve(listener: std::net::TcpListener, mut frames: mpsc::UnboundedReceiver<Framed>) -> anyhow::Result<()> {
    let clients = Clients::default();
    let serving = async {
        let listener = TcpListener::from_std(listener)?;
        let broadcast = async {
            while let Some(frame) = frames.recv().await {
                clients.borrow_mut().retain(|client| client.send(&frame));
            }
            Ok(())
        };
        tokio::try_join!(accept(&listener, &clients), broadcast)?;
        anyhow::Ok(())
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serving)
}

async fn accept(listener: &TcpListener, clients: &Clients) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let clients = clients.clone();
        tokio::task::spawn_local(async move {
            if let Ok(client) = handshake(stream).await {
                let client = Rc::new(client);
                clients.borrow_mut().push(client.clone());
                read_on(&client).await;
                client.gone.set(true);
            }
        });
    }
}

async fn handshake(mut stream: TcpStream) -> anyhow::Result<Client> {
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(512);
    while !request.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(stream.read_buf(&mut request).await? > 0, "the client disconnected");
    }
    let request = String::from_utf8(request)?;
    let key = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    };
    let accept = derive_accept_key(request.lines().find_map(key).context("no websocket key")?.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(Client { stream, behind: RefCell::default(), writing: Cell::new(false), gone: Cell::new(false) })
}

/// Reads until the client disconnects, and ignores what it sends.
async fn read_on(client: &Client) {
    let mut buffer = [0; 64];
    while client.stream.readable().await.is_ok() {
        match client.stream.try_read(&mut buffer) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

fn framed(payload: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let frame = Frame::message(payload, OpCode::Data(Data::Text), true);
    let mut bytes = Vec::with_capacity(frame.len());
    frame.format(&mut bytes)?;
    Ok(bytes)
}

impl Client {
    /// Writes or queues a frame. Returns false if the client is gone or too far behind.
    fn send(self: &Rc<Self>, frame: &[u8]) -> bool {
        let mut behind = self.behind.borrow_mut();
        if self.gone.get() || behind.len() > MOST_BEHIND {
            return false;
        }
        let written = match behind.is_empty() {
            true => self.stream.try_write(frame).unwrap_or(0),
            false => 0,
        };
        behind.extend(&frame[written..]);
        if !behind.is_empty() && !self.writing.replace(true) {
            let client = self.clone();
            tokio::task::spawn_local(async move { client.catch_up().await });
        }
        true
    }

    async fn catch_up(&self) {
        while self.stream.writable().await.is_ok() {
            let mut behind = self.behind.borrow_mut();
            match self.stream.try_write(behind.as_slices().0) {
                Ok(written) => drop(behind.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            if behind.is_empty() {
                break;
            }
        }
        self.writing.set(false);
    }
}
