//! A minimal HTTP client.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Connects from one of the loopback network's addresses.
pub async fn connect_from(source: Ipv4Addr, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.into(), 0)).unwrap();
    socket.connect(address.parse().unwrap()).await.unwrap()
}

pub async fn get(address: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    get_from(Ipv4Addr::LOCALHOST, address, path, headers).await
}

pub async fn get_from(source: Ipv4Addr, address: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    send_over(connect_from(source, address).await, request.as_bytes()).await
}

pub async fn send(address: &str, request: &[u8]) -> Answer {
    send_over(TcpStream::connect(address).await.unwrap(), request).await
}

pub async fn send_over(mut stream: TcpStream, request: &[u8]) -> Answer {
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap_or(0);
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let body = bytes.get(end + 4..).unwrap_or_default().to_vec();
    Answer { status, headers: lines.filter_map(header).collect(), body }
}
