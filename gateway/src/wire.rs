//! The TCP stream below everything: counts the Socket.IO events that the kernel has taken, and can
//! be cut from outside.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::link::Connection;

pub(crate) struct Wire {
    stream: TcpStream,
    connection: Arc<Connection>,
    counter: Counter,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, counter: Counter::default() }
    }

    fn fail_if_cut(&self) -> io::Result<()> {
        match self.connection.is_cut() {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the gateway")),
            false => Ok(()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.reads(cx.waker());
        self.fail_if_cut()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.fail_if_cut()?;
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        let this = &mut *self;
        if let Some(link) = this.connection.link() {
            let events = this.counter.count(&buf[..written]);
            if events > 0 {
                link.took(events);
            }
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Counts the events in what is written to a websocket: text frames that begin with `42`, Engine.IO's
/// message and Socket.IO's event. Frames of servers are neither masked nor, here, fragmented.
#[derive(Debug)]
struct Counter {
    state: State,
}

#[derive(Debug)]
enum State {
    /// In the answer that upgrades the connection; so many bytes of its end are matched.
    Answer { matched: usize },
    /// In a frame's header.
    Header { bytes: [u8; 10], have: usize },
    /// In a frame's payload.
    Payload { left: u64, begin: [u8; 2], have: usize, is_text: bool },
}

const END_OF_ANSWER: &[u8; 4] = b"\r\n\r\n";

impl Default for Counter {
    fn default() -> Self {
        Self { state: State::Answer { matched: 0 } }
    }
}

impl State {
    const FRAME: Self = Self::Header { bytes: [0; 10], have: 0 };
}

impl Counter {
    /// Takes the next bytes; gives how many events ended in them.
    fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut events = 0;
        while let Some(&first) = bytes.first() {
            match &mut self.state {
                State::Answer { matched } => {
                    *matched = match (first == END_OF_ANSWER[*matched], first == END_OF_ANSWER[0]) {
                        (true, _) => *matched + 1,
                        (false, true) => 1,
                        (false, false) => 0,
                    };
                    bytes = &bytes[1..];
                    if *matched == END_OF_ANSWER.len() {
                        self.state = State::FRAME;
                    }
                }
                State::Header { bytes: header, have } => {
                    header[*have] = first;
                    *have += 1;
                    bytes = &bytes[1..];
                    if let Some(left) = length(&header[..*have]) {
                        let is_text = header[0] & 0x0f == 1;
                        self.state = match left {
                            0 => State::FRAME,
                            _ => State::Payload { left, begin: [0; 2], have: 0, is_text },
                        };
                    }
                }
                State::Payload { left, begin, have, is_text } => {
                    let now = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    for &byte in bytes[..now].iter().take(begin.len() - *have) {
                        begin[*have] = byte;
                        *have += 1;
                    }
                    bytes = &bytes[now..];
                    *left -= now as u64;
                    if *left == 0 {
                        events += u64::from(*is_text && begin == b"42");
                        self.state = State::FRAME;
                    }
                }
            }
        }
        events
    }
}

/// The payload's length, if the header is whole.
fn length(header: &[u8]) -> Option<u64> {
    match header.get(1)? {
        126 => Some(u64::from(u16::from_be_bytes(header.get(2..4)?.try_into().ok()?))),
        127 => Some(u64::from_be_bytes(header.get(2..10)?.try_into().ok()?)),
        short => Some(u64::from(*short)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => frame.push(short as u8),
            middle @ 126..65_536 => {
                frame.push(126);
                frame.extend((middle as u16).to_be_bytes());
            }
            long => {
                frame.push(127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    #[test]
    fn only_events_count_however_the_bytes_are_cut() {
        let mut all = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n".to_vec();
        let event = |length| [b"42".to_vec(), vec![b'x'; length]].concat();
        for payload in [&b"0{}"[..], b"40{}", &event(10), b"2", &event(200), b"430[]", &event(70_000), b""] {
            all.extend(frame(1, payload));
        }
        all.extend(frame(2, b"42 is binary"));
        all.extend(frame(8, b""));
        for size in [1, 2, 3, 7, 64, 1_000, all.len()] {
            let mut counter = Counter::default();
            let events: u64 = all.chunks(size).map(|chunk| counter.count(chunk)).sum();
            assert_eq!(events, 3, "in pieces of {size}");
        }
    }

    #[test]
    fn an_event_counts_when_its_last_byte_is_taken() {
        let mut counter = Counter::default();
        assert_eq!(counter.count(b"HTTP/1.1 101 x\r\n\r\n"), 0);
        let frame = frame(1, b"42[]");
        let (last, rest) = frame.split_last().unwrap();
        assert_eq!(counter.count(rest), 0);
        assert_eq!(counter.count(&[*last]), 1);
    }
}
