//! Counts the events and answers in a websocket's bytes.

use std::io;

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// Counts the events and answers in the bytes that are written to a websocket: text frames that begin with `42` or
/// `43`, which is Engine.IO's message with Socket.IO's event or acknowledgement. A server's frames are not masked, and
/// this gateway doesn't fragment them.
#[derive(Debug)]
pub(super) struct FrameCounter {
    state: State,
}

#[derive(Debug)]
enum State {
    /// In the HTTP response that upgrades the connection; this many bytes of its end are matched.
    Answer { matched: usize },
    /// In a frame's header.
    Header { bytes: [u8; 10], have: usize },
    /// In a frame's payload.
    Payload { left: u64, begin: [u8; 2], have: usize, is_text: bool },
    /// In or after the close frame, which no other frame may follow.
    Over,
}

/// Whether a packet of Engine.IO is an event or an answer.
pub(in crate::transport) fn counts(packet: &[u8]) -> bool {
    packet.starts_with(b"42") || packet.starts_with(b"43")
}

const END_OF_ANSWER: &[u8; 4] = b"\r\n\r\n";

impl Default for FrameCounter {
    fn default() -> Self {
        Self { state: State::Answer { matched: 0 } }
    }
}

impl State {
    const FRAME: Self = Self::Header { bytes: [0; 10], have: 0 };
}

impl FrameCounter {
    pub(super) fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Header { have: 0, .. })
    }

    /// Reads the next bytes and returns how many events ended in them.
    pub(super) fn count(&mut self, mut bytes: &[u8]) -> u64 {
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
                    if let Ok(Some((header, left))) = FrameHeader::parse(&mut io::Cursor::new(&header[..*have])) {
                        let is_text = header.opcode == OpCode::Data(Data::Text);
                        self.state = match left {
                            _ if header.opcode == OpCode::Control(Control::Close) => State::Over,
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
                        events += u64::from(*is_text && counts(begin));
                        self.state = State::FRAME;
                    }
                }
                State::Over => break,
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { opcode: OpCode::from(opcode), ..FrameHeader::default() };
        let mut frame = Vec::new();
        header.format(payload.len() as u64, &mut frame).unwrap();
        frame.extend(payload);
        frame
    }

    #[test]
    fn only_events_and_answers_count_however_the_bytes_are_cut() {
        let mut all = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n".to_vec();
        let event = |length| [b"42".to_vec(), vec![b'x'; length]].concat();
        for payload in [&b"0{}"[..], b"40{}", &event(10), b"2", &event(200), b"430[]", &event(70_000), b""] {
            all.extend(frame(1, payload));
        }
        all.extend(frame(2, b"42 is binary"));
        all.extend(frame(8, b""));
        for size in [1, 2, 3, 7, 64, 1_000, all.len()] {
            let mut counter = FrameCounter::default();
            let events: u64 = all.chunks(size).map(|chunk| counter.count(chunk)).sum();
            assert_eq!(events, 4, "in pieces of {size}");
        }
    }

    #[test]
    fn nothing_is_passed_after_the_frame_that_closes() {
        for payload in [&b""[..], &[0x03, 0xe8]] {
            let mut counter = FrameCounter::default();
            counter.count(b"HTTP/1.1 101 x\r\n\r\n");
            counter.count(&frame(9, b"ping"));
            assert!(counter.is_between_frames());
            counter.count(&frame(8, payload));
            assert!(!counter.is_between_frames());
        }
    }

    #[test]
    fn an_event_counts_when_its_last_byte_is_taken() {
        let mut counter = FrameCounter::default();
        assert_eq!(counter.count(b"HTTP/1.1 101 x\r\n\r\n"), 0);
        let frame = frame(1, b"42[]");
        let (last, rest) = frame.split_last().unwrap();
        assert_eq!(counter.count(rest), 0);
        assert_eq!(counter.count(&[*last]), 1);
    }
}
