//! A mail server that accepts everything at once, and notes when. It can be down.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

#[derive(Clone)]
pub struct MailSink {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_down: AtomicBool,
    /// When the e-mail about a transaction came first, by the transaction's id.
    arrived: Mutex<HashMap<String, Instant>>,
    count: AtomicUsize,
    copies: AtomicUsize,
}

impl MailSink {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let sink = Self { address: listener.local_addr()?, state: Arc::default() };
        let serving = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sink = serving.clone();
                // A client that goes away is none of its business.
                tokio::spawn(async move { drop(sink.serve(stream).await) });
            }
        });
        Ok(sink)
    }

    /// While it is down, it closes every connection.
    pub fn set_down(&self, is_down: bool) {
        self.state.is_down.store(is_down, Ordering::SeqCst);
    }

    /// The number of different e-mails that came.
    pub fn count(&self) -> usize {
        self.state.count.load(Ordering::SeqCst)
    }

    /// The number of e-mails that came again.
    pub fn copies(&self) -> usize {
        self.state.copies.load(Ordering::SeqCst)
    }

    pub fn arrived(&self, transaction: &str) -> Option<Instant> {
        self.state.arrived.lock().expect("nobody panics while holding it").get(transaction).copied()
    }

    fn is_down(&self) -> bool {
        self.state.is_down.load(Ordering::SeqCst)
    }

    fn note(&self, transaction: &str) {
        let mut arrived = self.state.arrived.lock().expect("nobody panics while holding it");
        if arrived.contains_key(transaction) {
            self.state.copies.fetch_add(1, Ordering::SeqCst);
        } else {
            arrived.insert(transaction.to_owned(), Instant::now());
            self.state.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        if self.is_down() {
            return Ok(());
        }
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 sink\r\n").await?;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 || self.is_down() {
                return Ok(());
            }
            let answer: &[u8] = match line.get(..4).unwrap_or_default() {
                "EHLO" => b"250 sink\r\n",
                "DATA" => b"354 go on\r\n",
                "QUIT" => b"221 bye\r\n",
                _ => b"250 ok\r\n",
            };
            stream.write_all(answer).await?;
            if line.starts_with("DATA") {
                let mut email = Vec::new();
                while !email.ends_with(b"\r\n.\r\n") {
                    if stream.read_buf(&mut email).await? == 0 {
                        return Ok(());
                    }
                }
                if self.is_down() {
                    return Ok(());
                }
                let email = String::from_utf8_lossy(&email);
                let subject = email.lines().find_map(|line| line.strip_prefix("Subject: Transaction Successful: "));
                self.note(subject.unwrap_or("unknown").trim());
                stream.write_all(b"250 accepted\r\n").await?;
            }
        }
    }
}
