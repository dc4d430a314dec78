//! The least that it takes: a websocket server that writes the frames that it is handed to everybody,
//! each with one call of the kernel, on several threads. It knows no Kafka, no rooms and no accounts.
//!
//! Frames come over a connection of their own, each as four bytes of length and the text.

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
/// Who is further behind is cut off.
const MOST_BEHIND: usize = 4 * 1024 * 1024;

/// Writes the frames that it is handed to everybody who is connected.
#[derive(Debug, Parser)]
#[command(name = "floor", version)]
struct Settings {
    /// Where clients connect.
    #[arg(long)]
    listen: SocketAddr,

    /// Where the frames come from.
    #[arg(long)]
    frames: SocketAddr,

    /// How many threads serve clients.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// A frame as it is written.
type Framed = Arc<Vec<u8>>;

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    /// What the kernel has not taken.
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
        // The kernel shares out who connects among those that listen.
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
        // Who hands over frames may go and come back.
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

/// One thread, with the clients that come to it.
fn serve(listener: std::net::TcpListener, mut frames: mpsc::UnboundedReceiver<Framed>) -> anyhow::Result<()> {
    let clients = Clients::default();
    let serving = async {
        let listener = TcpListener::from_std(listener)?;
        let cast = async {
            while let Some(frame) = frames.recv().await {
                clients.borrow_mut().retain(|client| client.say(&frame));
            }
            Ok(())
        };
        tokio::try_join!(accept(&listener, &clients), cast)?;
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
            if let Ok(client) = greet(stream).await {
                let client = Rc::new(client);
                clients.borrow_mut().push(client.clone());
                read_on(&client).await;
                client.gone.set(true);
            }
        });
    }
}

async fn greet(mut stream: TcpStream) -> anyhow::Result<Client> {
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(512);
    while !request.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(stream.read_buf(&mut request).await? > 0, "hung up");
    }
    let request = String::from_utf8(request)?;
    let key = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    };
    let accept = derive_accept_key(request.lines().find_map(key).context("no key")?.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(Client { stream, behind: RefCell::default(), writing: Cell::new(false), gone: Cell::new(false) })
}

/// Clients have nothing to say; but when they are gone shows here.
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
    /// Whether it is still there.
    fn say(self: &Rc<Self>, frame: &[u8]) -> bool {
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
