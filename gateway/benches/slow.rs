//! Measures how much slow clients and a flood of sign-ins affect a gateway's other clients. The gateway runs in its own
//! process.

#![expect(clippy::unwrap_used, reason = "a benchmark that meets the unexpected fails")]

mod beside;

use std::{
    fs,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use beside::{Gateway, free_address};
use client::{BoardMirrors, Client, ServerMessage};
use kafka::{Embedded, all_topics};
use odds::{Filter, Region, Timestamp};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use testkit::{
    author::{Author, History, draw_changes},
    guest,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;

const REGION: Region = Region::Eu;
const EVENTS: u32 = 100;
/// Together, 200 changes a second.
const STEPS_A_SECOND: u64 = 20;
const CHANGES_A_STEP: usize = 10;
const CLIENTS: usize = 900;
/// One of this many clients mirrors the board and measures; the others only read.
const SAMPLE: usize = 20;
const SLOW: usize = 50;
const BYTES_A_SECOND: usize = 2_048;
const STOPS_FOR: Duration = Duration::from_secs(15);
const READS_FOR: Duration = Duration::from_secs(5);
const SIGN_INS: usize = 200;
/// Goal: the factor by which slow clients may raise the p99 latency of the others.
const MOST_DELAY: f64 = 1.5;
/// Goal: the memory for each slow client.
const MOST_BYTES_EACH: i64 = 150_000;
/// Goal: how late a tick may be during sign-ins, in milliseconds.
const MOST_LATE: f64 = 100.0;

fn main() {
    let minutes: f64 = 2.0;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let cluster = Embedded::start(&all_topics()).unwrap();
        let server = Server::start(&cluster).await;
        let mut author = Author::start(&cluster.settings(), REGION).await;
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..60 {
            author.step(draw_changes(&mut random, EVENTS)).await;
        }
        server.is_ready().await;

        let history = author.history.clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let writing = tokio::spawn(async move {
            while !stopped.is_cancelled() {
                tokio::time::sleep(Duration::from_millis(1_000 / STEPS_A_SECOND)).await;
                let moves = (0..CHANGES_A_STEP).filter_map(|_| author.draw_move(&mut random)).collect();
                author.step(moves).await;
            }
        });
        sign_ins(&server).await;
        slow(&server, history, minutes, async move || {
            stop.cancel();
            writing.await.unwrap();
        })
        .await;
    });
}

struct Server {
    gateway: Gateway,
    admin: String,
}

impl Server {
    async fn start(cluster: &Embedded) -> Self {
        let folder = tempfile::tempdir().unwrap();
        guest::store_with_guest(folder.path()).await;
        let admin = free_address();
        let flags = [
            "--max-connections-per-address=100000",
            "--max-connections-per-user=100000",
            "--attempts-per-minute=1000000",
            &format!("--admin={admin}"),
        ];
        Self { gateway: Gateway::start(cluster, folder, &flags.map(str::to_owned)), admin }
    }

    async fn is_ready(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if self.get(&self.gateway.address, "/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
            {
                return;
            }
        }
    }

    async fn get(&self, address: &str, path: &str) -> Option<String> {
        ask(address, &format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")).await
    }

    /// Returns an upper bound of how late the region's ticks were, in milliseconds.
    async fn latest_tick(&self) -> f64 {
        let metrics = self.get(&self.admin, "/metrics").await.unwrap();
        let prefix = "toteboard_gateway_tick_late_seconds_bucket{le=\"";
        let of_region = format!("region=\"{REGION}\"");
        let buckets = metrics.lines().filter(|line| line.contains(&of_region)).filter_map(|line| {
            let (le, rest) = line.strip_prefix(prefix)?.split_once('"')?;
            Some((le.parse::<f64>().unwrap_or(f64::INFINITY), rest.rsplit(' ').next()?.parse::<u64>().ok()?))
        });
        let buckets: Vec<(f64, u64)> = buckets.collect();
        let all = buckets.iter().map(|(_, count)| *count).max().unwrap_or_default();
        buckets.iter().find(|(_, count)| *count == all).map_or(f64::NAN, |(le, _)| le * 1e3)
    }

    /// Returns the gateway's resident memory in bytes.
    fn resident(&self) -> i64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.gateway.child.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4_096
    }
}

