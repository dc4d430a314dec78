//! The parts of HTTP and the websocket protocol that hostile peers use.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    Frame,
    coding::{Data, OpCode},
};

pub(super) const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
/// Maximum bytes of a response to search.
const KEPT: usize = 4_096;

pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

pub(super) fn post(path: &str, kind: &str, length: usize, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Requests a websocket and returns whether the server accepted.
pub(super) async fn upgrade(stream: &mut TcpStream) -> io::Result<bool> {
    let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
                   upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    Ok(read_until(stream, "\r\n\r\n").await?.starts_with("HTTP/1.1 101"))
}

/// Reads until `end` has arrived, and returns what was read. Fails if the connection ends or too much arrives first.
pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> io::Result<String> {
    let mut read = Vec::new();
    loop {
        let begun = read.len();
        if stream.read_buf(&mut read).await? == 0 || read.len() > KEPT {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let from = begun.saturating_sub(end.len());
        if read[from..].windows(end.len()).any(|part| part == end.as_bytes()) {
            return Ok(String::from_utf8_lossy(&read).into_owned());
        }
    }
}

/// Reads until the connection ends, with or without an error, and returns the number of bytes.
pub(super) async fn until_end(stream: &mut TcpStream) -> u64 {
    let mut buffer = [0; 2_048];
    let mut bytes = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        bytes += read as u64;
    }
    bytes
}

pub(super) fn text(text: &str) -> Vec<u8> {
    formatted(Frame::message(text.to_owned(), OpCode::Data(Data::Text), true))
}

/// Returns a fragment of a text message that isn't the last one.
pub(super) fn part(bytes: usize, is_first: bool) -> Vec<u8> {
    let code = if is_first { Data::Text } else { Data::Continue };
    formatted(Frame::message(vec![b'4'; bytes], OpCode::Data(code), false))
}

/// Returns a masked frame. The protocol requires a mask from clients, and zero is a valid one.
fn formatted(mut frame: Frame) -> Vec<u8> {
    frame.header_mut().mask = Some([0; 4]);
    let mut bytes = Vec::with_capacity(frame.len());
    frame.format(&mut bytes).expect("writing to a Vec never fails");
    bytes
}
