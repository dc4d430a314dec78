//! A gateway with a limit on open files that is too low for its connections.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use client::{BoardMirrors, Client, ServerMessage};
use odds::Region;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    author::{Author, draw_changes},
    guest::TOKEN,
    stage::{DEADLINE, Stage, until},
};

/// Runs a program with few files. librdkafka's pipes are inherited, and those of other tests in this process would count.
const LIMITED: &str = r#"
    ulimit -n 700
    for open in /proc/self/fd/*; do
        file=${open##*/}
        if [ "$file" -gt 2 ]; then exec {file}>&-; fi
    done
    exec "$0" "$@"
"#;

/// A gateway in its own process, killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_too_few_files_it_says_so_and_who_is_connected_goes_on() {
    let stage = Stage::set().await;
    let mut author = Author::start(&stage.kafka(), Region::Uk).await;
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let kafka = stage.kafka();
    let mut process = Process(
        Command::new("bash")
            .args(["-c", LIMITED, env!("CARGO_BIN_EXE_gateway")])
            .args([format!("--listen={address}"), format!("--brokers={}", kafka.brokers), "--instance=few".into()])
            .args(kafka.properties.iter().map(|property| format!("--kafka={property}")))
            .arg(format!("--store=sqlite:{}", stage.accounts_file().display()))
            .args(["--log=error", "--max-connections-per-address=10000"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let line = BufReader::new(process.0.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(line.contains("ulimit -n") && line.contains("limit=700"), "{line}");
    until("it is ready", async || is_ready(&address).await.unwrap_or(false)).await;

    let auth = json!({ "token": TOKEN, "regions": ["uk"] });
    let mut early = Client::connect(&address, &auth).await.unwrap();
    // More connections than files: the kernel accepts them, and the gateway drops those that don't fit.
    let mut crowd = Vec::new();
    for _ in 0..900 {
        crowd.extend(TcpStream::connect(&address).await);
    }
    let step = author.step(draw_changes(&mut StdRng::seed_from_u64(7), 8)).await;
    let goes_on = async {
        let mut mirrors = BoardMirrors::default();
        while mirrors.cursors().get(&Region::Uk).is_none_or(|cursor| cursor.step() != step) {
            if let ServerMessage::Event { name, payload } = early.next().await.unwrap() {
                mirrors.take(&name, &payload);
            }
        }
    };
    timeout(DEADLINE, goes_on).await.expect("connected clients go on");
    drop(crowd);
    until("there is room again", async || is_ready(&address).await.unwrap_or(false)).await;
}

/// Whether the gateway is ready. A connection above the limit gets no response.
async fn is_ready(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
