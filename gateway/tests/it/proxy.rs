//! An unreliable network between one client and a gateway: a TCP proxy that forwards everything in small pieces
//! and, every few seconds, cuts a connection or loses a response.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// A fault that is due expires after this time without traffic. Otherwise every reconnect after a long wait would hit
/// one.
const FAULT_EXPIRES: Duration = Duration::from_millis(500);
/// A response is taken to have ended when the gateway has sent nothing for this long.
const END_OF_RESPONSE: Duration = Duration::from_millis(30);

pub struct Proxy {
    pub address: String,
    faults: Arc<Faults>,
    _serving: AbortOnDropHandle<()>,
}

struct Faults {
    random: Mutex<StdRng>,
    next_at: Mutex<Instant>,
    last_at: Mutex<Instant>,
    calm: CancellationToken,
    loses_next: AtomicBool,
    cut: AtomicU64,
    lost: AtomicU64,
}

/// What happens to the bytes that one read returned.
enum Fate {
    Forward,
    /// Forwards this many of them, then closes both connections.
    Cut(usize),
    /// Discards them and the rest of the response, then closes both connections.
    Lose,
}

impl Proxy {
    /// Serves until it is dropped. There are no more faults once `calm` is cancelled.
    pub async fn start(gateway: &str, seed: u64, calm: CancellationToken) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let faults = Arc::new(Faults {
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            next_at: Mutex::new(Instant::now()),
            last_at: Mutex::new(Instant::now()),
            calm,
            loses_next: AtomicBool::new(false),
            cut: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        faults.draw_next();
        let serving = tokio::spawn(serve(listener, gateway.to_owned(), faults.clone()));
        Self { address, faults, _serving: AbortOnDropHandle::new(serving) }
    }

    /// The time of the last fault.
    pub fn calm_since(&self) -> Instant {
        *self.faults.last_at.lock().unwrap()
    }

    /// Loses the next response, even when the network is otherwise reliable.
    pub fn lose_next(&self) {
        self.faults.loses_next.store(true, Ordering::Relaxed);
    }

    /// How many connections were cut, and how many responses lost.
    pub fn faults(&self) -> (u64, u64) {
        (self.faults.cut.load(Ordering::Relaxed), self.faults.lost.load(Ordering::Relaxed))
    }
}

async fn serve(listener: TcpListener, gateway: String, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        // If the gateway can't be reached, the client's connection ends at once.
        let Ok(gateway) = TcpStream::connect(&gateway).await else { continue };
        connections.spawn(carry(client, gateway, faults.clone()));
    }
}

/// Forwards both directions until one of them ends.
async fn carry(client: TcpStream, gateway: TcpStream, faults: Arc<Faults>) {
    for stream in [&client, &gateway] {
        // Small pieces must not be merged. A failure means the peer is gone, which the next read reports.
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_gateway, to_gateway) = gateway.into_split();
    tokio::select! {
        () = forward(from_client, to_gateway, &faults) => {}
        () = forward(from_gateway, to_client, &faults) => {}
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults) {
    let mut buffer = vec![0; 16_384];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        match faults.fate(read) {
            Fate::Forward if in_pieces(&mut to, &buffer[..read], faults).await.is_ok() => {}
            Fate::Forward => return,
            Fate::Cut(at) => {
                let passed = in_pieces(&mut to, &buffer[..at], faults).await;
                if passed.is_ok() && faults.draw(|random| random.random_bool(0.5)) {
                    // The client or gateway sees a reset instead of an orderly end.
                    let _ = SockRef::from(to.as_ref()).set_linger(Some(Duration::ZERO));
                }
                return;
            }
            Fate::Lose => {
                while let Ok(Ok(1..)) = timeout(END_OF_RESPONSE, from.read(&mut buffer)).await {}
                return;
            }
        }
    }
}

async fn in_pieces(to: &mut OwnedWriteHalf, mut bytes: &[u8], faults: &Faults) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let (most, waits) = faults.draw(|random| {
            let most = if random.random_bool(0.2) { 64 } else { 4_096 };
            (random.random_range(1..=most), random.random_bool(0.1).then(|| random.random_range(1..5)))
        });
        let (piece, rest) = bytes.split_at(most.min(bytes.len()));
        to.write_all(piece).await?;
        bytes = rest;
        match waits {
            Some(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            None => tokio::task::yield_now().await,
        }
    }
    Ok(())
}

impl Faults {
    fn draw<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.random.lock().unwrap())
    }

    /// Draws the time of the next fault. It is mostly soon; sometimes it is so late that a stalled client is not
    /// rescued by a new connection. The first fault comes soon, so that even a short run has one.
    fn draw_next(&self) {
        let is_first = self.cut.load(Ordering::Relaxed) + self.lost.load(Ordering::Relaxed) == 0;
        let wait = self.draw(|random| match is_first || random.random_bool(0.8) {
            true => random.random_range(500..5_000),
            false => random.random_range(26_000..30_000),
        });
        *self.next_at.lock().unwrap() = Instant::now() + Duration::from_millis(wait);
    }

    /// Decides what happens to these bytes. A fault that is due hits the next traffic, so it hits frames and responses
    /// midway.
    fn fate(&self, bytes: usize) -> Fate {
        if self.loses_next.swap(false, Ordering::Relaxed) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return Fate::Lose;
        }
        let (now, due) = (Instant::now(), *self.next_at.lock().unwrap());
        if self.calm.is_cancelled() || now < due {
            return Fate::Forward;
        }
        if now > due + FAULT_EXPIRES {
            self.draw_next();
            return Fate::Forward;
        }
        *self.last_at.lock().unwrap() = now;
        let fate = match self.draw(|random| random.random_bool(0.4)) {
            true => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                Fate::Lose
            }
            false => {
                self.cut.fetch_add(1, Ordering::Relaxed);
                Fate::Cut(self.draw(|random| random.random_range(0..=bytes)))
            }
        };
        self.draw_next();
        fate
    }
}