async fn ask(address: &str, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.ok()?;
    Some(answer)
}

/// Keeps 200 sign-ins in flight for ten seconds; each needs a password hash.
async fn sign_ins(server: &Server) {
    let before = server.latest_tick().await;
    let end = Instant::now() + Duration::from_secs(10);
    let mut flood = JoinSet::new();
    for n in 0..SIGN_INS {
        let address = server.gateway.address.clone();
        flood.spawn(async move {
            let mut answered = 0;
            while Instant::now() < end {
                let body = json!({ "name": format!("nobody.{n}"), "password": "a wrong password" }).to_string();
                let head = format!(
                    "POST /api/login HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json"
                );
                let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                let answer = ask(&address, &request).await.unwrap();
                answered += usize::from(answer.starts_with("HTTP/1.1 401"));
            }
            answered
        });
    }
    let answered: usize = flood.join_all().await.into_iter().sum();
    let late = server.latest_tick().await;
    println!(
        "sign-ins: {SIGN_INS} in flight for 10 s, {answered} answered; ticks at most {late} ms late, {before} ms before"
    );
    assert!(late <= before.max(MOST_LATE), "sign-ins delay ticks by more than {MOST_LATE} ms");
}

fn auth(regions: &[Region]) -> serde_json::Value {
    json!({ "token": guest::TOKEN, "regions": regions })
}

struct Load {
    address: String,
    history: History,
    /// Latencies are recorded only while this is true.
    measure: Arc<AtomicBool>,
    latencies: Mutex<Vec<u32>>,
    dropped: AtomicUsize,
    calm: CancellationToken,
}

async fn slow(server: &Server, history: History, minutes: f64, end_writing: impl AsyncFnOnce()) {
    let load = Arc::new(Load {
        address: server.gateway.address.clone(),
        history,
        measure: Arc::default(),
        latencies: Mutex::default(),
        dropped: AtomicUsize::new(0),
        calm: CancellationToken::new(),
    });
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        match n % SAMPLE {
            0 => clients.spawn(quick(load.clone())),
            _ => clients.spawn(listening(load.clone())),
        };
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let alone = p99(&load, Duration::from_secs_f64(minutes * 30.0)).await;
    let before = server.resident();
    for n in 0..2 * SLOW {
        let load = load.clone();
        match n % 2 {
            0 => clients.spawn(dripping(load)),
            _ => clients.spawn(stopping(load)),
        };
    }
    let beside = p99(&load, Duration::from_secs_f64(minutes * 60.0)).await;
    let grown = server.resident() - before;
    end_writing().await;
    load.calm.cancel();
    let mut exact = 0;
    while let Some(client) = clients.join_next().await {
        exact += usize::from(client.unwrap());
    }
    println!(
        "slow: {CLIENTS} clients alone: p99 {alone} ms from step to client; beside {} slow ones {beside} ms: {:.2} x",
        2 * SLOW,
        f64::from(beside) / f64::from(alone)
    );
    println!(
        "slow: the gateway's memory grew by {:.1} MB, {:.0} KB for each of them",
        grown as f64 / 1e6,
        grown as f64 / 1e3 / (2 * SLOW) as f64
    );
    let (dropped, all) = (load.dropped.load(Ordering::Relaxed), CLIENTS + 2 * SLOW);
    println!(
        "slow: {dropped} disconnected; {exact} of {all} ended well, all slow ones and the sample with exactly the board"
    );
    assert!(f64::from(beside) <= MOST_DELAY * f64::from(alone), "slow ones delay the others more than {MOST_DELAY} x");
    assert!(grown <= (2 * SLOW) as i64 * MOST_BYTES_EACH, "more than {MOST_BYTES_EACH} bytes for each slow one");
    assert_eq!((dropped, exact), (0, all), "no client is disconnected, and all end with the newest board");
}

async fn p99(load: &Load, over: Duration) -> u32 {
    load.latencies.lock().unwrap().clear();
    load.measure.store(true, Ordering::Relaxed);
    tokio::time::sleep(over).await;
    load.measure.store(false, Ordering::Relaxed);
    let mut latencies = std::mem::take(&mut *load.latencies.lock().unwrap());
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}

