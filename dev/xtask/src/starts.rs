//! Measures how long the standalone program takes to become ready, over many starts.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

const STARTS: usize = 40;
const READY_WITHIN: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_millis(5);
/// The slowest start may take this many times as long as the fastest, or `NOISE` longer, whichever is more.
const SPREAD: f64 = 1.3;
/// A start is short, and a machine is never completely idle.
const NOISE: Duration = Duration::from_millis(250);

/// A child process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn starts(standalone: &Path, data: &Path) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for n in 0..STARTS {
        times.push(start(standalone, &data.join(n.to_string())).with_context(|| format!("start {n}"))?);
    }
    times.sort_unstable();
    let (fastest, median, slowest) = (times[0], times[STARTS / 2], times[STARTS - 1]);
    println!("{STARTS} starts until ready: fastest {fastest:.2?}, median {median:.2?}, slowest {slowest:.2?}");
    anyhow::ensure!(
        slowest <= fastest.mul_f64(SPREAD).max(fastest + NOISE),
        "the slowest start takes more than {SPREAD} times as long as the fastest, and more than {NOISE:?} longer"
    );
    Ok(())
}

fn start(standalone: &Path, data: &Path) -> anyhow::Result<Duration> {
    // The port is free now. Another process could take it before the program binds it, which is unlikely.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = Command::new(standalone);
    command.arg("--listen").arg(address.to_string()).arg("--data").arg(data);
    let began = Instant::now();
    let _running = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    while !is_ready(address) {
        anyhow::ensure!(began.elapsed() < READY_WITHIN, "not ready within {READY_WITHIN:?}");
        thread::sleep(ASKED_EVERY);
    }
    Ok(began.elapsed())
}

fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