/// Follows the board until `calm` is cancelled, and then until it has the newest board. Returns whether it does.
async fn follow<S: AsyncRead + AsyncWrite + Unpin>(
    load: &Load,
    mut client: Client<S>,
    mirrors: &mut BoardMirrors,
    measured: bool,
) -> bool {
    let newest = |mirrors: &BoardMirrors| {
        mirrors.boards.get(&REGION).is_some_and(|board| *board.events() == load.history.newest(&Filter::default()))
    };
    let mut end = None;
    loop {
        if load.calm.is_cancelled() {
            let end = *end.get_or_insert_with(|| Instant::now() + Duration::from_secs(120));
            if newest(mirrors) || Instant::now() > end {
                return newest(mirrors);
            }
        }
        let received = match tokio::time::timeout(Duration::from_millis(500), client.next()).await {
            Err(_) => continue,
            Ok(Err(_)) => {
                load.dropped.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            Ok(Ok(received)) => received,
        };
        let ServerMessage::Event { name, payload } = received else { continue };
        if measured && name == "odds" && load.measure.load(Ordering::Relaxed) {
            measure(load, &payload);
        }
        mirrors.take(&name, &payload);
    }
}

/// Records the latency of a frame: its newest price has the time of its step.
fn measure(load: &Load, payload: &str) {
    let times = payload.split("\"last_update\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let newest: Option<Timestamp> = times.max().and_then(|time| time.parse().ok());
    if let Some(newest) = newest {
        let latency = service::now().millis_since(newest).max(0);
        load.latencies.lock().unwrap().push(u32::try_from(latency).unwrap());
    }
}

/// Only reads, so that this process is not the bottleneck.
async fn listening(load: Arc<Load>) -> bool {
    let mut client = Client::connect(&load.address, &auth(&[REGION])).await.unwrap();
    loop {
        tokio::select! {
            () = load.calm.cancelled() => return true,
            received = client.next() => if received.is_err() {
                load.dropped.fetch_add(1, Ordering::Relaxed);
                return false;
            }
        }
    }
}

async fn quick(load: Arc<Load>) -> bool {
    let client = Client::connect(&load.address, &auth(&[REGION])).await.unwrap();
    follow(&load, client, &mut BoardMirrors::default(), true).await
}

fn narrow(address: &str) -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    (socket, address.parse().unwrap())
}

async fn dripping(load: Arc<Load>) -> bool {
    let (socket, address) = narrow(&load.address);
    let stream = Drip {
        stream: socket.connect(address).await.unwrap(),
        left: 0,
        refill: Box::pin(tokio::time::sleep(Duration::ZERO)),
    };
    let client = Client::connect_over(stream, "gateway", &auth(&[REGION])).await.unwrap();
    follow(&load, client, &mut BoardMirrors::default(), false).await
}

async fn stopping(load: Arc<Load>) -> bool {
    let (socket, address) = narrow(&load.address);
    let stream = socket.connect(address).await.unwrap();
    let mut client = Client::connect_over(stream, "gateway", &auth(&[REGION])).await.unwrap();
    let mut mirrors = BoardMirrors::default();
    while !load.calm.is_cancelled() {
        tokio::time::sleep(STOPS_FOR).await;
        let until = Instant::now() + READS_FOR;
        while let Ok(received) = tokio::time::timeout_at(until, client.next()).await {
            match received {
                Ok(ServerMessage::Event { name, payload }) => drop(mirrors.take(&name, &payload)),
                Ok(ServerMessage::Answer { .. }) => {}
                Err(_) => {
                    load.dropped.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
            }
        }
    }
    follow(&load, client, &mut mirrors, false).await
}

/// A connection that is read at [`BYTES_A_SECOND`].
struct Drip {
    stream: TcpStream,
    left: usize,
    refill: Pin<Box<Sleep>>,
}

const REFILL: Duration = Duration::from_millis(125);

impl AsyncRead for Drip {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        while self.left == 0 {
            std::task::ready!(self.refill.as_mut().poll(cx));
            self.left = BYTES_A_SECOND * REFILL.as_millis() as usize / 1_000;
            self.refill.as_mut().reset(Instant::now() + REFILL);
        }
        let mut bytes = [0; 256];
        let most = self.left.min(buf.remaining()).min(bytes.len());
        let mut part = ReadBuf::new(&mut bytes[..most]);
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        self.left -= part.filled().len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Drip {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
